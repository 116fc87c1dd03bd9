"""The forward process, its posterior and the predictions, each against its definition."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import MultivariateNormal, Normal
from torch.utils._python_dispatch import TorchDispatchMode

from course_lib.diffusion import (
    PREDICTIONS,
    Schedule,
    cosine_schedule,
    epsilon_from_x0,
    linear_schedule,
    posterior,
    q_sample,
    q_step,
    score_from_epsilon,
    target,
    to_x0,
    velocity,
    x0_from_epsilon,
    x0_from_velocity,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tensor(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def steps(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.int64)


def pictures(n: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, 2, 3, 3, generator=seeded(seed), dtype=torch.float64)


SHORT = Schedule([0.05, 0.3, 0.1, 0.6, 0.02])
schedules = st.lists(st.floats(0.001, 0.6), min_size=1, max_size=8).map(Schedule)


# One step, and many at once


@pytest.mark.equation("ddpm-step")
def test_one_step_by_hand():
    """Each example of a batch takes its own step: sqrt(1 - beta) x + sqrt(beta) noise."""
    x, noise = pictures(5, 1), pictures(5, 2)
    stepped = q_step(x, steps(4, 0, 3, 1, 3), noise, SHORT)
    for n, beta in enumerate([0.02, 0.05, 0.6, 0.3, 0.6]):
        expected = math.sqrt(1 - beta) * x[n] + math.sqrt(beta) * noise[n]
        assert torch.allclose(stepped[n], expected, rtol=1e-12)


@pytest.mark.equation("ddpm-step")
def test_a_step_keeps_the_variance_of_standardised_data():
    t = torch.arange(5)
    signal = q_step(torch.ones(5).double(), t, torch.zeros(5).double(), SHORT)
    spread = q_step(torch.zeros(5).double(), t, torch.ones(5).double(), SHORT)
    assert torch.allclose(signal.square() + spread.square(), torch.ones(5).double())


@pytest.mark.equation("ddpm-jump")
def test_jump_by_hand():
    x0, noise = pictures(3, 1), pictures(3, 2)
    jumped = q_sample(x0, steps(3, 0, 2), noise, SHORT)
    for n, kept in enumerate([0.95 * 0.7 * 0.9 * 0.4, 0.95, 0.95 * 0.7 * 0.9]):
        expected = math.sqrt(kept) * x0[n] + math.sqrt(1 - kept) * noise[n]
        assert torch.allclose(jumped[n], expected, rtol=1e-12)


@pytest.mark.equation("ddpm-step")
@pytest.mark.equation("ddpm-jump")
@pytest.mark.parametrize("schedule", [SHORT, linear_schedule(200), cosine_schedule(200)])
def test_jump_is_all_steps_composed(schedule):
    """Exactly: what is left of the data, and the sum of the variances that all noises leave.

    Example 0 is data without noise; example s has no data and a unit of noise at step s - 1.
    """
    last = schedule.timesteps
    x, zero = torch.zeros(last + 1).double(), torch.zeros(1).double()
    x[0] = 1
    for step in range(last):
        impulse = torch.zeros(last + 1).double()
        impulse[step + 1] = 1
        x = q_step(x, torch.full((last + 1,), step), impulse, schedule)
        t = steps(step)
        signal, spread = (
            q_sample(zero + 1, t, zero, schedule),
            q_sample(zero, t, zero + 1, schedule),
        )
        assert signal.item() == pytest.approx(x[0].item(), rel=1e-10)
        assert spread.item() ** 2 == pytest.approx(x[1:].square().sum().item(), rel=1e-10)


@pytest.mark.equation("ddpm-jump")
def test_jump_and_steps_have_the_same_distribution():
    """20,000 walks of five steps, each by its own noise, and as many jumps."""
    n, x0 = 20_000, 0.8
    generator = seeded(3)
    walked = torch.full((n,), x0).double()
    for step in range(5):
        noise = torch.randn(n, generator=generator, dtype=torch.float64)
        walked = q_step(walked, torch.full((n,), step), noise, SHORT)
    noise = torch.randn(n, generator=generator, dtype=torch.float64)
    jumped = q_sample(torch.full((n,), x0).double(), torch.full((n,), 4), noise, SHORT)
    kept = 0.95 * 0.7 * 0.9 * 0.4 * 0.98
    expected = scipy.stats.norm(math.sqrt(kept) * x0, math.sqrt(1 - kept))
    assert scipy.stats.kstest(walked.numpy(), expected.cdf).pvalue > 0.01
    assert scipy.stats.kstest(jumped.numpy(), expected.cdf).pvalue > 0.01


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_results_have_the_pictures_type_and_shape(dtype):
    x = pictures(4).to(dtype)
    t = steps(0, 1, 2, 4)
    results = {
        "q_step": q_step(x, t, x, SHORT),
        "q_sample": q_sample(x, t, x, SHORT),
        "mean": posterior(x, x, t, SHORT)[0],
        "epsilon_from_x0": epsilon_from_x0(x, t, x, SHORT),
        "x0_from_epsilon": x0_from_epsilon(x, t, x, SHORT),
        "velocity": velocity(x, x, t, SHORT),
        "x0_from_velocity": x0_from_velocity(x, t, x, SHORT),
        "score": score_from_epsilon(x, t, SHORT),
    }
    for name, result in results.items():
        assert (result.dtype, result.shape) == (dtype, x.shape), name


def test_double_precision_stays_on_the_cpu():
    """Not every device has it; the meta device stands in for one that has not."""

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor) and result.device.type == "meta":
                assert result.dtype != torch.float64, function
            return result

    x, t = torch.zeros(3, 1, 2, 2, device="meta"), torch.zeros(3, dtype=torch.int64, device="meta")
    with Watch():
        assert q_sample(x, t, x, SHORT).device.type == "meta"
        assert posterior(x, x, t, SHORT)[1].device.type == "meta"


# The posterior


@pytest.mark.equation("ddpm-posterior")
@pytest.mark.parametrize("t", [1, 2, 3, 4])
def test_posterior_by_bayes_rule_on_a_grid(t):
    """q(x_{t-1} | x_t, x_0) is q(x_t | x_{t-1}) q(x_{t-1} | x_0), normalised by summing up."""
    x0, x_t = 0.7, -0.4
    grid = np.linspace(-12, 12, 20_001)
    alpha_bar, beta = np.cumprod(1 - SHORT.beta.numpy()), SHORT.beta[t].item()
    before = scipy.stats.norm(np.sqrt(alpha_bar[t - 1]) * x0, np.sqrt(1 - alpha_bar[t - 1]))
    step = scipy.stats.norm(np.sqrt(1 - beta) * grid, np.sqrt(beta))
    weights = before.pdf(grid) * step.pdf(x_t)
    weights /= weights.sum()
    expected_mean = (weights * grid).sum()
    expected_variance = (weights * (grid - expected_mean) ** 2).sum()
    mean, variance = posterior(tensor([x0]), tensor([x_t]), steps(t), SHORT)
    assert mean.item() == pytest.approx(expected_mean, rel=1e-9)
    assert variance.item() == pytest.approx(expected_variance, rel=1e-9)


@pytest.mark.equation("ddpm-posterior")
@given(schedules.filter(lambda schedule: schedule.timesteps > 1), st.data())
def test_posterior_by_conditioning_a_joint_gaussian(schedule, data):
    """(x_{t-1}, x_t) given x_0 is normal; the textbook's rule conditions on the second."""
    t = data.draw(st.integers(1, schedule.timesteps - 1))
    x0, x_t = data.draw(st.floats(-3, 3)), data.draw(st.floats(-3, 3))
    kept = math.prod((1 - schedule.beta[:t]).tolist())
    alpha = 1 - schedule.beta[t].item()
    means = math.sqrt(kept) * x0, math.sqrt(alpha * kept) * x0
    variance = 1 - kept  # of x_{t-1}
    covariance = math.sqrt(alpha) * variance
    variance_after = alpha * variance + 1 - alpha
    expected_mean = means[0] + covariance / variance_after * (x_t - means[1])
    expected_variance = variance - covariance**2 / variance_after
    mean, spread = posterior(tensor([x0]), tensor([x_t]), steps(t), schedule)
    assert mean.item() == pytest.approx(expected_mean, rel=1e-8, abs=1e-10)
    assert spread.item() == pytest.approx(expected_variance, rel=1e-8)


