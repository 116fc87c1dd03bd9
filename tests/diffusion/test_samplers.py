"""The samplers against closed forms: exact laws, not histograms.

With a denoiser that is affine in the state, a sampler's output is an affine function of all
the noises it draws. One run whose examples each feel a single unit of noise (an impulse)
therefore gives mean and covariance of the output exactly, and no test has to allow for luck.
"""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from course_lib.diffusion import (
    Schedule,
    cosine_schedule,
    linear_schedule,
    q_sample,
    sample_ddim,
    sample_ddpm,
    sample_dpm_solver,
    samplers,
    trailing_timesteps,
)

DIM = 2
SMALL = linear_schedule(20, 0.01, 0.3)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tensor(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def states(n: int = 4, *, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, DIM, generator=seeded(seed), dtype=torch.float64)


class GaussianData:
    """Data from N(mean, covariance): all that a perfect network could know, in closed form."""

    mean = tensor([0.5, -0.3])
    covariance = tensor([[0.5, 0.2], [0.2, 0.3]])

    def __init__(self, schedule: Schedule, **parameters: torch.Tensor):
        self.schedule = schedule
        self.__dict__.update(parameters)

    def marginal(self, alpha_bar: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and covariance of the state of which ``alpha_bar`` is left."""
        noise = (1 - alpha_bar) * torch.eye(DIM).double()
        return alpha_bar.sqrt() * self.mean, alpha_bar * self.covariance + noise

    def denoise(self, x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """E[x_0 | x_t], by conditioning the joint normal of both."""
        assert (t == t[0]).all()
        alpha_bar = self.schedule.alpha_bar[t[0]]
        mean, covariance = self.marginal(alpha_bar)
        gain = alpha_bar.sqrt() * self.covariance @ torch.linalg.inv(covariance)
        return self.mean + (x_t - mean) @ gain.T

    def flow(self, x: torch.Tensor, start: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
        """Solve the probability-flow ODE from one alpha_bar to another.

        Along the principal axes a point keeps its place in units of standard deviations.
        """
        variances, axes = torch.linalg.eigh(self.covariance)
        before, after = (alpha_bar * variances + 1 - alpha_bar for alpha_bar in (start, end))
        standardised = (x - start.sqrt() * self.mean) @ axes / before.sqrt()
        return standardised * after.sqrt() @ axes.T + end.sqrt() * self.mean


def point_data(schedule: Schedule) -> GaussianData:
    """All data are one point."""
    return GaussianData(schedule, covariance=torch.zeros(DIM, DIM).double())


def normal_data(schedule: Schedule) -> GaussianData:
    """Data from N(0, I), as every state then is."""
    return GaussianData(
        schedule, mean=torch.zeros(DIM).double(), covariance=torch.eye(DIM).double()
    )


def with_all_steps(sampler: Callable, **fixed) -> Callable:
    """Give all samplers one signature; the number of steps is T where it is not given."""

    def run(denoise, noise, schedule, *, steps=None, generator=None, on_step=None):
        options = fixed | {"on_step": on_step}
        if sampler is not sample_ddpm:
            options["steps"] = steps or schedule.timesteps
        if sampler is not sample_dpm_solver:
            options["generator"] = generator
        return sampler(denoise, noise, schedule, **options)

    return run


EVERY = {
    "ddpm": with_all_steps(sample_ddpm),
    "ddpm-beta": with_all_steps(sample_ddpm, variance="beta"),
    "ddim": with_all_steps(sample_ddim),
    "ddim-half": with_all_steps(sample_ddim, eta=0.5),
    "ddim-one": with_all_steps(sample_ddim, eta=1.0),
    "dpm-solver-1": with_all_steps(sample_dpm_solver, order=1),
    "dpm-solver-2": with_all_steps(sample_dpm_solver),
}
STOCHASTIC = ("ddpm", "ddpm-beta", "ddim-half", "ddim-one")


def replace_noise(patch: pytest.MonkeyPatch, make: Callable[..., torch.Tensor]) -> None:
    def noise(*shape, like, generator):
        return make(torch.zeros(shape, dtype=like.dtype))

    patch.setattr(samplers, "standard_normal", noise)


Law = tuple[torch.Tensor, torch.Tensor]


def laws(sampler: Callable, data: GaussianData, *, start: Law | None = None, **options) -> list:
    """Step, and exact mean and covariance of the state after it, for each step.

    ``start`` is the law of the state to begin with, by default N(0, I). Example 0 feels no
    noise; the next ``DIM`` feel one direction of the start each; then follow ``DIM`` for
    each draw of the sampler.
    """
    mean, covariance = start or (torch.zeros(DIM).double(), torch.eye(DIM).double())
    noise = mean.repeat(1 + DIM * (1 + data.schedule.timesteps), 1)
    noise[1 : 1 + DIM] += torch.linalg.cholesky(covariance).T
    draws = itertools.count(1)

    def impulses(zeros):
        first = 1 + DIM * next(draws)
        zeros[first : first + DIM] = torch.eye(DIM)
        return zeros

    found = []

    def on_step(t, x, x0):
        responses = x[1:] - x[0]
        found.append((t, x[0], responses.T @ responses))

    with pytest.MonkeyPatch.context() as patch:
        replace_noise(patch, impulses)
        sampler(data.denoise, noise, data.schedule, on_step=on_step, **options)
    return found


# Exact laws


def assert_marginals(found: list, data: GaussianData) -> None:
    """Every state has the law of the forward process; the last is the data."""
    levels = [data.schedule.alpha_bar[t] for t, _, _ in found[1:]] + [torch.ones(()).double()]
    for alpha_bar, (_, mean, covariance) in zip(levels, found, strict=True):
        expected_mean, expected_covariance = data.marginal(alpha_bar)
        assert torch.allclose(mean, expected_mean, rtol=1e-8, atol=1e-10)
        assert torch.allclose(covariance, expected_covariance, rtol=1e-8, atol=1e-10)


@pytest.mark.equation("ddpm-reverse")
@pytest.mark.parametrize("schedule", [SMALL, cosine_schedule(20)])
def test_ddpm_with_the_posteriors_variance_is_exact_for_a_point(schedule):
    """There the reverse step is the posterior, and walks back through q's own marginals."""
    data = point_data(schedule)
    start = data.marginal(schedule.alpha_bar[-1])
    assert_marginals(laws(sample_ddpm, data, start=start), data)


@pytest.mark.equation("ddpm-reverse")
@pytest.mark.parametrize("schedule", [SMALL, cosine_schedule(20)])
def test_ddpm_with_variance_beta_is_exact_for_standard_normal_data(schedule):
    """All states are N(0, I) then; only the last step, which adds no noise, leaves less."""
    *found, (_, mean, covariance) = laws(sample_ddpm, normal_data(schedule), variance="beta")
    for _, m, c in found:
        assert torch.allclose(m, torch.zeros(DIM).double(), atol=1e-12)
        assert torch.allclose(c, torch.eye(DIM).double(), rtol=1e-10, atol=1e-12)
    assert torch.allclose(mean, torch.zeros(DIM).double(), atol=1e-12)
    assert torch.allclose(covariance, schedule.alpha[0] * torch.eye(DIM).double(), atol=1e-12)


@pytest.mark.equation("ddpm-reverse")
@pytest.mark.parametrize("variance", ["posterior", "beta"])
def test_one_reverse_step_by_hand(monkeypatch, variance):
    """From the equation's mean and variance, written out for scalars."""
    schedule = Schedule([0.1, 0.3])
    data, noise = states(3, seed=1), states(3, seed=2)
    x_t, found = states(3), []
    replace_noise(monkeypatch, lambda zeros: zeros + noise)
    sample_ddpm(
        lambda x, t: data,
        x_t,
        schedule,
        variance=variance,
        on_step=lambda t, x, x0: found.append(x),
    )
    kept = 0.9 * 0.7
    mean = math.sqrt(0.9) * 0.3 / (1 - kept) * data + math.sqrt(0.7) * 0.1 / (1 - kept) * x_t
    spread = math.sqrt(0.3 * 0.1 / (1 - kept)) if variance == "posterior" else math.sqrt(0.3)
    assert torch.allclose(found[0], mean + spread * noise, rtol=1e-12)
    assert torch.allclose(found[1], data, rtol=1e-12)


@pytest.mark.equation("ddpm-ddim")
@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("steps", [1, 2, 7, 20])
@pytest.mark.parametrize("schedule", [SMALL, cosine_schedule(20)])
def test_ddim_keeps_the_marginals_whatever_its_noise(schedule, steps, eta):
    """What its authors construct it for: sigma changes the joint law, not the marginals."""
    data = point_data(schedule)
    start = data.marginal(schedule.alpha_bar[-1])
    assert_marginals(laws(sample_ddim, data, start=start, steps=steps, eta=eta), data)


@pytest.mark.equation("ddpm-ddim")
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("steps", [4, 7, 20])
def test_noise_of_ddim_by_the_papers_formula(eta, steps):
    """Equation 16: sigma = eta sqrt((1 - a') / (1 - a)) sqrt(1 - a / a')."""
    data = GaussianData(SMALL)

    def run(draw: int | None) -> list[torch.Tensor]:
        """The states of a run in which this draw alone is of ones, and all others of zeros."""
        found, draws = [], itertools.count()
        with pytest.MonkeyPatch.context() as patch:
            replace_noise(patch, lambda zeros: zeros + (next(draws) == draw))
            sample_ddim(
                data.denoise,
                states(1),
                SMALL,
                steps=steps,
                eta=eta,
                on_step=lambda t, x, x0: found.append(x),
            )
        return found

    kept, chosen = SMALL.alpha_bar.tolist(), trailing_timesteps(20, steps)
    quiet = run(None)
    for draw, (now, then) in enumerate(itertools.pairwise(chosen)):
        sigma = math.sqrt((1 - kept[then]) / (1 - kept[now]) * (1 - kept[now] / kept[then]))
        moved = (run(draw)[draw] - quiet[draw])[0, 0].item()
        assert moved == pytest.approx(eta * sigma, rel=1e-9, abs=1e-12)
        if eta == 1 and steps == 20:
            assert moved**2 == pytest.approx(SMALL.posterior_variance[now].item(), rel=1e-9)


@pytest.mark.equation("ddpm-ddim")
@pytest.mark.equation("ddpm-reverse")
@pytest.mark.parametrize("schedule", [SMALL, linear_schedule(200), cosine_schedule(200)])
def test_ddim_with_eta_one_and_all_steps_is_ddpm(schedule):
    data, noise = GaussianData(schedule), states()
    ddpm, ddim = [], []
    sample_ddpm(
        data.denoise,
        noise,
        schedule,
        generator=seeded(1),
        on_step=lambda *step: ddpm.append(step),
    )
    sample_ddim(
        data.denoise,
        noise,
        schedule,
        steps=schedule.timesteps,
        eta=1.0,
        generator=seeded(1),
        on_step=lambda *step: ddim.append(step),
    )
    for (t, x, x0), (t_ddim, x_ddim, x0_ddim) in zip(ddpm, ddim, strict=True):
        assert t == t_ddim
        assert torch.allclose(x, x_ddim, rtol=1e-7, atol=1e-8)
        assert torch.allclose(x0, x0_ddim, rtol=1e-7, atol=1e-8)


@pytest.mark.equation("ddpm-dpm-solver")
@pytest.mark.equation("ddpm-ddim")
@pytest.mark.parametrize("steps", [1, 2, 7, 20])
@pytest.mark.parametrize("schedule", [SMALL, cosine_schedule(20), cosine_schedule()])
def test_dpm_solver_of_order_one_is_ddim_without_noise(schedule, steps):
    data, noise = GaussianData(schedule), states()
    expected, found = [], []
    sample_ddim(
        data.denoise, noise, schedule, steps=steps, on_step=lambda *step: expected.append(step)
    )
    sample_dpm_solver(
        data.denoise, noise, schedule, steps=steps, order=1, on_step=lambda *s: found.append(s)
    )
    for (t, x, x0), (t_found, x_found, x0_found) in zip(expected, found, strict=True):
        assert t == t_found
        assert torch.allclose(x, x_found, rtol=1e-8, atol=1e-9)
        assert torch.allclose(x0, x0_found, rtol=1e-8, atol=1e-9)


@pytest.mark.equation("ddpm-dpm-solver")
@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("schedule", [SMALL, cosine_schedule(20)])
def test_dpm_solver_is_exact_for_a_point(schedule, order):
    """The integral that it approximates is one of a constant then."""
    data = point_data(schedule)
    start = data.marginal(schedule.alpha_bar[-1])
    assert_marginals(laws(sample_dpm_solver, data, start=start, steps=7, order=order), data)


@pytest.mark.equation("ddpm-dpm-solver")
def test_multistep_solver_by_the_papers_algorithm():
    """Algorithm 2 of arXiv:2211.01095 in plain numbers, for estimates out of thin air.

    Steps of unequal length, so that h and the h before it cannot be confused.
    """
    schedule = Schedule([0.02, 0.3, 0.05, 0.2, 0.1, 0.4, 0.02, 0.6, 0.1, 0.3])
    chosen = trailing_timesteps(10, 5)
    estimates = dict(zip(chosen, [0.3, -0.8, 1.4, 0.2, -0.5], strict=True))
    alpha = [math.sqrt(kept) for kept in schedule.alpha_bar.tolist()]
    sigma = [math.sqrt(1 - kept) for kept in schedule.alpha_bar.tolist()]
    half_log_snr = [math.log(a / s) for a, s in zip(alpha, sigma, strict=True)]
    x, expected, h_before = 0.9, [], None
    for i, (now, then) in enumerate(itertools.pairwise(chosen)):
        h = half_log_snr[then] - half_log_snr[now]
        d = estimates[now]
        if i > 0:
            r = h_before / h
            d = (1 + 1 / (2 * r)) * estimates[now] - 1 / (2 * r) * estimates[chosen[i - 1]]
        x = sigma[then] / sigma[now] * x - alpha[then] * (math.exp(-h) - 1) * d
        expected.append(x)
        h_before = h
    expected.append(estimates[chosen[-1]])

    found = []
    result = sample_dpm_solver(
        lambda x, t: tensor([estimates[t.item()]]),
        tensor([0.9]),
        schedule,
        steps=5,
        on_step=lambda t, x, x0: found.append(x.item()),
    )
    assert found == pytest.approx(expected, rel=1e-10)
    assert result.item() == found[-1]


@pytest.mark.equation("ddpm-dpm-solver")
def test_order_two_needs_an_estimate_before():
    """So that in two steps, of which the last is of order 1, there is no difference yet."""
    data, noise = GaussianData(SMALL), states()

    def run(steps: int, order: int) -> torch.Tensor:
        return sample_dpm_solver(data.denoise, noise, SMALL, steps=steps, order=order)

    assert torch.equal(run(2, 1), run(2, 2))
    assert not torch.allclose(run(3, 1), run(3, 2), atol=1e-3)


# Convergence


@pytest.mark.equation("ddpm-reverse")
@pytest.mark.equation("ddpm-ddim")
@pytest.mark.equation("ddpm-dpm-solver")
@pytest.mark.parametrize("schedule", [linear_schedule(400, 2.5e-4, 0.05), cosine_schedule(400)])
@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        ("ddpm", 0.015),
        ("ddpm-beta", 0.002),
        ("ddim", 0.006),
        ("ddim-half", 0.008),
        ("ddim-one", 0.015),
        ("dpm-solver-1", 0.006),
        ("dpm-solver-2", 0.0005),
    ],
)
def test_a_gaussian_is_sampled_with_the_right_moments(name, tolerance, schedule):
    """By each sampler with all 400 steps; what is left is the steps' length.

    The deterministic samplers remember where they started, and so the signal that is left
    in q(x_T): sqrt(alpha_bar_T) is 0.006 under the linear schedule.
    """
    data = GaussianData(schedule)
    _, mean, covariance = laws(EVERY[name], data)[-1]
    assert (mean - data.mean).abs().max() < 0.003
    assert (covariance - data.covariance).abs().max() < tolerance


