"""Checks of the exercises on adversarial networks."""

import math

import torch
import torch.nn.functional as F

from .verdict import agree, must


def opponent(answer) -> None:
    """The discriminator's loss with soft labels, its mistakes, and large logits."""
    real, fake = torch.tensor([2.0, -1.0, 0.5]), torch.tensor([1.0, -3.0])

    def loss(real: torch.Tensor, fake: torch.Tensor, targets: tuple[float, float]) -> torch.Tensor:
        return sum(
            F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))
            for logits, target in zip((real, fake), targets, strict=True)
        )

    agree(
        answer(real, fake, 0.0),
        loss(real, fake, (1.0, 0.0)),
        "the loss without smoothing",
        mistakes={
            "real and generated pictures are exchanged: real ones have the label 1.": (
                loss(real, fake, (0.0, 1.0))
            ),
            "this is the value of the game; the discriminator's loss is minus the value.": (
                -loss(real, fake, (1.0, 0.0))
            ),
            "a sigmoid is taken twice; the arguments are logits.": (
                loss(real.sigmoid(), fake.sigmoid(), (1.0, 0.0))
            ),
            "the logits are averaged together; take the mean over each batch and add the two.": (
                (F.softplus(-real).sum() + F.softplus(fake).sum()) / 5
            ),
            "the losses are summed over the batch; take the mean.": (
                F.softplus(-real).sum() + F.softplus(fake).sum()
            ),
            "the two terms are averaged; they are added.": loss(real, fake, (1.0, 0.0)) / 2,
        },
    )
    agree(
        answer(real, fake, 0.2),
        loss(real, fake, (0.8, 0.0)),
        "the loss with s = 0.2",
        mistakes={
            "smoothing has no effect.": loss(real, fake, (1.0, 0.0)),
            "the labels of generated pictures are smoothed too; only those of real ones should "
            "be.": loss(real, fake, (0.8, 0.2)),
            "the labels of generated pictures are smoothed instead of the real ones'.": (
                loss(real, fake, (1.0, 0.2))
            ),
            "s and 1 - s are exchanged.": loss(real, fake, (0.2, 0.0)),
            "the term with s log(1 - D) is missing.": (
                0.8 * F.softplus(-real).mean() + F.softplus(fake).mean()
            ),
        },
    )
    near = real.clone().requires_grad_(), fake.clone().requires_grad_()
    value = torch.as_tensor(answer(*near, 0.2))
    must(value.requires_grad, "no gradient flows through the loss; keep it a tensor.")
    slopes = torch.autograd.grad(value, near, allow_unused=True)
    for slope, whose in zip(slopes, ("real", "generated"), strict=True):
        must(
            slope is not None and (slope != 0).all(),
            f"no gradient flows to the logits of {whose} pictures; detach nothing here.",
        )
    keeps_slopes(lambda logits: answer(logits, logits, 0.1), torch.tensor([-0.45, 0.55]), "loss")


def keeps_slopes(loss, wanted: torch.Tensor, name: str) -> None:
    """Demand a finite loss and its right slope at the logits -400 and 400."""
    far = torch.tensor([-400.0, 400.0], requires_grad=True)
    value = torch.as_tensor(loss(far))
    must(
        torch.isfinite(value),
        f"for logits of 400 the {name} is not finite: write it with softplus of the logits, "
        "without computing the probability first.",
    )
    must(value.requires_grad, f"no gradient flows through the {name}; keep it a tensor.")
    (slope,) = torch.autograd.grad(value, far)
    must(
        torch.allclose(slope, wanted, atol=1e-3),
        f"for logits of 400 the {name} has lost its slope: a probability that is clamped or "
        "rounded to 0 or 1 says nothing of its logit.",
    )


def losses(answer) -> None:
    """Both losses of the generator: values, signs, slopes, and large logits."""
    logits = torch.tensor([1.0, -2.0, 0.3])
    saturating, other = -F.softplus(logits).mean(), F.softplus(-logits).mean()
    found = answer(logits)
    if isinstance(found, torch.Tensor) and found.ndim:
        found = found.unbind()
    must(
        isinstance(found, tuple | list) and len(found) == 2,
        "return two losses, the saturating one first.",
    )
    must(
        all(torch.as_tensor(each).ndim == 0 for each in found),
        "a loss has axes: take the mean over the batch.",
    )
    first, second = (float(each) for each in found)
    must(
        abs(first - float(other)) > 1e-5 or abs(second - float(saturating)) > 1e-5,
        "the two losses are exchanged: the saturating one comes first.",
    )
    twice = logits.sigmoid()
    agree(
        found[0],
        saturating,
        "the saturating loss",
        mistakes={
            "the saturating loss has the wrong sign: the generator makes log(1 - D) small.": (
                -saturating
            ),
            "a sigmoid is taken twice; the arguments are logits.": -F.softplus(twice).mean(),
            "the saturating loss is summed; take the mean.": 3 * saturating,
        },
    )
    agree(
        found[1],
        other,
        "the non-saturating loss",
        mistakes={
            "the non-saturating loss has the wrong sign: it is -log D.": -other,
            "a sigmoid is taken twice; the arguments are logits.": F.softplus(-twice).mean(),
            "the non-saturating loss is summed; take the mean.": 3 * other,
        },
    )
    keeps_slopes(lambda far: answer(far)[0], torch.tensor([0.0, -0.5]), "saturating loss")
    keeps_slopes(lambda far: answer(far)[1], torch.tensor([-0.5, 0.0]), "non-saturating loss")


