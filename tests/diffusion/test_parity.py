"""Schedules, processes and samplers against those of diffusers.

Diffusers computes its tables in float32. They are compared with ours, and so are runs with
its schedulers as they are, to 1e-5. For a closer look at the formulas alone, the schedulers
are given our tables in double: DDPM and DDIM then agree to 1e-9; DPM-Solver still rounds
its states to float32.
"""

import itertools
from collections.abc import Callable

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler

from course_lib.diffusion import (
    PREDICTIONS,
    Schedule,
    cosine_schedule,
    linear_schedule,
    q_sample,
    sample_ddim,
    sample_ddpm,
    sample_dpm_solver,
    to_x0,
    trailing_timesteps,
    velocity,
)

# What diffusers does with numpy arrays is not our concern.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

TIMESTEPS = 60
SCHEDULES = {"linear": linear_schedule, "cosine": cosine_schedule}
THEIR_SCHEDULES = {"linear": "linear", "cosine": "squaredcos_cap_v2"}
THEIR_PREDICTIONS = {"epsilon": "epsilon", "x0": "sample", "velocity": "v_prediction"}
FIXED = {"clip_sample": False}
TRAILING = {"timestep_spacing": "trailing"}
SOLVER = {
    "algorithm_type": "dpmsolver++",
    "solver_type": "midpoint",
    "final_sigmas_type": "zero",
    "use_lu_lambdas": False,
    "use_karras_sigmas": False,
}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(n: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, 1, 2, 3, generator=seeded(seed), dtype=torch.float64)


def theirs(kind: type, schedule: str, *, timesteps: int = TIMESTEPS, **options):
    return kind(num_train_timesteps=timesteps, beta_schedule=THEIR_SCHEDULES[schedule], **options)


def with_our_table(kind: type, name: str, prediction: str, **options):
    """Our schedule, and their scheduler that has our table in double."""
    schedule = SCHEDULES[name](TIMESTEPS)
    scheduler = theirs(kind, name, prediction_type=THEIR_PREDICTIONS[prediction], **options)
    scheduler.alphas_cumprod = schedule.alpha_bar
    return schedule, scheduler


def network(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """A fixed network with random weights that also minds the time."""
    weight = torch.randn(6, 6, generator=seeded(1), dtype=torch.float64)
    bias = torch.randn(6, generator=seeded(2), dtype=torch.float64)
    time = (t.double() / TIMESTEPS).view(-1, 1)
    return torch.tanh(x_t.flatten(1) @ weight / 2 + bias * (1 + time)).view_as(x_t)


def their_states(scheduler, steps: int, **options) -> list[torch.Tensor]:
    """The states of diffusers' loop, from the noise that ours starts from."""
    scheduler.set_timesteps(steps)
    x, found = pictures(), []
    for t in scheduler.timesteps.tolist():
        output = network(x, torch.full((len(x),), t))
        x = scheduler.step(output, t, x, **options).prev_sample
        found.append(x.double())
    return found


def our_states(
    sampler: Callable, schedule: Schedule, prediction: str, **options
) -> list[torch.Tensor]:
    def denoise(x_t, t):
        return to_x0(prediction, network(x_t, t), x_t, t, schedule)

    found = []
    result = sampler(
        denoise, pictures(), schedule, on_step=lambda t, x, x0: found.append(x), **options
    )
    assert torch.equal(result, found[-1])
    return found


def assert_alike(found: list, expected: list, *, tolerance: float) -> None:
    for step, (x, y) in enumerate(zip(found, expected, strict=True)):
        assert torch.allclose(x, y, rtol=tolerance, atol=tolerance), f"step {step}"


# Schedules and the forward process


@pytest.mark.equation("ddpm-alpha-bar")
@pytest.mark.equation("ddpm-cosine")
@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("timesteps", [10, 1000])
def test_schedules(name, timesteps):
    schedule = SCHEDULES[name](timesteps)
    expected = theirs(DDPMScheduler, name, timesteps=timesteps)
    assert torch.allclose(schedule.beta, expected.betas.double(), rtol=2e-5, atol=1e-7)
    alpha_bar = expected.alphas_cumprod.double()
    assert torch.allclose(schedule.alpha_bar, alpha_bar, rtol=1e-4, atol=1e-7)


@pytest.mark.equation("ddpm-jump")
@pytest.mark.equation("ddpm-velocity")
@pytest.mark.parametrize("name", SCHEDULES)
def test_noisy_pictures_and_velocities(name):
    schedule, scheduler = SCHEDULES[name](), theirs(DDPMScheduler, name, timesteps=1000)
    x0, epsilon = pictures(6, seed=1).tanh(), pictures(6, seed=2)
    t = torch.tensor([0, 1, 100, 500, 998, 999])
    noisy = scheduler.add_noise(x0, epsilon, t)
    assert torch.allclose(q_sample(x0, t, epsilon, schedule), noisy, atol=1e-5)
    v = scheduler.get_velocity(x0, epsilon, t)
    assert torch.allclose(velocity(x0, epsilon, t, schedule), v, atol=1e-5)


@pytest.mark.parametrize("kind", [DDIMScheduler, DPMSolverMultistepScheduler])
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 10, 25, 30, 50, 60, 300, 999, 1000])
def test_trailing_timesteps(kind, steps):
    scheduler = theirs(kind, "linear", timesteps=1000, **TRAILING)
    scheduler.set_timesteps(steps)
    assert trailing_timesteps(1000, steps) == scheduler.timesteps.tolist()


