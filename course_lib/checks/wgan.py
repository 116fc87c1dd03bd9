"""Checks of the exercises on Wasserstein GANs."""

import torch
from torch import nn

from .randomness import repeats
from .verdict import agree, must


def transport(answer) -> None:
    """The distance of weighted samples, on a case that can be done by hand, and symmetries."""
    x, p = torch.tensor([8.0, 2.0]), torch.tensor([0.25, 0.75])
    y, q = torch.tensor([5.0, 7.0, 2.0]), torch.tensor([0.5, 0.25, 0.25])
    # A quarter stays at 2, half goes from 2 to 5, a quarter from 8 to 7.
    agree(
        answer(x, p, y, q),
        1.75,
        "the distance",
        mistakes={
            "the weights are not used.": 4 / 3,
            "this is the difference of the means; earth that goes in opposite directions "
            "cancels there, and must not.": 1.25,
            "the shares are compared in the order in which they come; sort the places.": 6.75,
            "this is the square of distances, W2 and not W1.": 4.75**0.5,
            "each number goes to its nearest neighbour; no place may take more than it asks "
            "for.": 0.25,
            "the gaps are multiplied by the shares one place too far on: between two places that "
            "counts which was reached at the left one.": 0.5,
        },
    )
    agree(answer(y, q, x, p), 1.75, "the distance the other way round")
    agree(
        answer(x, p, x.flip(0), p.flip(0)), 0.0, "the distance of a sample from itself, reordered,"
    )
    twice = torch.tensor([2.0, 2.0, 8.0]), torch.tensor([0.25, 0.5, 0.25])
    agree(answer(*twice, y, q), 1.75, "the distance where a place occurs twice")


def penalty(answer) -> None:
    """The gradient penalty: what is mixed, which norm, and whether the critic can learn."""
    rng = torch.Generator().manual_seed(0)
    real, fake = torch.randn(2, 5, 2, 3, 4, generator=rng).unbind()
    labels = torch.tensor([0, 1, 0, 1, 1])
    direction = torch.randn(2, 3, 4, generator=rng)
    direction = (direction / direction.norm()).requires_grad_()
    seen = []

    def unit(images, labels):
        seen.append(images.detach())
        return (images * direction).flatten(1).sum(1)

    found = answer(unit, real, fake, labels, rng)
    must(seen, "the critic is never called.")
    must(
        len(seen) == 1 or seen[-1].shape == real.shape,
        "the critic is called for one pair after another; call it once, with the whole batch.",
    )
    must(
        direction.grad is None,
        "something is added to the gradient of the critic's own weights: take "
        "torch.autograd.grad, not backward.",
    )
    must(
        seen[-1].shape == real.shape,
        f"the critic is given images of shape {tuple(seen[-1].shape)}, not {tuple(real.shape)}.",
    )
    share = ((seen[-1] - fake) / (real - fake)).flatten(1)
    for other in (*(fake.roll(k, 0) for k in range(1, 5)), fake.flip(0)):
        elsewhere = ((seen[-1] - other) / (real - other)).flatten(1)
        must(
            not (elsewhere.std(1) < 1e-3).sum() > 1 or (share.std(1) < 1e-3).all(),
            "real pictures are mixed with generated ones of other places in the batch, which may "
            "have other labels.",
        )
    must(
        not torch.allclose(share, torch.ones(())) and not torch.allclose(share, torch.zeros(())),
        "the critic is only asked at real, or only at generated pictures; mix the two.",
    )
    must(
        (share.std(1) < 1e-3).all(),
        "every pixel or channel is mixed by a number of its own; take one number for each pair, "
        "so that the mixture lies on the line between the two pictures.",
    )
    must(share.mean(1).std() > 1e-3, "all pairs are mixed by the same number; each has its own.")
    must(
        (share.mean(1) > 0).all() and (share.mean(1) < 1).all(),
        "the mixtures do not lie between the two pictures: u is uniform on (0, 1).",
    )
    generator = torch.Generator()
    must(
        repeats(lambda: (answer(unit, real, fake, labels, generator.manual_seed(1)), seen[-1])[1]),
        "the same generator gives other mixtures: draw u from the generator.",
    )
    channels = ((direction.detach().norm(dim=0) - 1) ** 2).mean()
    agree(
        found,
        0.0,
        "the penalty of a linear critic with slope 1",
        mistakes={
            "a linear critic with slope 1 gets a penalty: the norm runs over the channels alone. "
            "It must run over all axes but the first.": channels,
            "a linear critic with slope 1 gets a penalty: the gradient is that of the mean "
            "score, which is N times too small.": (1 / 5 - 1) ** 2,
            "a linear critic with slope 1 gets a penalty: the norm runs over the whole batch.": (
                (5**0.5 - 1) ** 2
            ),
        },
    )
    double = answer(lambda x, _: 2 * unit(x, _), real, fake, labels, rng)
    agree(
        double,
        1.0,
        "the penalty of a linear critic with slope 2",
        mistakes={
            "slope 2 should cost (2 - 1)^2 = 1: the norm itself is compared with 1, not its "
            "square.": 9.0,
            "the factor λ is in the result; leave it to the loss.": 10.0,
            "the penalties are summed over the pairs; take the mean.": 5.0,
            "slope 2 should cost 1: the difference from 1 must be squared.": 3.0,
        },
    )
    must(
        double.requires_grad,
        "the penalty has no gradient: with create_graph=True the gradient can be derived again.",
    )
    (slope,) = torch.autograd.grad(double, direction, allow_unused=True)
    must(slope is not None and slope.abs().max() > 0, "no gradient reaches the critic's weights.")
    flat = answer(lambda x, _: 0.5 * unit(x, _), real, fake, labels, rng)
    agree(
        flat,
        0.25,
        "the penalty of a linear critic with slope 1/2",
        mistakes={"slopes below 1 are not penalised, but should be: it is two-sided.": 0.0},
    )
    told = answer(lambda x, given: (1.0 + given) * unit(x, given), real, fake, labels, rng)
    agree(told, 0.6, "the penalty of a critic whose slope depends on the label")
    sizes = []

    def curved(images, labels):
        sizes.append(images.detach().flatten(1).norm(dim=1))
        return images.flatten(1).square().sum(1) / 2

    agree(
        answer(curved, real, fake, labels, rng),
        (sizes[-1] - 1).square().mean() if sizes else 0.0,
        "the penalty of a critic whose slope differs from place to place",
    )
    lines = real.flatten(2)[:, 0], fake.flatten(2)[:, 0]
    agree(
        answer(lambda x, _: x.sum(1), *lines, labels, rng),
        (12**0.5 - 1) ** 2,
        "the penalty for images of shape (5, 12)",
    )


