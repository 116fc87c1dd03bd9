"""The schedules against exact fractions and the formulas of their papers."""

import itertools
import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from course_lib.diffusion import Schedule, cosine_schedule, linear_schedule, q_sample
from course_lib.diffusion.schedule import SCHEDULES

BUILT = [linear_schedule(60), cosine_schedule(60), Schedule([0.3, 0.01, 0.9])]


def running_products(schedule: Schedule) -> list[Fraction]:
    """alpha_bar as exact fractions, from the betas as they are."""
    factors = [1 - Fraction(beta) for beta in schedule.beta.tolist()]
    return list(itertools.accumulate(factors, Fraction.__mul__))


def exactly(values: list[Fraction], *, rel: float = 1e-12):
    return pytest.approx([float(value) for value in values], rel=rel, abs=0)


@pytest.mark.equation("ddpm-alpha-bar")
@pytest.mark.parametrize("schedule", BUILT)
def test_alpha_bar_is_the_product_of_what_each_step_keeps(schedule):
    products = running_products(schedule)
    assert schedule.alpha.tolist() == exactly([1 - Fraction(b) for b in schedule.beta.tolist()])
    assert schedule.alpha_bar.tolist() == exactly(products)
    assert schedule.alpha_bar_previous.tolist() == exactly([Fraction(1), *products[:-1]])
    assert schedule.alpha_bar_previous[0] == 1


@pytest.mark.equation("ddpm-posterior")
@pytest.mark.parametrize("schedule", BUILT)
def test_posterior_variance_in_fractions(schedule):
    """By adding precisions: of the step, alpha / beta, and of the state before it."""
    after = running_products(schedule)
    betas = [Fraction(beta) for beta in schedule.beta.tolist()]
    expected = [Fraction(0)] + [
        1 / ((1 - beta) / beta + 1 / (1 - before))
        for beta, before in zip(betas[1:], after[:-1], strict=True)
    ]
    assert schedule.posterior_variance.tolist() == exactly(expected, rel=1e-10)
    assert schedule.posterior_variance[0] == 0
    assert (schedule.posterior_variance[1:] > 0).all()
    assert (schedule.posterior_variance < schedule.beta).all()


@pytest.mark.equation("ddpm-snr")
@pytest.mark.parametrize("schedule", BUILT)
def test_snr_is_the_ratio_of_the_variances_that_a_state_is_made_of(schedule):
    t = torch.arange(schedule.timesteps)
    one, zero = torch.ones(len(t)).double(), torch.zeros(len(t)).double()
    signal = q_sample(one, t, zero, schedule)  # of data of variance 1
    noise = q_sample(zero, t, one, schedule)
    assert torch.allclose(schedule.snr, signal.square() / noise.square(), rtol=1e-10)
    exact = [product / (1 - product) for product in running_products(schedule)]
    assert schedule.snr.tolist() == exactly(exact, rel=1e-10)
    assert (schedule.snr.diff() < 0).all()


@pytest.mark.parametrize("schedule", [linear_schedule(), cosine_schedule()])
def test_coefficients_are_double_and_right_at_both_ends(schedule):
    """Where float32 has lost digits of 1 - alpha_bar, or of the last alpha."""
    for name in ("beta", "alpha", "alpha_bar", "alpha_bar_previous", "posterior_variance", "snr"):
        assert getattr(schedule, name).dtype == torch.float64, name
        assert getattr(schedule, name).shape == (1000,), name
    products = running_products(schedule)
    assert (1 - schedule.alpha_bar[0]).item() == pytest.approx(schedule.beta[0].item(), rel=1e-11)
    assert schedule.snr[0].item() == pytest.approx(
        float(products[0] / (1 - products[0])), rel=1e-11
    )
    assert schedule.alpha_bar[-1].item() == pytest.approx(float(products[-1]), rel=1e-11)
    assert (len(schedule), schedule.timesteps) == (1000, 1000)


@given(st.lists(st.floats(1e-5, 0.999), min_size=1, max_size=30))
def test_any_betas_give_a_process_that_loses_signal_and_gains_noise(betas):
    schedule = Schedule(torch.tensor(betas, dtype=torch.float64))
    assert schedule.timesteps == len(betas)
    assert schedule.beta.tolist() == betas
    assert (schedule.alpha_bar < schedule.alpha_bar_previous).all()
    assert torch.equal(schedule.alpha_bar_previous[1:], schedule.alpha_bar[:-1])
    variance = schedule.posterior_variance
    assert variance[0] == 0
    assert (variance <= schedule.beta * (1 + 1e-12)).all()
    # The state before a step has the variance 1 - alpha_bar_previous: knowing what came
    # after it cannot make it more uncertain.
    assert (variance <= (1 - schedule.alpha_bar_previous) * (1 + 1e-12)).all()