@pytest.mark.equation("ddpm-dpm-solver")
def test_few_steps_of_order_two_are_worth_many_of_order_one():
    data = GaussianData(cosine_schedule())

    def error(steps: int, order: int) -> float:
        *_, (_, _, covariance) = laws(sample_dpm_solver, data, steps=steps, order=order)
        return (covariance - data.covariance).abs().max().item()

    assert error(20, 2) < 0.003 < error(200, 1)


@pytest.mark.equation("ddpm-dpm-solver")
@pytest.mark.equation("ddpm-ddim")
@pytest.mark.parametrize(("name", "order"), [("ddim", 1), ("dpm-solver-1", 1), ("dpm-solver-2", 2)])
@pytest.mark.parametrize("place", [256, 512])
def test_order_of_convergence_to_the_exact_flow(name, order, place):
    """Twice as many steps halve the error, or quarter it, at a place before the end.

    Not at the end itself, where lambda becomes infinite.
    """
    schedule = linear_schedule(1024)
    data, noise = GaussianData(schedule), states()
    exact = data.flow(noise, schedule.alpha_bar[-1], schedule.alpha_bar[place - 1])
    errors = []
    for steps in (64, 128, 256):
        chosen = trailing_timesteps(1024, steps)
        before = chosen[chosen.index(place - 1) - 1]
        found = {}
        EVERY[name](
            data.denoise,
            noise,
            schedule,
            steps=steps,
            on_step=lambda t, x, x0, found=found: found.update({t: x}),
        )
        errors.append((found[before] - exact).abs().max().item())
    slopes = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    assert slopes == pytest.approx([order, order], abs=0.06)