def separate(answer) -> None:
    """Critics with and without a look at the rest of the batch."""
    torch_state = torch.random.get_rng_state()
    torch.manual_seed(0)
    images = torch.randn(3, 1, 5, 5)

    def network(*norm: nn.Module) -> nn.Module:
        parts = [nn.Conv2d(1, 2, 3), *norm, nn.ReLU(), nn.Flatten(), nn.Linear(18, 1)]
        return nn.Sequential(*parts, nn.Flatten(0))

    plain, batch, calm = network(), network(nn.BatchNorm2d(2)), network(nn.BatchNorm2d(2)).eval()
    instance = network(nn.InstanceNorm2d(2))
    torch.random.set_rng_state(torch_state)

    def looking(own: int, other: int):
        def critic(x: torch.Tensor) -> torch.Tensor:
            must(len(x) == 3, "call the critic with batches of N pictures, as many as are given.")
            return x.mean((1, 2, 3)) + torch.eye(3)[own] * x[other].mean()

        return critic

    found = answer(plain, images)
    must(isinstance(found, bool), "return True or False.")
    must(found, "a plain convolutional critic is refused, although it looks at single pictures.")
    must(
        answer(calm, images),
        "a critic with batch normalisation in *evaluation* mode is refused; its averages are "
        "fixed, so it looks at single pictures.",
    )
    must(
        not calm.training,
        "your function puts the critic into training mode; leave the mode as it is.",
    )
    must(
        answer(instance, images),
        "a critic with instance normalisation is refused; it uses no other picture.",
    )
    found = answer(batch, images)
    must(
        all(part.training for part in batch.modules()),
        "your function puts the critic into evaluation mode; leave the mode as it is.",
    )
    must(
        not found,
        "a critic with batch normalisation is let through: it uses mean and variance of the "
        "whole batch. Reordering the batch does not show it; the other pictures must change.",
    )
    for own, other, words in (
        (2, 0, "last score depends on the first"),
        (0, 2, "first on the last"),
    ):
        must(
            not answer(looking(own, other), images),
            f"a critic is let through whose {words} picture: look at every score, and change all "
            "other pictures.",
        )


CHECKS = {"transport": transport, "penalty": penalty, "separate": separate}
