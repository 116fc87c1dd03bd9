"""The game's losses against explicit logarithms, and its optimum on a few points.

On a finite set the best discriminator is known, p / (p + q), and so is its loss: 2 log 2
minus twice the Jensen-Shannon divergence, for which SciPy is the judge.
"""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import scipy.spatial.distance
import scipy.special
import scipy.stats
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from course_lib.models import DCGAN, GAN, WGAN, DCGANConfig, GANConfig, WGANConfig
from course_lib.models.gan import GENERATOR_LOSSES, discriminator_loss, generator_loss


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tensor(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def minus_log(probability: np.ndarray) -> float:
    """The mean of -log, as the paper writes it."""
    return float(-np.log(probability).mean())


def tiny_gan(*, seed: int = 3, **options) -> GAN:
    """A GAN of 2 x 3 pixels in double precision, the same every time."""
    shape = {"data_shape": (1, 2, 3), "latent_dim": 2, "hidden": (4, 5)}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return GAN(GANConfig(**(shape | options))).double()


def some_data(n: int = 6) -> torch.Tensor:
    return torch.rand(n, 1, 2, 3, generator=seeded(1), dtype=torch.float64)


def with_gradient(loss: torch.Tensor, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return torch.autograd.grad(loss, inputs)


logits = st.lists(st.floats(-25, 25), min_size=1, max_size=8)
counts = st.integers(2, 6).flatmap(
    lambda size: st.tuples(
        st.lists(st.integers(1, 9), min_size=size, max_size=size),
        st.lists(st.integers(1, 9), min_size=size, max_size=size),
    )
)


# The discriminator's loss


@pytest.mark.equation("gan-discriminator-loss")
@given(logits, logits)
def test_discriminators_loss_by_probabilities(real, fake):
    """Of real and fake there may be different numbers, each with a mean of its own."""
    expected = minus_log(scipy.special.expit(np.array(real))) + minus_log(
        scipy.special.expit(-np.array(fake))  # which is 1 - D
    )
    actual = discriminator_loss(tensor(real), tensor(fake))
    assert actual.shape == ()
    assert actual.item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.equation("gan-discriminator-loss")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_discriminators_loss_stays_exact_where_the_sigmoid_is_0_or_1(dtype):
    """-log D tends to -logit, and its gradient to -1, where D itself is rounded to 0."""
    real = torch.tensor([-1000.0, 1000.0], dtype=dtype, requires_grad=True)
    fake = torch.tensor([700.0, -700.0, 0.0, 0.0], dtype=dtype, requires_grad=True)
    loss = discriminator_loss(real, fake)
    assert loss.item() == pytest.approx((1000 + 0) / 2 + (700 + 0 + 2 * math.log(2)) / 4)
    of_real, of_fake = with_gradient(loss, real, fake)
    assert of_real.tolist() == pytest.approx([-0.5, 0], abs=1e-30)
    assert of_fake.tolist() == pytest.approx([0.25, 0, 0.125, 0.125], abs=1e-30)


@pytest.mark.equation("gan-discriminator-loss")
@given(logits, logits)
def test_gradient_pushes_real_logits_up_and_fake_ones_down(real, fake):
    """d/dl is -(1 - D) for real and D for fake examples, over their number: labels in place."""
    real, fake = tensor(real).requires_grad_(), tensor(fake).requires_grad_()
    of_real, of_fake = with_gradient(discriminator_loss(real, fake), real, fake)
    expected = -scipy.special.expit(-real.detach().numpy()) / len(real)
    assert np.allclose(of_real.numpy(), expected, rtol=1e-10)
    assert np.allclose(
        of_fake.numpy(), scipy.special.expit(fake.detach().numpy()) / len(fake), rtol=1e-10
    )
    assert (of_real < 0).all()
    assert (of_fake > 0).all()


@pytest.mark.equation("gan-discriminator-loss")
def test_a_discriminator_that_is_right_loses_less():
    right, wrong = (discriminator_loss(tensor([v]), tensor([-v])).item() for v in (3.0, -3.0))
    undecided = discriminator_loss(tensor([0.0]), tensor([0.0])).item()
    assert right < undecided < wrong
    assert undecided == pytest.approx(2 * math.log(2))


# The best discriminator, on a set of a few points. A table holds the logit of each; p and q
# are whole numbers of examples, so that the means over a batch are exact expectations.


def loss_of_table(table: torch.Tensor, p: list[int], q: list[int]) -> torch.Tensor:
    points = torch.arange(len(table))
    real = points.repeat_interleave(torch.tensor(p))
    fake = points.repeat_interleave(torch.tensor(q))
    return discriminator_loss(table[real], table[fake])


def divergence(p: list[int], q: list[int]) -> float:
    """The Jensen-Shannon divergence in nats; SciPy normalises, and gives its root."""
    return float(scipy.spatial.distance.jensenshannon(p, q)) ** 2


def best_table(p: list[int], q: list[int]) -> torch.Tensor:
    """log D / (1 - D) for D = p / (p + q)."""
    p, q = np.array(p) / sum(p), np.array(q) / sum(q)
    return tensor(np.log(p / q).tolist())


@pytest.mark.equation("gan-discriminator-loss")
@given(counts, st.integers(0, 1000))
def test_optimal_discriminator_and_its_loss(pq, seed):
    """At p / (p + q) the gradient is 0, the loss 2 log 2 - 2 JS, and nothing lies lower."""
    p, q = pq
    table = best_table(p, q).requires_grad_()
    loss = loss_of_table(table, p, q)
    assert with_gradient(loss, table)[0].abs().max() < 1e-14
    lowest = 2 * math.log(2) - 2 * divergence(p, q)
    assert loss.item() == pytest.approx(lowest, rel=1e-12)
    change = torch.randn(len(p), generator=seeded(seed), dtype=torch.float64)
    for size in (1e-2, 1.0, 10.0):
        assert loss_of_table(table.detach() + size * change, p, q).item() >= lowest - 1e-14


@pytest.mark.equation("gan-discriminator-loss")
@pytest.mark.parametrize(
    ("p", "q"), [([1, 2, 3, 4], [4, 3, 2, 1]), ([9, 1, 1], [1, 1, 9]), ([2, 3], [2, 3])]
)
def test_a_trained_table_becomes_the_optimal_discriminator(p, q):
    """By Newton's method from D = 1/2 everywhere, without being told the answer."""
    table = torch.zeros(len(p), dtype=torch.float64, requires_grad=True)
    for _ in range(20):
        (gradient,) = torch.autograd.grad(loss_of_table(table, p, q), table, create_graph=True)
        (curvature,) = torch.autograd.grad(gradient.sum(), table)  # no entry sees another
        table = (table - gradient / curvature).detach().requires_grad_()
    share_p, share_q = np.array(p) / sum(p), np.array(q) / sum(q)
    assert np.allclose(torch.sigmoid(table).detach().numpy(), share_p / (share_p + share_q))
    value = -loss_of_table(table, p, q).item()  # of the game, as the paper defines it
    assert value == pytest.approx(2 * divergence(p, q) - 2 * math.log(2))


@pytest.mark.equation("gan-discriminator-loss")
def test_disjoint_supports_are_told_apart_at_no_loss():
    """JS is log 2, its largest value, however far apart the supports are."""
    p, q = [1, 1, 0, 0], [0, 0, 1, 3]
    assert divergence(p, q) == pytest.approx(math.log(2))
    table = tensor([30.0, 30.0, -30.0, -30.0])
    assert loss_of_table(table, p, q).item() == pytest.approx(0, abs=1e-12)


# The generator's two losses


@pytest.mark.equation("gan-saturating")
@pytest.mark.equation("gan-non-saturating")
@given(logits)
def test_generators_losses_by_probabilities(fake):
    d, not_d = scipy.special.expit(np.array(fake)), scipy.special.expit(-np.array(fake))
    saturating = generator_loss(tensor(fake), "saturating")
    non_saturating = generator_loss(tensor(fake), "non-saturating")
    assert saturating.shape == non_saturating.shape == ()
    assert saturating.item() == pytest.approx(-minus_log(not_d), rel=1e-9)
    assert non_saturating.item() == pytest.approx(minus_log(d), rel=1e-9)
    assert generator_loss(tensor(fake)).item() == non_saturating.item()


@pytest.mark.equation("gan-saturating")
@pytest.mark.equation("gan-non-saturating")
@given(logits)
def test_gradients_of_both_losses_with_respect_to_the_logit(fake):
    """-D and -(1 - D): the same direction, and the second is exp(-logit) times the first."""
    fake = tensor(fake).requires_grad_()
    (saturating,) = with_gradient(generator_loss(fake, "saturating"), fake)
    (non_saturating,) = with_gradient(generator_loss(fake, "non-saturating"), fake)
    values = fake.detach().numpy()
    assert np.allclose(saturating.numpy() * len(values), -scipy.special.expit(values), rtol=1e-10)
    assert np.allclose(
        non_saturating.numpy() * len(values), -scipy.special.expit(-values), rtol=1e-10
    )
    assert (saturating < 0).all()  # both would raise every logit
    assert (non_saturating < 0).all()
    assert np.allclose((non_saturating / saturating).numpy(), np.exp(-values), rtol=1e-8)


@pytest.mark.equation("gan-saturating")
@pytest.mark.equation("gan-non-saturating")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_only_one_gradient_vanishes_where_the_discriminator_is_sure(dtype):
    sure = torch.tensor([-80.0], dtype=dtype, requires_grad=True)
    (saturating,) = with_gradient(generator_loss(sure, "saturating"), sure)
    (non_saturating,) = with_gradient(generator_loss(sure, "non-saturating"), sure)
    assert -1e-30 < saturating.item() <= 0
    assert non_saturating.item() == pytest.approx(-1)
    for logit in (-1000.0, 1000.0):  # neither overflows
        extreme = torch.tensor([logit], dtype=dtype)
        assert generator_loss(extreme, "saturating").item() == min(0, -logit)
        assert generator_loss(extreme, "non-saturating").item() == max(0, -logit)


@pytest.mark.equation("gan-saturating")
@given(logits, logits)
def test_the_saturating_game_has_a_value_of_zero_sum(real, fake):
    """What one gains by moving the fakes, the other loses."""
    fake = tensor(fake).requires_grad_()
    (of_discriminator,) = with_gradient(discriminator_loss(tensor(real), fake), fake)
    (of_generator,) = with_gradient(generator_loss(fake, "saturating"), fake)
    assert torch.allclose(of_discriminator, -of_generator, rtol=1e-12, atol=0)


def test_an_unknown_loss_is_refused():
    message = "unknown loss 'hinge'; known: non-saturating, saturating"
    with pytest.raises(ValueError, match=message):
        generator_loss(torch.zeros(1), "hinge")
    with pytest.raises(ValueError, match=message):
        GANConfig(loss="hinge")
    with pytest.raises(ValueError, match=message):
        DCGANConfig(loss="hinge")


# The two networks


def test_networks_against_functional_calls():
    """The same weights through torch.nn.functional; widths backwards in the discriminator."""
    model, z = tiny_gan(), torch.randn(3, 2, generator=seeded(4), dtype=torch.float64)
    weights = list(model.generator.parameters())
    assert [tuple(w.shape) for w in weights[::2]] == [(4, 2), (5, 4), (6, 5)]
    hidden = F.leaky_relu(z @ weights[0].T + weights[1], 0.2)
    hidden = F.leaky_relu(hidden @ weights[2].T + weights[3], 0.2)
    pictures = torch.tanh(hidden @ weights[4].T + weights[5]).reshape(3, 1, 2, 3)
    assert torch.allclose(model.generator(z), pictures)

    weights = list(model.discriminator.parameters())
    assert [tuple(w.shape) for w in weights[::2]] == [(5, 6), (4, 5), (1, 4)]
    hidden = F.leaky_relu(pictures.reshape(3, 6) @ weights[0].T + weights[1], 0.2)
    hidden = F.leaky_relu(hidden @ weights[2].T + weights[3], 0.2)
    expected = (hidden @ weights[4].T + weights[5]).reshape(3)
    assert torch.allclose(model.discriminator(pictures), expected)  # logits: no sigmoid


@pytest.mark.parametrize("data_shape", [(2,), (1, 28, 28), (3, 4, 5)])
@pytest.mark.parametrize("hidden", [(), (7,), (3, 4, 5)])
@pytest.mark.parametrize("n", [1, 4])
def test_shapes(data_shape, hidden, n):
    model = GAN(GANConfig(data_shape=data_shape, latent_dim=3, hidden=hidden))
    samples = model.sample(n, generator=seeded())
    assert samples.shape == (n, *data_shape)
    assert model.discriminator(samples).shape == (n,)
    assert len([m for m in model.generator if isinstance(m, nn.Linear)]) == len(hidden) + 1


# Images in [0, 1] outside, in [-1, 1] inside


def loud(model):
    """Weights so large that a tanh would saturate."""
    with torch.no_grad():
        model.generator[-3 if model.config.bounded else -2].weight.mul_(100)
    return model


def test_bounded_samples_are_images():
    model = loud(tiny_gan())
    z = torch.randn(200, 2, generator=seeded(2), dtype=torch.float64)
    inside, outside = model.generator(z), model.generate(z)
    assert inside.min() < -0.99
    assert inside.max() > 0.99
    assert inside.abs().max() <= 1
    assert torch.allclose(outside, (inside + 1) / 2)
    assert outside.min() >= 0
    assert outside.max() <= 1


def test_unbounded_samples_are_any_vectors():
    model = loud(tiny_gan(bounded=False))
    z = torch.randn(200, 2, generator=seeded(2), dtype=torch.float64)
    assert torch.equal(model.generate(z), model.generator(z))
    assert model.generate(z).abs().max() > 2
    assert not any(isinstance(layer, nn.Tanh) for layer in model.generator)


def seen_by(network: nn.Module) -> list[torch.Tensor]:
    """Collect what a network is given."""
    seen: list[torch.Tensor] = []
    network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
    return seen


@pytest.mark.parametrize("bounded", [True, False])
def test_discriminator_sees_both_kinds_in_the_same_range(bounded):
    model, batch = tiny_gan(bounded=bounded), some_data()
    seen = seen_by(model.discriminator)
    model.loss(batch, player="discriminator", generator=seeded(5))
    z = torch.randn(6, 2, generator=seeded(5), dtype=torch.float64)
    real, fake = seen
    assert torch.allclose(real, 2 * batch - 1 if bounded else batch)
    assert torch.equal(fake, model.generator(z))

    seen.clear()
    model.loss(batch, player="generator", generator=seeded(5))
    assert len(seen) == 1  # the generator's move needs no real example
    assert torch.equal(seen[0], model.generator(z))


# The losses of the model


@pytest.mark.equation("gan-discriminator-loss")
@pytest.mark.equation("gan-saturating")
@pytest.mark.equation("gan-non-saturating")
@pytest.mark.parametrize("bounded", [True, False])
@pytest.mark.parametrize("kind", GENERATOR_LOSSES)
def test_losses_by_hand(bounded, kind):
    model, batch = tiny_gan(bounded=bounded, loss=kind), some_data()
    z = torch.randn(6, 2, generator=seeded(5), dtype=torch.float64)
    of_real = torch.sigmoid(model.discriminator(2 * batch - 1 if bounded else batch))
    of_fake = torch.sigmoid(model.discriminator(model.generator(z)))

    loss, logs = model.loss(batch, player="discriminator", generator=seeded(5))
    expected = -(of_real.log().mean() + (1 - of_fake).log().mean())
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    right = [d > 0.5 for d in of_real.tolist()] + [d < 0.5 for d in of_fake.tolist()]
    assert logs["accuracy"].item() == pytest.approx(np.mean(right))
    assert 0 < np.mean(right) < 1

    loss, logs = model.loss(batch, player="generator", generator=seeded(5))
    expected = (1 - of_fake).log() if kind == "saturating" else -of_fake.log()
    assert loss.item() == pytest.approx(expected.mean().item(), rel=1e-12)
    assert logs == {}


class Given(nn.Module):
    """A network of the simplest kind: what comes in goes out, or always the same."""

    def __init__(self, values: list[float] | None = None):
        super().__init__()
        self.values = values

    def forward(self, inputs):
        return inputs[:, 0] if self.values is None else tensor(self.values)[:, None]


@pytest.mark.parametrize(
    ("real", "fake", "expected"),
    [
        ([1, 2, 3, 4], [-1, -2, -3, -4], 1.0),
        ([-1, -2, -3, -4], [1, 2, 3, 4], 0.0),
        ([1, 2, 3, 4], [-1, 2, 3, 4], 0.625),
        ([1, -2, -3, -4], [-1, -2, -3, -4], 0.625),
        ([1, 2, 3, 4], [1, 2, 3, 4], 0.5),
    ],
)
def test_accuracy_counts_both_kinds(real, fake, expected):
    model = tiny_gan(data_shape=(1,), bounded=False)
    model.generator, model.discriminator = Given(fake), Given()
    model.like = nn.Parameter(tensor([0.0]))
    _, logs = model.loss(tensor(real)[:, None], player="discriminator", generator=seeded())
    assert logs["accuracy"].item() == pytest.approx(expected)
    assert not logs["accuracy"].requires_grad


def test_no_gradient_reaches_the_generator_in_the_discriminators_move():
    model = tiny_gan()
    loss, _ = model.loss(some_data(), player="discriminator", generator=seeded())
    loss.backward()
    assert all(p.grad is None for p in model.generator.parameters())
    assert all(p.grad.abs().max() > 0 for p in model.discriminator.parameters())


@pytest.mark.parametrize("kind", GENERATOR_LOSSES)
def test_the_generator_learns_through_the_discriminator(kind):
    """Against finite differences with the same latents."""
    model = tiny_gan(loss=kind)
    model.discriminator.requires_grad_(False)  # as while it is the generator's move
    model.loss(some_data(), player="generator", generator=seeded(1))[0].backward()
    assert all(p.grad is None for p in model.discriminator.parameters())
    bias = model.generator[-3].bias
    for index in range(len(bias)):
        values = []
        for change in (1e-5, -1e-5):
            with torch.no_grad():
                bias[index] += change
                values.append(model.loss(some_data(), player="generator", generator=seeded(1))[0])
                bias[index] -= change
        slope = (values[0] - values[1]).item() / 2e-5
        assert bias.grad[index].item() == pytest.approx(slope, rel=1e-5)
        assert slope != 0


# Randomness and settings


@pytest.mark.parametrize(
    "build",
    [
        tiny_gan,
        lambda: DCGAN(DCGANConfig(latent_dim=3, width=2)),
        lambda: WGAN(WGANConfig(latent_dim=3, width=2)),
    ],
    ids=["gan", "dcgan", "wgan"],
)
def test_all_randomness_comes_from_the_generator(build):
    model = build()
    batch = torch.rand(4, *model.config.data_shape, generator=seeded(8)).to(
        next(model.parameters()).dtype
    )
    before = torch.get_rng_state()
    uses = {
        "latents": lambda g: model.latents(4, generator=g),
        "sample": lambda g: model.sample(4, generator=g),
        **{
            player: lambda g, player=player: model.loss(batch, player=player, generator=g)[0]
            for player in model.players
        },
    }
    for name, use in uses.items():
        assert torch.equal(use(seeded(1)), use(seeded(1))), name
        assert not torch.equal(use(seeded(1)), use(seeded(2))), name
    assert torch.equal(torch.get_rng_state(), before)


def test_latents_are_standard_normal():
    z = tiny_gan(latent_dim=5).latents(4000, generator=seeded(3))
    assert z.shape == (4000, 5)
    assert z.dtype == torch.float64
    assert scipy.stats.kstest(z.flatten().numpy(), "norm").pvalue > 0.01
    assert (torch.corrcoef(z.T) - torch.eye(5)).abs().max() < 4 / 4000**0.5


def test_samples_are_generated_from_latents():
    model = tiny_gan()
    z = torch.randn(6, 2, generator=seeded(3), dtype=torch.float64)
    assert torch.equal(model.sample(6, generator=seeded(3)), model.generate(z))


def test_players_are_submodules_with_all_the_weights():
    for model in (GAN(), DCGAN(), WGAN()):
        parts = [dict(model.named_children())[name] for name in model.players]
        owned = [p for part in parts for p in part.parameters()]
        assert len({id(p) for p in owned}) == len(owned) == len(list(model.parameters()))
        assert model.players[-1] == "generator"
    assert GAN.players == DCGAN.players == ("discriminator", "generator")
    assert WGAN.players == ("critic", "generator")


def test_default_config_is_used_and_frozen():
    model = GAN()
    assert model.config == GANConfig(
        data_shape=(1, 28, 28),
        bounded=True,
        latent_dim=64,
        hidden=(256, 512),
        loss="non-saturating",
    )
    with pytest.raises(dataclasses.FrozenInstanceError):
        model.config.loss = "saturating"
    slopes = {m.negative_slope for m in model.modules() if isinstance(m, nn.LeakyReLU)}
    assert slopes == {0.2}
    widths = [m.out_features for m in model.generator if isinstance(m, nn.Linear)]
    assert widths == [256, 512, 784]
    assert all(a < b for a, b in itertools.pairwise(widths))


@pytest.mark.parametrize("player", ["critic", "", "Generator"])
def test_unknown_players_are_refused(player):
    model = GAN(GANConfig(data_shape=(2,), bounded=False, hidden=(3,)))
    with pytest.raises(ValueError, match=r"unknown player .*; known: discriminator, generator"):
        model.loss(torch.zeros(4, 2), player=player)