def test_the_flow_leads_from_each_marginal_to_the_next():
    """The judge of the test above, judged: the ODE's right-hand side by differences.

    dx/dt = f x - g^2 score / 2 with f = d log sqrt(alpha_bar) / dt, g^2 = -2 f in the limit
    of small steps (Song et al., 2021).
    """
    data, x, h = GaussianData(SMALL), states(), 1e-6
    kept = tensor(0.4)
    moved = data.flow(x, kept, kept * math.exp(-2 * h))  # so that d log sqrt(alpha_bar) = -h
    mean, covariance = data.marginal(kept)
    score = -(x - mean) @ torch.linalg.inv(covariance)
    assert torch.allclose((moved - x) / h, -x - score, atol=1e-5)


@pytest.mark.parametrize("name", STOCHASTIC)
def test_drawn_samples_have_the_moments_of_the_exact_law(name):
    """10,000 real draws: four standard errors are allowed."""
    data, n = GaussianData(SMALL), 10_000
    generator = seeded(7)
    noise = torch.randn(n, DIM, generator=generator, dtype=torch.float64)
    drawn = EVERY[name](data.denoise, noise, SMALL, generator=generator)
    _, mean, covariance = laws(EVERY[name], data)[-1]
    variances = covariance.diag()
    assert ((drawn.mean(0) - mean).abs() < 4 * (variances / n).sqrt()).all()
    errors = (covariance.square() + variances[:, None] * variances).div(n).sqrt()
    assert ((drawn.T.cov() - covariance).abs() < 4 * errors).all()