# The linear schedule


def test_linear_schedule_is_that_of_the_paper():
    schedule = linear_schedule()
    assert schedule.timesteps == 1000
    for t, beta in enumerate(schedule.beta.tolist()):
        assert beta == pytest.approx(1e-4 + (0.02 - 1e-4) * t / 999, rel=1e-12)


def test_linear_schedule_takes_its_ends():
    assert linear_schedule(3, 0.1, 0.4).beta.tolist() == pytest.approx([0.1, 0.25, 0.4])


def test_linear_schedule_leaves_as_little_signal_as_the_paper_reports():
    """About 1e-5 bits per dimension of KL(q(x_T | x_0) || N(0, I)), section 4.

    For a pixel that is uniform in [-1, 1], so that the mean of its square is 1/3.
    """
    kept = linear_schedule().alpha_bar[-1].item()
    nats = 0.5 * (kept / 3 + (1 - kept) - 1 - math.log1p(-kept))
    assert 3e-6 < nats / math.log(2) < 3e-5


# The cosine schedule


@pytest.mark.equation("ddpm-cosine")
@pytest.mark.parametrize(
    ("timesteps", "offset", "max_beta"),
    [(1000, 0.008, 0.999), (50, 0.008, 0.999), (20, 0.1, 0.5), (1, 0.008, 0.999)],
)
def test_cosine_schedule_by_the_papers_formula(timesteps, offset, max_beta):
    """f(t) = cos^2((t/T + s) / (1 + s) pi/2), alpha_bar_t = f(t) / f(0), beta clipped."""

    def f(t: int) -> float:
        return math.cos((t / timesteps + offset) / (1 + offset) * math.pi / 2) ** 2

    schedule = cosine_schedule(timesteps, offset, max_beta)
    expected = [min(1 - f(t) / f(t - 1), max_beta) for t in range(1, timesteps + 1)]
    assert schedule.beta.tolist() == pytest.approx(expected, rel=1e-9)
    unclipped = [t for t in range(timesteps) if expected[t] < max_beta]
    assert len(unclipped) < timesteps
    for t in unclipped:
        assert schedule.alpha_bar[t].item() == pytest.approx(f(t + 1) / f(0), rel=1e-9)


@pytest.mark.equation("ddpm-cosine")
def test_cosine_schedule_has_the_papers_defaults():
    """s = 0.008, and beta at most 0.999: by the default 1,000 steps only the last is clipped."""
    schedule = cosine_schedule()
    by_hand = cosine_schedule(1000, offset=0.008, max_beta=0.999)
    assert torch.equal(schedule.beta, by_hand.beta)
    assert schedule.beta[-1] == 0.999
    assert (schedule.beta[:-1] < 0.999).all()
    # Half of the signal's variance is left in about the middle, as their figure 5 shows.
    assert schedule.alpha_bar[499].item() == pytest.approx(0.5, abs=0.02)
    assert linear_schedule().alpha_bar[499] < 0.1


@pytest.mark.equation("ddpm-cosine")
def test_offset_makes_the_first_steps_larger():
    assert cosine_schedule(offset=0.008).beta[0] > 10 * cosine_schedule(offset=0.0).beta[0]


def test_schedules_by_name():
    assert set(SCHEDULES) == {"linear", "cosine"}
    assert torch.equal(SCHEDULES["linear"](7).beta, linear_schedule(7).beta)
    assert torch.equal(SCHEDULES["cosine"](7).beta, cosine_schedule(7).beta)


# What is refused


@pytest.mark.parametrize("wrong", [0.0, 1.0, -0.1, 1.5, math.nan, math.inf])
def test_betas_outside_zero_and_one_are_refused(wrong):
    with pytest.raises(ValueError, match="every beta must be greater than 0 and less than 1"):
        Schedule(torch.tensor([0.1, wrong, 0.2]))


@pytest.mark.parametrize("shape", [(), (0,), (2, 3)])
def test_betas_that_are_no_vector_are_refused(shape):
    with pytest.raises(ValueError, match="non-empty vector") as caught:
        Schedule(torch.full(shape, 0.1))
    assert f"not of shape {shape}" in str(caught.value)


@pytest.mark.parametrize("build", SCHEDULES.values())
def test_schedule_of_no_steps_is_refused(build):
    with pytest.raises(ValueError, match="non-empty vector"):
        build(0)
