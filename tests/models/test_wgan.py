"""The Wasserstein distance on the line, the critic's two leashes, and the losses.

SciPy and the closed form for normal distributions judge the distance; linear critics, whose
gradient is the same everywhere, and quadratic ones, whose gradient tells where it was taken,
judge the penalty.
"""

import dataclasses
import math

import numpy as np
import pytest
import scipy.optimize
import scipy.stats
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from course_lib.models import WGAN, WGANConfig
from course_lib.models.gan import perceptron_critic
from course_lib.models.wgan import (
    CONSTRAINTS,
    clip_weights,
    critic_loss,
    generator_loss,
    gradient_penalty,
    wasserstein_1d,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tensor(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


def tiny(**options) -> WGAN:
    """A WGAN of 2 x 3 pixels in double precision, the same every time."""
    shape = {
        "networks": "perceptron",
        "data_shape": (1, 2, 3),
        "latent_dim": 2,
        "hidden": (4, 5),
    }
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return WGAN(WGANConfig(**(shape | options))).double()


def convolutional(**options) -> WGAN:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return WGAN(WGANConfig(latent_dim=5, width=2, **options)).double()


def some_data(n: int = 6) -> torch.Tensor:
    return torch.rand(n, 1, 2, 3, generator=seeded(1), dtype=torch.float64)


numbers = st.floats(-100, 100)


def samples(count: int):
    """As many samples of the line, all of one size."""
    return st.integers(1, 8).flatmap(
        lambda size: st.tuples(*[st.lists(numbers, min_size=size, max_size=size)] * count)
    )


# The distance of two samples of the line


@pytest.mark.equation("wgan-quantiles")
@given(samples(2))
def test_distance_against_scipy(xy):
    x, y = xy
    distance = wasserstein_1d(tensor(x), tensor(y))
    assert distance.shape == ()
    expected = scipy.stats.wasserstein_distance(x, y)
    assert distance.item() == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.equation("wgan-quantiles")
@given(samples(2))
def test_distance_is_the_cost_of_the_best_of_all_plans(xy):
    """Which pairs the examples in order, or does as well: the Hungarian method agrees."""
    x, y = map(np.array, xy)
    costs = np.abs(x[:, None] - y[None])
    best = costs[scipy.optimize.linear_sum_assignment(costs)].mean()
    assert wasserstein_1d(tensor(xy[0]), tensor(xy[1])).item() == pytest.approx(best, abs=1e-9)


@pytest.mark.equation("wgan-quantiles")
@given(samples(3), st.randoms(use_true_random=False))
def test_distance_is_a_metric_of_samples(xyz, random):
    x, y, z = map(tensor, xyz)
    shuffled = tensor(random.sample(xyz[0], len(xyz[0])))
    assert wasserstein_1d(x, shuffled).item() == 0
    assert wasserstein_1d(x, y).item() == wasserstein_1d(y, x).item()
    assert wasserstein_1d(x, y).item() >= 0
    through_z = wasserstein_1d(x, z) + wasserstein_1d(z, y)
    assert wasserstein_1d(x, y).item() <= through_z.item() + 1e-9


@pytest.mark.equation("wgan-quantiles")
@given(samples(2), numbers, numbers)
def test_distance_moves_and_grows_with_its_samples(xy, shift, scale):
    x, y = map(tensor, xy)
    distance = wasserstein_1d(x, y).item()
    moved = wasserstein_1d(x + shift, y + shift).item()
    assert moved == pytest.approx(distance, rel=1e-9, abs=1e-9)
    scaled = wasserstein_1d(scale * x, scale * y).item()  # also mirrored, for scale < 0
    assert scaled == pytest.approx(abs(scale) * distance, rel=1e-9, abs=1e-9)
    assert wasserstein_1d(x, x + shift).item() == pytest.approx(abs(shift), abs=1e-9)


@pytest.mark.equation("wgan-quantiles")
@pytest.mark.parametrize(
    ("first", "second"),
    [((0, 1), (2, 1)), ((0, 1), (0, 3)), ((-1, 0.5), (1.5, 2)), ((3, 2), (2.5, 0.2))],
)
def test_distance_of_normal_distributions_against_the_closed_form(first, second):
    """E|dm + ds Z|, the mean of a folded normal distribution; 20,000 quantiles of each."""
    levels = (np.arange(20_000) + 0.5) / 20_000
    x, y = (tensor(scipy.stats.norm(*law).ppf(levels).tolist()) for law in (first, second))
    dm, ds = abs(first[0] - second[0]), abs(first[1] - second[1])
    expected = scipy.stats.foldnorm(dm / ds, scale=ds).mean() if ds else dm
    assert wasserstein_1d(x.flip(0), y).item() == pytest.approx(expected, rel=1e-3)


@pytest.mark.equation("wgan-quantiles")
def test_distance_still_pulls_where_supports_are_disjoint():
    """Where the Jensen-Shannon divergence is flat, the gradient has size 1."""
    x, y = tensor([0.0, 1.0, 2.0]), tensor([11.0, 12.0, 10.0]).requires_grad_()
    wasserstein_1d(x, y).backward()
    assert y.grad.tolist() == pytest.approx([1 / 3] * 3)


@pytest.mark.parametrize("shapes", [((3,), (4,)), ((3, 1), (3, 1)), ((3, 2), (3,))])
def test_samples_that_cannot_be_paired_are_refused(shapes):
    x, y = (torch.zeros(shape) for shape in shapes)
    with pytest.raises(ValueError, match="two vectors of the same size are needed, not") as caught:
        wasserstein_1d(x, y)
    assert f"{shapes[0]} and {shapes[1]}" in str(caught.value)


# The two losses


@pytest.mark.equation("wgan-critic-loss")
@given(st.lists(numbers, min_size=1, max_size=8), st.lists(numbers, min_size=1, max_size=8))
def test_critics_loss_is_minus_the_difference_of_the_means(real, fake):
    scores = tensor(real).requires_grad_(), tensor(fake).requires_grad_()
    loss = critic_loss(*scores)
    assert loss.shape == ()
    assert loss.item() == pytest.approx(np.mean(fake) - np.mean(real), rel=1e-9, abs=1e-9)
    loss.backward()
    assert scores[0].grad.tolist() == pytest.approx([-1 / len(real)] * len(real))
    assert scores[1].grad.tolist() == pytest.approx([1 / len(fake)] * len(fake))


@pytest.mark.equation("wgan-generator-loss")
@given(st.lists(numbers, min_size=1, max_size=8))
def test_generators_loss_is_minus_the_mean_score(fake):
    scores = tensor(fake).requires_grad_()
    loss = generator_loss(scores)
    assert loss.shape == ()
    assert loss.item() == pytest.approx(-np.mean(fake), rel=1e-9, abs=1e-9)
    loss.backward()
    assert scores.grad.tolist() == pytest.approx([-1 / len(fake)] * len(fake))


@pytest.mark.equation("wgan-critic-loss")
@given(samples(2), st.floats(-1, 1), st.floats(-50, 50))
def test_no_critic_of_slope_one_exceeds_the_distance(xy, slope, kink):
    """Kantorovich and Rubinstein: f may be any 1-Lipschitz function, here two families."""
    x, y = map(tensor, xy)
    distance = wasserstein_1d(x, y).item()
    for critic in (lambda v: slope * v, lambda v: slope * (v - kink).abs()):
        assert -critic_loss(critic(x), critic(y)).item() <= distance + 1e-9


@pytest.mark.equation("wgan-critic-loss")
def test_the_best_critic_reaches_the_distance():
    """Two samples of equal mean and different spread: f is a ridge, -|x - mean|."""
    x, y = tensor([-1.0, 1.0]), tensor([-4.0, 4.0])
    assert -critic_loss(-x.abs(), -y.abs()).item() == wasserstein_1d(x, y).item() == 3


# The gradient penalty. All critics below are functions of (N, ...) to (N,).


def linear(weight: torch.Tensor):
    return lambda inputs: (inputs * weight).flatten(1).sum(1) + 3.0


def of_norm(size: float, *shape: int) -> torch.Tensor:
    weight = normal(*shape, seed=7)
    return size * weight / weight.norm()


SHAPES = [(1,), (2,), (5,), (1, 4, 4), (3, 4, 5)]


@pytest.mark.equation("wgan-penalty")
@pytest.mark.parametrize("shape", SHAPES)
def test_penalty_of_a_linear_critic_of_unit_norm_is_zero(shape):
    """The norm is that of the whole gradient, over channels, rows and columns alike."""
    real, fake = normal(4, *shape, seed=1), normal(4, *shape, seed=2)
    penalty = gradient_penalty(linear(of_norm(1, *shape)), real, fake, generator=seeded())
    assert penalty.shape == ()
    assert penalty.item() == pytest.approx(0, abs=1e-25)


@pytest.mark.equation("wgan-penalty")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [0.1, 0.5, 2.0, 7.0])
def test_penalty_of_a_linear_critic_is_the_square_of_its_excess(shape, size):
    """On both sides of 1, and however many examples there are: it is a mean."""
    for n in (1, 4):
        real, fake = normal(n, *shape, seed=1), normal(n, *shape, seed=2)
        penalty = gradient_penalty(linear(of_norm(size, *shape)), real, fake, generator=seeded())
        assert penalty.item() == pytest.approx((size - 1) ** 2, rel=1e-12)


@pytest.mark.equation("wgan-penalty")
def test_every_example_is_penalised_by_itself():
    """(|g1| - 1)^2 and (|g2| - 1)^2 are averaged, not the norms and not the gradients."""
    sizes = tensor([3.0, 0.5, -2.0])[:, None]
    real, fake = normal(3, 4, seed=1), normal(3, 4, seed=2)
    penalty = gradient_penalty(lambda x: (sizes * x)[:, 0], real, fake, generator=seeded())
    assert penalty.item() == pytest.approx((2**2 + 0.5**2 + 1**2) / 3)


class Witness:
    """A critic that keeps the points at which it is asked for its gradient."""

    def __init__(self):
        self.points: list[torch.Tensor] = []

    def __call__(self, inputs):
        self.points.append(inputs.detach().clone())
        return 0.5 * inputs.square().flatten(1).sum(1)


@pytest.mark.equation("wgan-penalty")
@pytest.mark.parametrize("shape", SHAPES)
def test_each_example_has_one_mixing_weight_of_its_own(shape):
    """Solved for from the points themselves, pixel by pixel."""
    n, witness = 400, Witness()
    real, fake = normal(n, *shape, seed=1), normal(n, *shape, seed=2)
    gradient_penalty(witness, real, fake, generator=seeded(3))
    (mixed,) = witness.points
    assert mixed.shape == real.shape
    weights = ((mixed - fake) / (real - fake)).flatten(1)
    ours = weights.median(1).values
    assert torch.allclose(weights, ours[:, None].expand_as(weights), atol=1e-6)
    assert ours.min() >= -1e-9  # so every point is on the segment from fake to real
    assert ours.max() <= 1 + 1e-9
    assert len(set(ours.tolist())) == n
    assert scipy.stats.kstest(ours.numpy(), "uniform").pvalue > 0.01


@pytest.mark.equation("wgan-penalty")
@pytest.mark.parametrize("shape", SHAPES)
def test_penalty_of_a_quadratic_critic_by_hand(shape):
    """Its gradient is the mixed point times a fixed factor for each pixel."""
    n, factors = 5, normal(*shape, seed=9)
    real, fake = normal(n, *shape, seed=1), normal(n, *shape, seed=2)
    shares = torch.rand(n, generator=seeded(3), dtype=torch.float64).tolist()
    total = 0.0
    for share, x, y in zip(shares, real.numpy(), fake.numpy(), strict=True):
        gradient = factors.numpy() * (share * x + (1 - share) * y)
        total += (math.sqrt((gradient**2).sum()) - 1) ** 2
    actual = gradient_penalty(
        lambda v: 0.5 * (factors * v.square()).flatten(1).sum(1), real, fake, generator=seeded(3)
    )
    assert actual.item() == pytest.approx(total / n, rel=1e-12)


@pytest.mark.equation("wgan-penalty")
def test_all_randomness_of_the_penalty_comes_from_the_generator():
    real, fake = normal(5, 3, seed=1), normal(5, 3, seed=2)
    before = torch.get_rng_state()
    first, again, other = (
        gradient_penalty(Witness(), real, fake, generator=seeded(seed)).item() for seed in (1, 1, 2)
    )
    assert first == again != other
    assert torch.equal(torch.get_rng_state(), before)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        assert gradient_penalty(Witness(), real, fake).item() == first


def smooth_critic() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return nn.Sequential(
            nn.Flatten(), nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 1), nn.Flatten(0)
        ).double()