# The last step, and the observer


@pytest.mark.equation("ddpm-reverse")
@pytest.mark.parametrize("variance", ["posterior", "beta"])
def test_ddpm_adds_no_noise_at_the_last_step(monkeypatch, variance):
    draws, estimates = [], []
    replace_noise(monkeypatch, lambda zeros: draws.append(1) or zeros + 1000)
    result = sample_ddpm(
        lambda x, t: x / 2000,
        states(),
        SMALL,
        variance=variance,
        on_step=lambda t, x, x0: estimates.append(x0),
    )
    assert len(draws) == SMALL.timesteps - 1
    assert torch.allclose(result, estimates[-1], rtol=1e-9)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("schedule", [SMALL, cosine_schedule(20)])
def test_every_sampler_ends_with_its_last_estimate(name, schedule):
    data, estimates = GaussianData(schedule), []
    result = EVERY[name](
        data.denoise,
        states(),
        schedule,
        generator=seeded(),
        on_step=lambda t, x, x0: estimates.append(x0),
    )
    assert torch.allclose(result, estimates[-1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        (name, steps)
        for name, steps in itertools.product(EVERY, [1, 6, 20])
        if steps == 20 or not name.startswith("ddpm")
    ],
)
def test_observer_sees_every_step(name, steps):
    """The steps in order, each new state and the estimate that led to it."""
    data, asked, seen = GaussianData(SMALL), [], []

    def denoise(x_t, t):
        assert t.dtype == torch.int64
        assert t.shape == (4,)
        asked.append((t.tolist(), x_t.clone(), data.denoise(x_t, t)))
        return asked[-1][2]

    noise = states()
    result = EVERY[name](
        denoise,
        noise,
        SMALL,
        steps=steps,
        generator=seeded(),
        on_step=lambda t, x, x0: seen.append((t, x.clone(), x0)),
    )
    chosen = trailing_timesteps(20, steps)
    assert [t for t, _, _ in seen] == chosen
    assert [t for t, _, _ in asked] == [[t] * 4 for t in chosen]
    assert torch.equal(asked[0][1], noise)
    for (_, x, _), (_, x_t, _) in zip(seen[:-1], asked[1:], strict=True):
        assert torch.equal(x, x_t)
    for (_, _, x0), (_, _, answer) in zip(seen, asked, strict=True):
        assert x0 is answer
    assert torch.equal(seen[-1][1], result)


