"""Three ways back from noise to data.

Chapter: *Diffusion models*. Sources: Ho, Jain and Abbeel (2020), arXiv:2006.11239 (ancestral
sampling); Song, Meng and Ermon (2021), arXiv:2010.02502 (DDIM); Lu et al. (2022),
arXiv:2211.01095 (DPM-Solver++).

All take a function ``denoise(x_t, t) -> x0``, the estimate of the data (N, ...) behind a
state, with ``t`` an int64 tensor (N,); the state ``noise`` (N, ...) to start from, drawn
from N(0, I); and return data. ``on_step(t, x, x0)`` sees every new state and the estimate
that led to it.
"""

from collections.abc import Callable, Sequence

import torch

from ..noise import standard_normal
from .process import at, epsilon_from_x0, posterior
from .schedule import Schedule

Denoiser = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
OnStep = Callable[[int, torch.Tensor, torch.Tensor], None]
SAMPLERS = ("ddpm", "ddim", "dpm-solver")


def trailing_timesteps(timesteps: int, steps: int) -> list[int]:
    """Return ``steps`` of the T timesteps, evenly spaced and descending from T - 1.

    So the first is pure noise, as the samplers assume (Lin et al., 2024, arXiv:2305.08891).
    Raises ``ValueError`` unless 1 <= steps <= T.
    """
    if not 1 <= steps <= timesteps:
        raise ValueError(f"steps must be between 1 and {timesteps}, not {steps}")
    return [round(timesteps - i * timesteps / steps) - 1 for i in range(steps)]


def steps_taken(sampler: str, steps: int | None, *, timesteps: int, default: int) -> int:
    """Return how often a network is applied by one of ``SAMPLERS``: for 'ddpm' T times.

    For the others it is ``steps``, or ``default``, but at most T, where ``steps`` is None.
    Raises ``ValueError`` for an unknown sampler, and for a number that it cannot take.
    """
    if sampler not in SAMPLERS:
        raise ValueError(f"unknown sampler {sampler!r}; known: {', '.join(SAMPLERS)}")
    if sampler == "ddpm":
        if steps not in (None, timesteps):
            raise ValueError(
                f"sampler 'ddpm' takes all {timesteps} steps; for fewer, use 'ddim' or 'dpm-solver'"
            )
        return timesteps
    steps = min(default, timesteps) if steps is None else steps
    return len(trailing_timesteps(timesteps, steps))  # which refuses impossible numbers


def sample_ddpm(
    denoise: Denoiser,
    noise: torch.Tensor,
    schedule: Schedule,
    *,
    generator: torch.Generator | None = None,
    variance: str = "posterior",
    noises: Sequence[torch.Tensor] | None = None,
    on_step: OnStep | None = None,
) -> torch.Tensor:
    """Walk back through all T steps, each drawn from :eq:`ddpm-reverse`.

    ``variance`` is that of the posterior, or 'beta' (sigma_t^2 = beta_t); the paper found
    both alike. No noise is added at the last step, t = 0, with either. ``noises`` are used
    instead of drawn ones, in the order of the walk; one for t = 0 may be there. Raises
    ``ValueError`` for another variance, and unless there are T - 1 noises or T.
    """
    if variance not in ("posterior", "beta"):
        raise ValueError(f"unknown variance {variance!r}; known: posterior, beta")
    if noises is not None and not 0 <= schedule.timesteps - len(noises) <= 1:
        raise ValueError(f"{schedule.timesteps - 1} noises are needed, not {len(noises)}")
    x = noise
    for number, step in enumerate(reversed(range(schedule.timesteps))):
        t = _timestep(step, x)
        x0 = denoise(x, t)
        mean, spread = posterior(x0, x, t, schedule)
        if variance == "beta":
            spread = at(schedule.beta, t, x)
        x = mean
        if step > 0:
            added = (
                standard_normal(*x.shape, like=x, generator=generator)
                if noises is None
                else noises[number]
            )
            x = x + spread.sqrt() * added
        if on_step:
            on_step(step, x, x0)
    return x