@pytest.mark.equation("wgan-penalty")
def test_gradients_of_the_penalty_against_finite_differences():
    """With respect to every weight of a curved critic: the penalty is differentiated twice."""
    critic, real, fake = smooth_critic(), some_data(), normal(6, 1, 2, 3, seed=2)

    def penalty():
        return gradient_penalty(critic, real, fake, generator=seeded(4))

    penalty().backward()
    for name, parameter in critic.named_parameters():
        if name == "3.bias":  # a constant, which has no share in the gradient
            assert parameter.grad is None or not parameter.grad.any()
            continue
        for index in range(parameter.numel()):
            values = []
            for change in (1e-6, -1e-6):
                with torch.no_grad():
                    parameter.view(-1)[index] += change
                values.append(penalty().item())
                with torch.no_grad():
                    parameter.view(-1)[index] -= change
            slope = (values[0] - values[1]) / 2e-6
            assert parameter.grad.view(-1)[index].item() == pytest.approx(slope, rel=1e-5, abs=1e-8)


@pytest.mark.equation("wgan-penalty")
def test_gradient_of_a_linear_critics_penalty_in_closed_form():
    """d (|w| - 1)^2 / dw = 2 (|w| - 1) w / |w|."""
    weight = of_norm(3, 1, 2, 3).requires_grad_()
    gradient_penalty(linear(weight), some_data(), normal(6, 1, 2, 3), generator=seeded()).backward()
    assert torch.allclose(weight.grad, 4 * weight.detach() / 3)