def game(answer) -> None:
    """The value of a small game, found by trying many discriminators, and the empty cases."""
    p = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    q = torch.tensor([0.1, 0.3, 0.6], dtype=torch.float64)
    # Each answer of a discriminator can be chosen by itself: try them all.
    tried = torch.linspace(0.0005, 0.9995, 100_000, dtype=torch.float64)[:, None]
    gains = p * tried.log() + q * (1 - tried).log()
    value, best = gains.max(0).values.sum(), tried[gains.argmax(0), 0]
    found = answer(p, q)
    must(isinstance(found, tuple | list) and len(found) == 3, "return D, the value, and JS.")
    agree(
        found[0],
        best,
        "the best discriminator",
        mistakes={
            "this is the probability of a generated picture; D is that of a real one.": 1 - best,
            "this is the ratio p / q; D is p / (p + q).": p / q,
        },
    )
    agree(
        found[1],
        value,
        "the value of the game",
        mistakes={
            "this is minus the value: a loss.": -value,
            "this is the divergence; the value is twice as much, less log 4.": (
                value / 2 + math.log(2)
            ),
        },
    )
    divergence = value / 2 + math.log(2)
    agree(
        found[2],
        divergence,
        "the divergence",
        mistakes={
            "this is in bits; take the natural logarithm.": divergence / math.log(2),
            "this is V + log 4, which is twice the divergence.": 2 * divergence,
            "the constant is missing: V = 2 JS - log 4.": value / 2,
        },
    )
    p = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    q = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    best, value, divergence = answer(p, q)
    must(
        not torch.as_tensor(best).isnan().any(),
        "where neither shows a picture, p / (p + q) is 0 / 0; let D be 1/2 there.",
    )
    must(
        torch.isfinite(torch.as_tensor(value)) and torch.isfinite(torch.as_tensor(divergence)),
        "for distributions that do not overlap the value is not finite: a term with the "
        "probability 0 counts nothing, though its logarithm is infinite.",
    )
    agree(best, torch.tensor([1.0, 0.0, 0.5]).double(), "the best discriminator without overlap")
    agree(divergence, math.log(2), "the divergence without overlap, which is log 2,")
    equal = float(answer(p, p)[2])
    must(
        abs(equal) < 1e-6,
        f"the divergence of equal distributions is {equal:.2g}, not 0: do not add a small number "
        "inside the logarithms; leave out the terms with the probability 0.",
    )


def kinds(answer) -> None:
    """Shares, missing classes and effective number, on counts that are known."""
    labels = torch.tensor([0] * 60 + [1] * 28 + [3] * 8 + [4] * 3 + [6])
    probabilities = torch.full((100, 9), 0.075)
    probabilities[torch.arange(100), labels] = 0.4
    real = torch.tensor([0.05, 0.05, 0.2, 0.1, 0.5, 0.04, 0.02, 0.04, 0.0])
    shares = torch.tensor([0.6, 0.28, 0.0, 0.08, 0.03, 0.0, 0.01, 0.0, 0.0])
    found = answer(probabilities, real)
    must(isinstance(found, tuple | list) and len(found) == 3, "return shares, list and number.")
    agree(
        found[0],
        shares,
        "the tensor of shares",
        mistakes={
            "a class is counted only where its probability is above one half; count each picture "
            "for its most probable class.": torch.zeros(9),
            "the probabilities are averaged; count each picture for its most probable class.": (
                probabilities.mean(0)
            ),
            "these are numbers of pictures; divide them by how many there are.": 100 * shares,
        },
    )
    must(
        isinstance(found[1], list | tuple),
        f"the missing classes are of type {type(found[1]).__name__}; return a list.",
    )
    try:
        listed = [int(k) for k in found[1]]
    except (TypeError, ValueError):
        listed = None
    must(listed is not None, "the missing classes should be a list of whole numbers.")
    must(
        listed != [4],
        "only classes that occur are listed as missing; those without any picture are missing "
        "above all.",
    )
    must(
        listed != [2, 4, 5, 7, 8],
        "a class that is not in the data either, r_c = 0, is not missing: 0 is not less than 0.",
    )
    must(
        listed != [2, 4],
        "a class is missing below a tenth *of* its share in the data, not a tenth below it.",
    )
    must(
        listed not in ([2, 5, 7], [2, 5, 7, 8]),
        "only classes without any picture are listed; those with less than a tenth of their "
        "share in the data are missing too.",
    )
    must(
        listed != [2, 5, 6, 7, 8],
        "a class is measured by a tenth of an *equal* share, 1/C; take a tenth of its own share "
        "in the data, r_c.",
    )
    must(
        listed == [2, 4, 5, 7],
        f"the missing classes are given as {listed}; it should be [2, 4, 5, 7].",
    )
    present = shares[shares > 0]
    nats = -(present * present.log()).sum()
    agree(
        found[2],
        nats.exp(),
        "the effective number",
        mistakes={
            "this is the entropy; take its exponential.": nats,
            "the entropy is in bits, but its exponential is taken to the base e.": (
                (nats / math.log(2)).exp()
            ),
            "the sign of the entropy is wrong.": (-nats).exp(),
            "this is the number of classes that occur at all.": 5.0,
            "this is one over the sum of squared shares, another measure.": (
                1 / shares.square().sum()
            ),
        },
    )


CHECKS = {"opponent": opponent, "losses": losses, "game": game, "kinds": kinds}