@pytest.mark.equation("ddpm-posterior")
@given(schedules)
def test_before_the_first_step_is_the_data_itself(schedule):
    x0, x_t = pictures(2, 1), pictures(2, 2)
    mean, variance = posterior(x0, x_t, steps(0, 0), schedule)
    assert torch.allclose(mean, x0, rtol=1e-10)
    assert (variance == 0).all()


@pytest.mark.equation("ddpm-posterior")
@given(schedules)
def test_posterior_leads_from_each_marginal_to_the_one_before(schedule):
    """With x_t from q(x_t | x_0), the posterior's draws are from q(x_{t-1} | x_0)."""
    t = torch.arange(schedule.timesteps)
    one, zero = torch.ones(len(t)).double(), torch.zeros(len(t)).double()
    signal = q_sample(one, t, zero, schedule)
    spread = q_sample(zero, t, one, schedule)
    mean, variance = posterior(one, signal, t, schedule)
    of_x_t, _ = posterior(zero, one, t, schedule)
    assert torch.allclose(mean, schedule.alpha_bar_previous.sqrt(), rtol=1e-9)
    total = of_x_t.square() * spread.square() + variance
    assert torch.allclose(total, 1 - schedule.alpha_bar_previous, rtol=1e-9, atol=1e-14)


def test_posterior_variance_is_one_number_for_each_picture():
    x = pictures(3)
    mean, variance = posterior(x, x, steps(0, 2, 4), SHORT)
    assert mean.shape == x.shape
    assert variance.shape == (3, 1, 1, 1)
    assert torch.equal(variance.flatten(), SHORT.posterior_variance[[0, 2, 4]])