@pytest.mark.equation("wgan-penalty")
def test_the_penalty_does_not_move_the_data():
    real, fake = some_data().requires_grad_(), normal(6, 1, 2, 3).requires_grad_()
    gradient_penalty(smooth_critic(), real, fake, generator=seeded()).backward()
    assert real.grad is None
    assert fake.grad is None


@pytest.mark.equation("wgan-penalty")
def test_a_critic_without_slope_is_penalised_but_not_with_infinities():
    weight = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    penalty = gradient_penalty(linear(weight), normal(4, 3), normal(4, 3, seed=1))
    penalty.backward()
    assert penalty.item() == 1
    assert weight.grad.isfinite().all()


# Clipping


@pytest.mark.equation("wgan-clip")
@pytest.mark.parametrize("bound", [0.01, 0.3, 5.0])
def test_clipping_is_numpys_of_every_weight(bound):
    network = smooth_critic()
    with torch.no_grad():
        for parameter in network.parameters():  # some within and some beyond, biases too
            parameter.copy_(normal(*parameter.shape, seed=parameter.numel()) * bound)
    before = {name: p.detach().numpy().copy() for name, p in network.named_parameters()}
    identities = [id(p) for p in network.parameters()]
    clip_weights(network, bound)
    for name, parameter in network.named_parameters():
        expected = before[name].clip(-bound, bound)
        assert np.array_equal(parameter.detach().numpy(), expected), name
        assert parameter.requires_grad
    assert any((np.abs(values) > bound).any() for values in before.values())
    assert identities == [id(p) for p in network.parameters()]