# Randomness, types and shapes


@pytest.mark.parametrize("name", EVERY)
def test_all_randomness_comes_from_the_generator(name):
    data, noise = GaussianData(SMALL), states()
    before, untouched = torch.get_rng_state(), noise.clone()

    def run(seed: int) -> torch.Tensor:
        return EVERY[name](data.denoise, noise, SMALL, generator=seeded(seed))

    assert torch.equal(run(1), run(1))
    assert torch.equal(run(1), run(2)) == (name not in STOCHASTIC)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(noise, untouched)


@pytest.mark.parametrize("name", ["ddim", "dpm-solver-1", "dpm-solver-2"])
def test_deterministic_samplers_draw_nothing(monkeypatch, name):
    drawn = []

    def draw(*shape, like, generator):
        drawn.append(shape)
        return torch.zeros_like(like)

    monkeypatch.setattr(samplers, "standard_normal", draw)
    EVERY[name](GaussianData(SMALL).denoise, states(), SMALL)
    assert not drawn


@pytest.mark.parametrize("variance", ["posterior", "beta"])
@pytest.mark.parametrize("spare", [0, 1])
def test_given_noises_take_the_place_of_drawn_ones(monkeypatch, variance, spare):
    """In the order of the walk; one more, for the last step, is not used."""
    data, generator = GaussianData(SMALL), seeded(5)
    drawn = sample_ddpm(data.denoise, states(), SMALL, variance=variance, generator=seeded(5))
    noises = [
        torch.randn(4, DIM, generator=generator, dtype=torch.float64) for _ in range(19 + spare)
    ]
    replace_noise(monkeypatch, lambda zeros: pytest.fail("noise was drawn"))
    given = sample_ddpm(data.denoise, states(), SMALL, variance=variance, noises=noises)
    torch.testing.assert_close(given, drawn, rtol=0, atol=1e-12)