# Samplers: both draw the same noise from a generator with the same seed


@pytest.mark.equation("ddpm-reverse")
@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize(
    ("variance", "their_variance"), [("posterior", "fixed_small"), ("beta", "fixed_large")]
)
def test_ddpm(name, prediction, variance, their_variance):
    schedule, scheduler = with_our_table(
        DDPMScheduler,
        name,
        prediction,
        variance_type=their_variance,
        **FIXED,
    )
    expected = their_states(scheduler, TIMESTEPS, generator=seeded(3))
    found = our_states(sample_ddpm, schedule, prediction, variance=variance, generator=seeded(3))
    assert_alike(found, expected, tolerance=1e-9)


@pytest.mark.equation("ddpm-ddim")
@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("steps", [1, 6, TIMESTEPS])
def test_ddim(name, prediction, eta, steps):
    schedule, scheduler = with_our_table(
        DDIMScheduler,
        name,
        prediction,
        set_alpha_to_one=True,
        **FIXED,
        **TRAILING,
    )
    expected = their_states(scheduler, steps, eta=eta, generator=seeded(3))
    found = our_states(sample_ddim, schedule, prediction, steps=steps, eta=eta, generator=seeded(3))
    assert_alike(found, expected, tolerance=1e-9)


@pytest.mark.equation("ddpm-dpm-solver")
@pytest.mark.parametrize(
    ("name", "prediction"),
    [
        *itertools.product(SCHEDULES, ["x0", "velocity"]),
        ("linear", "epsilon"),  # under the other, float32 loses the data that epsilon means
    ],
)
@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("steps", [1, 2, 6, 7, 20])
def test_dpm_solver(name, prediction, order, steps):
    schedule, scheduler = with_our_table(
        DPMSolverMultistepScheduler,
        name,
        prediction,
        solver_order=order,
        **SOLVER,
        **TRAILING,
    )
    expected = their_states(scheduler, steps)
    found = our_states(sample_dpm_solver, schedule, prediction, steps=steps, order=order)
    assert_alike(found, expected, tolerance=1e-5)


@pytest.mark.equation("ddpm-reverse")
@pytest.mark.equation("ddpm-ddim")
@pytest.mark.equation("ddpm-dpm-solver")
@pytest.mark.parametrize(
    ("kind", "sampler", "options", "their_options"),
    [
        (DDPMScheduler, sample_ddpm, {"generator": 3}, FIXED),
        (DDIMScheduler, sample_ddim, {"steps": 20, "eta": 0.5, "generator": 3}, FIXED | TRAILING),
        (DPMSolverMultistepScheduler, sample_dpm_solver, {"steps": 20}, SOLVER | TRAILING),
    ],
    ids=["ddpm", "ddim", "dpm-solver"],
)
def test_schedulers_as_they_are(kind, sampler, options, their_options):
    """With tables in float32, under the cosine schedule, where the data are predicted."""
    scheduler = theirs(kind, "cosine", prediction_type="sample", **their_options)

    def drawn_from_seeds() -> dict:
        return {k: seeded(v) if k == "generator" else v for k, v in options.items()}

    in_their_loop = {k: v for k, v in drawn_from_seeds().items() if k != "steps"}
    expected = their_states(scheduler, options.get("steps", TIMESTEPS), **in_their_loop)
    found = our_states(sampler, cosine_schedule(TIMESTEPS), "x0", **drawn_from_seeds())
    assert_alike(found, expected, tolerance=1e-5)