@pytest.mark.equation("wgan-clip")
@pytest.mark.parametrize("networks", ["perceptron", "convolutional"])
@pytest.mark.parametrize("constraint", CONSTRAINTS)
def test_only_the_critic_is_clipped_and_only_after_its_own_move(networks, constraint):
    build = tiny if networks == "perceptron" else convolutional
    model = build(constraint=constraint, clip=0.02)

    def weights():
        return {key: value.clone() for key, value in model.state_dict().items()}

    before = weights()
    model.after_move("generator")
    after = weights()
    assert all(torch.equal(after[key], before[key]) for key in before)
    model.after_move("critic")
    after = weights()
    for key, value in before.items():
        clipped = constraint == "clip" and key.startswith("critic")
        assert torch.equal(after[key], value.clamp(-0.02, 0.02) if clipped else value), key
    assert max(value.abs().max() for key, value in before.items() if "critic" in key) > 0.02


# The losses of the model


@pytest.mark.equation("wgan-critic-loss")
@pytest.mark.equation("wgan-penalty")
@pytest.mark.parametrize("bounded", [True, False])
@pytest.mark.parametrize("weight", [0.0, 10.0, 3.0])
def test_critics_loss_with_a_penalty_by_hand(bounded, weight):
    """The latents are drawn first, then the mixing weights."""
    model, batch, generator = tiny(bounded=bounded, penalty=weight), some_data(), seeded(5)
    z = torch.randn(6, 2, generator=generator, dtype=torch.float64)
    shares = torch.rand(6, 1, 1, 1, generator=generator, dtype=torch.float64)
    real = 2 * batch - 1 if bounded else batch
    fake = model.generator(z).detach()
    points = (shares * real + (1 - shares) * fake).requires_grad_()
    slopes = torch.autograd.grad(model.critic(points).sum(), points)[0]
    penalty = np.mean([(np.linalg.norm(slope.numpy()) - 1) ** 2 for slope in slopes])
    distance = (model.critic(real).mean() - model.critic(fake).mean()).item()

    loss, logs = model.loss(batch, player="critic", generator=seeded(5))
    assert set(logs) == {"distance", "penalty"}
    assert logs["distance"].item() == pytest.approx(distance, rel=1e-12)
    assert logs["penalty"].item() == pytest.approx(penalty, rel=1e-12)
    assert loss.item() == pytest.approx(weight * penalty - distance, rel=1e-12)
    assert not any(value.requires_grad for value in logs.values())