@pytest.mark.parametrize("number", [0, 18, 21])
def test_too_few_or_too_many_noises(number):
    with pytest.raises(ValueError, match=f"19 noises are needed, not {number}"):
        sample_ddpm(GaussianData(SMALL).denoise, states(), SMALL, noises=[states()] * number)


@pytest.mark.parametrize("name", STOCHASTIC)
def test_without_generator_the_global_seed_decides(name):
    data = GaussianData(SMALL)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        first = EVERY[name](data.denoise, states(), SMALL)
        torch.manual_seed(3)
        assert torch.equal(EVERY[name](data.denoise, states(), SMALL), first)
    assert torch.equal(EVERY[name](data.denoise, states(), SMALL, generator=seeded(3)), first)


@pytest.mark.parametrize("name", STOCHASTIC)
def test_every_draw_is_fresh_and_one_for_each_number(name):
    """So the noises of two steps, two examples or two pixels are not the same."""
    drawn = []
    original = samplers.standard_normal

    def note(*shape, like, generator):
        drawn.append(original(*shape, like=like, generator=generator))
        return drawn[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(samplers, "standard_normal", note)
        EVERY[name](lambda x, t: 0 * x, torch.zeros(3, 1, 2, 2), SMALL, generator=seeded())
    assert {draw.shape for draw in drawn} == {(3, 1, 2, 2)}
    assert len(drawn) == 19
    assert len(torch.stack(drawn).unique()) == 19 * 12


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pictures_of_any_shape_keep_their_type(name, dtype):
    noise = torch.randn(3, 1, 2, 5, generator=seeded(), dtype=dtype)
    result = EVERY[name](lambda x, t: x.tanh(), noise, SMALL, generator=seeded(1))
    assert (result.dtype, result.shape) == (dtype, noise.shape)
    assert result.isfinite().all()


@pytest.mark.parametrize("name", EVERY)
def test_single_precision_is_near_double(name, monkeypatch):
    """Under the cosine schedule, near whose ends float32 would lose its digits."""
    schedule = cosine_schedule(200)
    noises = iter(states(200, seed=2).unsqueeze(1).repeat(2, 4, 1))
    replace_noise(monkeypatch, lambda zeros: next(noises).to(zeros.dtype))

    def run(noise: torch.Tensor) -> torch.Tensor:
        return EVERY[name](lambda x, t: (x - 0.2).tanh(), noise, schedule)

    exact = run(states())
    if name in STOCHASTIC:
        next(noises)  # of 200, the first run drew 199
    assert torch.allclose(run(states().float()).double(), exact, atol=2e-5)


@given(st.integers(1, 20), st.integers(0, 100))
def test_a_perfect_denoiser_of_one_picture_is_believed(steps, seed):
    """From that picture's own noisy state, without noise, the way leads back to it."""
    x0, noise = states(seed=seed), states(seed=seed + 1)
    start = q_sample(x0, torch.full((4,), 19), noise, SMALL)
    found = []
    result = sample_ddim(
        lambda x, t: x0, start, SMALL, steps=steps, on_step=lambda t, x, _: found.append(x)
    )
    assert torch.allclose(result, x0, atol=1e-12)
    for t, x in zip(trailing_timesteps(20, steps)[1:], found[:-1], strict=True):
        assert torch.allclose(x, q_sample(x0, torch.full((4,), t), noise, SMALL), atol=1e-10)


# Which timesteps


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n))))
def test_trailing_timesteps_are_even_and_begin_at_the_end(numbers):
    timesteps, steps = numbers
    chosen = trailing_timesteps(timesteps, steps)
    assert len(chosen) == steps
    assert chosen[0] == timesteps - 1
    assert all(isinstance(t, int) for t in chosen)
    assert all(later < earlier for earlier, later in itertools.pairwise(chosen))
    assert chosen[-1] >= 0
    ideal = timesteps - np.arange(steps) * timesteps / steps - 1
    assert np.abs(np.array(chosen) - ideal).max() <= 0.5 + 1e-9