def sample_ddim(
    denoise: Denoiser,
    noise: torch.Tensor,
    schedule: Schedule,
    *,
    steps: int,
    eta: float = 0.0,
    generator: torch.Generator | None = None,
    on_step: OnStep | None = None,
) -> torch.Tensor:
    """Walk back in ``steps`` steps by :eq:`ddpm-ddim`.

    ``eta`` scales the noise that is added at each step: 0 is deterministic, and 1 with all
    T steps is :func:`sample_ddpm` with the posterior's variance. Raises ``ValueError`` for
    others than 0 to 1: a larger one would add more noise than the states may hold.
    """
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must be in [0, 1], but is {eta}")
    x = noise
    chosen = trailing_timesteps(schedule.timesteps, steps)
    for step, following in zip(chosen, [*chosen[1:], -1], strict=True):
        t = _timestep(step, x)
        x0 = denoise(x, t)
        epsilon = epsilon_from_x0(x, t, x0, schedule)
        now, then = schedule.alpha_bar[step], _alpha_bar(schedule, following)
        variance = (1 - then) / (1 - now) * (1 - now / then)
        sigma = eta * float(variance.sqrt())
        direction = float((1 - then - sigma**2).clamp(min=0).sqrt())
        x = float(then.sqrt()) * x0 + direction * epsilon
        if sigma > 0:
            x = x + sigma * standard_normal(*x.shape, like=x, generator=generator)
        if on_step:
            on_step(step, x, x0)
    return x


def sample_dpm_solver(
    denoise: Denoiser,
    noise: torch.Tensor,
    schedule: Schedule,
    *,
    steps: int,
    order: int = 2,
    on_step: OnStep | None = None,
) -> torch.Tensor:
    """Walk back in ``steps`` steps of the multistep DPM-Solver++: :eq:`ddpm-dpm-solver`.

    ``order=2`` is DPM-Solver++(2M); its first step, for which there is nothing to
    extrapolate from, and its last, where lambda becomes infinite, are of order 1.
    ``order=1`` equals :func:`sample_ddim` with eta = 0.
    """
    if order not in (1, 2):
        raise ValueError(f"order must be 1 or 2, not {order}")
    x = noise
    chosen = trailing_timesteps(schedule.timesteps, steps)
    earlier: tuple[torch.Tensor, float] | None = None  # the last estimate, and its step
    for step, following in zip(chosen, [*chosen[1:], -1], strict=True):
        x0 = denoise(x, _timestep(step, x))
        now, then = schedule.alpha_bar[step], _alpha_bar(schedule, following)
        if following < 0:  # sigma is 0: the exponential integrator returns the estimate
            x = x0
        else:
            h = float(_half_log_snr(then) - _half_log_snr(now))
            slope_corrected = x0
            if order == 2 and earlier is not None:
                before, h_before = earlier
                slope_corrected = x0 + h / (2 * h_before) * (x0 - before)
            ratio = float(((1 - then) / (1 - now)).sqrt())
            weight = float(then.sqrt()) * -torch.expm1(torch.tensor(-h, dtype=torch.float64))
            x = ratio * x + float(weight) * slope_corrected
            earlier = (x0, h)
        if on_step:
            on_step(step, x, x0)
    return x


def _timestep(step: int, x: torch.Tensor) -> torch.Tensor:
    return torch.full((len(x),), step, dtype=torch.int64, device=x.device)


def _alpha_bar(schedule: Schedule, step: int) -> torch.Tensor:
    return schedule.alpha_bar[step] if step >= 0 else schedule.alpha_bar.new_ones(())


def _half_log_snr(alpha_bar: torch.Tensor) -> torch.Tensor:
    return 0.5 * (alpha_bar.log() - (-alpha_bar).log1p())