@pytest.mark.equation("wgan-critic-loss")
@pytest.mark.parametrize("bounded", [True, False])
def test_critics_loss_with_clipping_has_no_penalty(bounded):
    model, batch = tiny(bounded=bounded, constraint="clip"), some_data()
    z = torch.randn(6, 2, generator=seeded(5), dtype=torch.float64)
    real = model.critic(2 * batch - 1 if bounded else batch)
    distance = (real.mean() - model.critic(model.generator(z)).mean()).item()
    loss, logs = model.loss(batch, player="critic", generator=seeded(5))
    assert set(logs) == {"distance"}
    assert logs["distance"].item() == pytest.approx(distance, rel=1e-12)
    assert loss.item() == pytest.approx(-distance, rel=1e-12)


@pytest.mark.equation("wgan-generator-loss")
@pytest.mark.parametrize("constraint", CONSTRAINTS)
def test_generators_loss_by_hand(constraint):
    model = tiny(constraint=constraint)
    z = torch.randn(6, 2, generator=seeded(5), dtype=torch.float64)
    loss, logs = model.loss(some_data(), player="generator", generator=seeded(5))
    assert loss.item() == pytest.approx(-model.critic(model.generator(z)).mean().item(), rel=1e-12)
    assert logs == {}
    loss.backward()
    assert all(p.grad.abs().max() > 0 for p in model.generator.parameters())