# What a network may predict


@pytest.mark.equation("ddpm-jump")
@pytest.mark.equation("ddpm-x0")
@pytest.mark.equation("ddpm-x0-from-velocity")
@given(schedules, st.integers(0, 1000))
def test_data_noise_and_velocity_are_found_again(schedule, seed):
    """At every step at once."""
    t = torch.arange(schedule.timesteps)
    x0, epsilon = pictures(len(t), seed), pictures(len(t), seed + 1)
    x_t = q_sample(x0, t, epsilon, schedule)
    v = velocity(x0, epsilon, t, schedule)
    assert torch.allclose(epsilon_from_x0(x_t, t, x0, schedule), epsilon, rtol=1e-8, atol=1e-10)
    assert torch.allclose(x0_from_epsilon(x_t, t, epsilon, schedule), x0, rtol=1e-8, atol=1e-10)
    assert torch.allclose(x0_from_velocity(x_t, t, v, schedule), x0, rtol=1e-8, atol=1e-10)


@pytest.mark.equation("ddpm-x0")
@pytest.mark.parametrize("schedule", [linear_schedule(), cosine_schedule()])
def test_noise_and_data_are_two_ways_to_say_the_same(schedule):
    """For any prediction, also a wrong one, and at the ends of the real schedules."""
    t = steps(0, 1, 500, 998, 999)
    x_t, guess = pictures(5, 1), pictures(5, 2)
    there = x0_from_epsilon(x_t, t, guess, schedule)
    assert torch.allclose(epsilon_from_x0(x_t, t, there, schedule), guess, rtol=1e-6, atol=1e-8)


@pytest.mark.equation("ddpm-x0")
def test_data_from_noise_by_hand():
    """(x_t - sqrt(1 - alpha_bar) epsilon) / sqrt(alpha_bar), where alpha_bar is 0.95 * 0.7."""
    x0 = x0_from_epsilon(tensor([2.0]), steps(1), tensor([0.5]), SHORT)
    assert x0.item() == pytest.approx((2 - math.sqrt(0.335) * 0.5) / math.sqrt(0.665))


@pytest.mark.equation("ddpm-velocity")
@given(schedules)
def test_velocity_is_the_derivative_along_the_circle(schedule):
    """x = cos(phi) x_0 + sin(phi) epsilon with cos^2(phi) = alpha_bar; v = dx / dphi."""
    t = torch.arange(schedule.timesteps)
    x0, epsilon = pictures(len(t), 1), pictures(len(t), 2)
    phi = torch.arccos(schedule.alpha_bar.sqrt()).view(-1, 1, 1, 1)
    beside = torch.complex(phi, torch.full_like(phi, 1e-20))  # a step aside: no difference is taken
    derivative = (beside.cos() * x0 + beside.sin() * epsilon).imag / 1e-20
    x_t = phi.cos() * x0 + phi.sin() * epsilon
    v = velocity(x0, epsilon, t, schedule)
    assert torch.allclose(q_sample(x0, t, epsilon, schedule), x_t, rtol=1e-8, atol=1e-10)
    assert torch.allclose(v, derivative, rtol=1e-8, atol=1e-10)
    # Hence it is as long as data and noise are, whatever the step.
    assert torch.allclose(x_t.square() + v.square(), x0.square() + epsilon.square())


@pytest.mark.equation("ddpm-velocity")
@pytest.mark.parametrize("schedule", [linear_schedule(), cosine_schedule()])
def test_velocity_goes_from_noise_to_minus_data(schedule):
    x0, epsilon = pictures(2, 1), pictures(2, 2)
    first, last = velocity(x0, epsilon, steps(0, 999), schedule)
    assert torch.allclose(first, epsilon[0], atol=0.03)
    assert torch.allclose(last, -x0[1], atol=0.03)