def test_trailing_timesteps_by_example():
    assert trailing_timesteps(1000, 4) == [999, 749, 499, 249]
    assert trailing_timesteps(10, 3) == [9, 6, 2]
    assert trailing_timesteps(6, 6) == [5, 4, 3, 2, 1, 0]
    assert trailing_timesteps(1000, 1) == [999]


# What is refused


@pytest.mark.parametrize("steps", [0, -1, 21])
def test_impossible_numbers_of_steps_are_refused(steps):
    message = f"steps must be between 1 and 20, not {steps}"
    with pytest.raises(ValueError, match=message):
        trailing_timesteps(20, steps)
    for sampler in (sample_ddim, sample_dpm_solver):
        with pytest.raises(ValueError, match=message):
            sampler(lambda x, t: x, states(), SMALL, steps=steps)


@pytest.mark.parametrize(
    ("sampler", "options", "message"),
    [
        (
            sample_ddpm,
            {"variance": "learned"},
            "unknown variance 'learned'; known: posterior, beta",
        ),
        (sample_ddim, {"steps": 5, "eta": -0.1}, r"eta must be in \[0, 1\], but is -0.1"),
        (sample_ddim, {"steps": 5, "eta": 1.5}, r"eta must be in \[0, 1\], but is 1.5"),
        (sample_dpm_solver, {"steps": 5, "order": 3}, "order must be 1 or 2, not 3"),
        (sample_dpm_solver, {"steps": 5, "order": 0}, "order must be 1 or 2, not 0"),
    ],
)
def test_impossible_options_are_refused(sampler, options, message):
    with pytest.raises(ValueError, match=message):
        sampler(lambda x, t: x, states(), SMALL, **options)