@pytest.mark.parametrize("constraint", CONSTRAINTS)
def test_no_gradient_reaches_the_generator_in_the_critics_move(constraint):
    model = tiny(constraint=constraint)
    loss, _ = model.loss(some_data(), player="critic", generator=seeded())
    loss.backward()
    assert all(p.grad is None for p in model.generator.parameters())
    moved = [p.grad is not None and p.grad.any() for p in model.critic.parameters()]
    # A constant added to all scores is the one thing that does not matter.
    assert moved == [True] * (len(moved) - 1) + [False]


@pytest.mark.equation("wgan-penalty")
def test_gradients_of_the_critics_loss_against_finite_differences():
    """Distance and penalty together, through the model's own critic."""
    model, batch = tiny(), some_data()

    def loss():
        return model.loss(batch, player="critic", generator=seeded(6))[0]

    loss().backward()
    weight = model.critic[1].weight
    for index in range(0, weight.numel(), 3):
        values = []
        for change in (1e-7, -1e-7):
            with torch.no_grad():
                weight.view(-1)[index] += change
            values.append(loss().item())
            with torch.no_grad():
                weight.view(-1)[index] -= change
        slope = (values[0] - values[1]) / 2e-7
        assert weight.grad.view(-1)[index].item() == pytest.approx(slope, rel=1e-4, abs=1e-6)


# The networks


@pytest.mark.parametrize("constraint", CONSTRAINTS)
def test_the_critic_judges_every_example_by_itself(constraint):
    """No batch norm: the gradient of one score would reach into the other examples."""
    model = convolutional(constraint=constraint).train()
    kinds = {type(m).__name__ for m in model.critic.modules()}
    assert not [kind for kind in kinds if "BatchNorm" in kind or kind == "Sigmoid"]
    images = normal(5, 1, 28, 28).requires_grad_()
    scores = model.critic(images)
    for index in range(5):
        (slope,) = torch.autograd.grad(scores[index], images, retain_graph=True)
        others = torch.arange(5) != index
        assert slope[index].any()
        assert not slope[others].any()
        assert scores[index].item() == pytest.approx(
            model.critic(images[index : index + 1]).item(), rel=1e-9
        )
    assert any(isinstance(m, nn.BatchNorm2d) for m in model.generator.modules())


def test_convolutional_critic_against_functional_calls():
    model, hidden = convolutional(), normal(3, 1, 28, 28)
    images, weights = hidden, list(model.critic.parameters())
    for index in range(0, 6, 2):
        hidden = F.conv2d(hidden, weights[index], weights[index + 1], stride=2, padding=1)
        hidden = F.leaky_relu(hidden, 0.2)
    scores = (hidden * weights[6]).sum((1, 2, 3)) + weights[7]
    assert torch.allclose(model.critic(images), scores)


def test_perceptrons_against_functional_calls():
    model, z = tiny(bounded=False), normal(3, 2)
    weights = list(model.generator.parameters())
    hidden = F.leaky_relu(z @ weights[0].T + weights[1], 0.2)
    hidden = F.leaky_relu(hidden @ weights[2].T + weights[3], 0.2)
    data = (hidden @ weights[4].T + weights[5]).reshape(3, 1, 2, 3)
    assert torch.allclose(model.generate(z), data)
    weights = list(model.critic.parameters())
    assert [tuple(w.shape) for w in weights[::2]] == [(5, 6), (4, 5), (1, 4)]
    hidden = F.leaky_relu(data.reshape(3, 6) @ weights[0].T + weights[1], 0.2)
    hidden = F.leaky_relu(hidden @ weights[2].T + weights[3], 0.2)
    assert torch.allclose(model.critic(data), (hidden @ weights[4].T + weights[5]).reshape(3))