@pytest.mark.equation("ddpm-x0-from-velocity")
@given(schedules)
def test_data_and_noise_from_velocity_agree(schedule):
    """A prediction of v, right or wrong, is one of the data and one of the noise."""
    t = torch.arange(schedule.timesteps)
    x_t, v = pictures(len(t), 1), pictures(len(t), 2)
    x0 = x0_from_velocity(x_t, t, v, schedule)
    epsilon = epsilon_from_x0(x_t, t, x0, schedule)
    assert torch.allclose(velocity(x0, epsilon, t, schedule), v, rtol=1e-7, atol=1e-9)
    rotated = (
        schedule.alpha_bar.sqrt().view(-1, 1, 1, 1) * v
        + (1 - schedule.alpha_bar).sqrt().view(-1, 1, 1, 1) * x_t
    )
    assert torch.allclose(epsilon, rotated, rtol=1e-7, atol=1e-9)


@pytest.mark.equation("ddpm-score")
def test_score_of_one_picture_by_autograd():
    """The gradient of log q(x_t | x_0) at q_sample's state."""
    t, x0, epsilon = torch.arange(5), pictures(5, 1), pictures(5, 2)
    x_t = q_sample(x0, t, epsilon, SHORT).requires_grad_()
    kept = SHORT.alpha_bar.view(-1, 1, 1, 1)
    log_density = Normal(kept.sqrt() * x0, (1 - kept).sqrt()).log_prob(x_t).sum()
    (gradient,) = torch.autograd.grad(log_density, x_t)
    assert torch.allclose(score_from_epsilon(epsilon, t, SHORT), gradient, rtol=1e-9)


@pytest.mark.equation("ddpm-score")
@pytest.mark.parametrize("t", [0, 2, 4])
def test_score_of_gaussian_data_by_autograd(t):
    """The expected noise given x_t stands for the gradient of log q(x_t)."""
    mean, covariance = tensor([0.5, -1.0]), tensor([[0.9, 0.4], [0.4, 0.5]])
    kept = SHORT.alpha_bar[t]
    marginal = MultivariateNormal(
        kept.sqrt() * mean, kept * covariance + (1 - kept) * torch.eye(2).double()
    )
    x_t = torch.randn(6, 2, generator=seeded(4), dtype=torch.float64).requires_grad_()
    (gradient,) = torch.autograd.grad(marginal.log_prob(x_t).sum(), x_t)
    # E[x_0 | x_t], by conditioning the joint normal of x_0 and x_t.
    gain = kept.sqrt() * covariance @ torch.linalg.inv(marginal.covariance_matrix)
    x0 = mean + (x_t.detach() - marginal.mean) @ gain.T
    times = torch.full((6,), t)
    epsilon = epsilon_from_x0(x_t.detach(), times, x0, SHORT)
    assert torch.allclose(score_from_epsilon(epsilon, times, SHORT), gradient, rtol=1e-9)


@pytest.mark.equation("ddpm-velocity")
def test_targets_are_what_they_are_called():
    x0, epsilon, t = pictures(3, 1), pictures(3, 2), steps(0, 2, 4)
    assert PREDICTIONS == ("epsilon", "x0", "velocity")
    assert target("epsilon", x0, epsilon, t, SHORT) is epsilon
    assert target("x0", x0, epsilon, t, SHORT) is x0
    assert torch.equal(target("velocity", x0, epsilon, t, SHORT), velocity(x0, epsilon, t, SHORT))


@pytest.mark.parametrize("kind", PREDICTIONS)
@given(schedules, st.integers(0, 1000))
def test_target_as_prediction_gives_the_data(kind, schedule, seed):
    t = torch.arange(schedule.timesteps)
    x0, epsilon = pictures(len(t), seed), pictures(len(t), seed + 1)
    x_t = q_sample(x0, t, epsilon, schedule)
    perfect = target(kind, x0, epsilon, t, schedule)
    assert torch.allclose(to_x0(kind, perfect, x_t, t, schedule), x0, rtol=1e-8, atol=1e-10)


def test_unknown_predictions_are_refused():
    x, t = pictures(1), steps(0)
    message = "unknown prediction 'score'; known: epsilon, x0, velocity"
    with pytest.raises(ValueError, match=message):
        target("score", x, x, t, SHORT)
    with pytest.raises(ValueError, match=message):
        to_x0("score", x, x, t, SHORT)