@pytest.mark.parametrize("n", [2, 5])
def test_samples(n):
    model = convolutional()
    images = model.sample(n, generator=seeded(3))
    assert images.shape == (n, 1, 28, 28)
    assert model.critic(images).shape == (n,)
    z = torch.randn(n, 5, generator=seeded(3), dtype=torch.float64)
    assert torch.allclose(images, (model.generator(z) + 1) / 2)
    assert images.min() >= 0
    assert images.max() <= 1
    plane = tiny(data_shape=(2,), bounded=False)
    assert plane.sample(n, generator=seeded()).shape == (n, 2)
    assert plane.critic(plane.sample(n, generator=seeded())).shape == (n,)


# Settings


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"constraint": "spectral"}, "unknown constraint 'spectral'; known: clip, penalty"),
        ({"networks": "linear"}, "unknown networks 'linear'; known: convolutional, perceptron"),
        ({"data_shape": (3, 28, 28)}, r"convolutional networks draw bounded images of shape"),
        ({"bounded": False}, r"convolutional networks draw bounded images of shape \(1, 28, 28\)"),
        ({"clip": 0.0}, "clip must be positive"),
        ({"clip": -0.01}, "clip must be positive"),
        ({"penalty": -1.0}, "penalty not negative"),
    ],
)
def test_impossible_configs_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        WGANConfig(**options)


def test_default_config_is_used_and_frozen():
    model = WGAN()
    assert model.config == WGANConfig(
        constraint="penalty",
        clip=0.01,
        penalty=10.0,
        latent_dim=100,
        networks="convolutional",
        width=32,
        hidden=(256, 512),
        data_shape=(1, 28, 28),
        bounded=True,
    )
    assert model.critic[0].out_channels == 32
    assert model.generator.training
    with pytest.raises(dataclasses.FrozenInstanceError):
        model.config.clip = 1.0


# What it is all for


@pytest.mark.equation("wgan-critic-loss")
@pytest.mark.equation("wgan-penalty")
@pytest.mark.parametrize("weight", [10, 50])
def test_a_trained_critic_measures_the_distance(weight):
    """Two fixed clouds on the line, far from normal.

    A critic of slope s pays weight * (s - 1)^2 and gains s times the distance W, so that it
    does best at s = 1 + W / (2 * weight) and shows W a little too large, as much as that.
    """
    rng = np.random.default_rng(0)
    x = tensor(np.concatenate([rng.normal(-2, 0.3, 32), rng.normal(0, 0.5, 32)]).tolist())
    y = tensor(rng.exponential(0.8, 64).tolist()) + 0.3
    with torch.random.fork_rng():
        torch.manual_seed(0)
        critic = perceptron_critic((1,), (32,)).double()
    optimizer = torch.optim.Adam(critic.parameters(), lr=1e-2, betas=(0.5, 0.9))
    generator, estimates = seeded(1), []
    for step in range(150):
        loss = critic_loss(critic(x[:, None]), critic(y[:, None]))
        estimates.append(-loss.item())
        shuffled = y[torch.randperm(64, generator=generator), None]
        loss = loss + weight * gradient_penalty(critic, x[:, None], shuffled, generator=generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        optimizer.param_groups[0]["lr"] = 1e-2 * (1 - step / 150)
    distance = wasserstein_1d(x, y).item()
    assert abs(estimates[0]) < 0.3 * distance
    assert estimates[-1] == pytest.approx(distance * (1 + distance / (2 * weight)), rel=0.02)
    if weight == 50:
        assert estimates[-1] == pytest.approx(distance, rel=0.04)
