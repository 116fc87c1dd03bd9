"""The forward process, its posterior, and what a network may predict.

Chapter: *Diffusion models*. Sources: Ho, Jain and Abbeel (2020), arXiv:2006.11239; Song et
al. (2021), arXiv:2011.13456, for the score; Salimans and Ho (2022), arXiv:2202.00512, for
the velocity. ``x0`` is data in [-1, 1], ``x_t`` the state after step t, both (N, ...);
``t`` is an int64 tensor (N,) with entries in {0, ..., T-1}.
"""

import torch

from .schedule import Schedule

PREDICTIONS = ("epsilon", "x0", "velocity")


def at(values: torch.Tensor, t: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Return ``values[t]`` shaped to multiply ``like`` (N, ...), in its type and place."""
    # Rounded before it is moved: not every device has double precision.
    chosen = values.to(like.dtype).to(like.device)[t]
    return chosen.view(-1, *[1] * (like.ndim - 1))


def jump_factors(
    t: torch.Tensor, like: torch.Tensor, schedule: Schedule
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the factors of data and noise in :eq:`ddpm-jump`, shaped to multiply ``like``."""
    signal = at(schedule.alpha_bar.sqrt(), t, like)
    spread = at((1 - schedule.alpha_bar).sqrt(), t, like)
    return signal, spread


def q_step(
    x: torch.Tensor, t: torch.Tensor, noise: torch.Tensor, schedule: Schedule
) -> torch.Tensor:
    """Take the single step t of the forward process: :eq:`ddpm-step`."""
    return at(schedule.alpha.sqrt(), t, x) * x + at(schedule.beta.sqrt(), t, x) * noise


def q_sample(
    x0: torch.Tensor, t: torch.Tensor, noise: torch.Tensor, schedule: Schedule
) -> torch.Tensor:
    """Jump from the data to the state after step t: :eq:`ddpm-jump`."""
    signal, spread = jump_factors(t, x0, schedule)
    return signal * x0 + spread * noise


def posterior(
    x0: torch.Tensor, x_t: torch.Tensor, t: torch.Tensor, schedule: Schedule
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and variance of the state before step t: :eq:`ddpm-posterior`.

    The mean has the shape of ``x_t``; the variance is one number for each of the N.
    """
    noise_variance = 1 - schedule.alpha_bar
    of_x0 = schedule.alpha_bar_previous.sqrt() * schedule.beta / noise_variance
    of_x_t = schedule.alpha.sqrt() * (1 - schedule.alpha_bar_previous) / noise_variance
    mean = at(of_x0, t, x_t) * x0 + at(of_x_t, t, x_t) * x_t
    return mean, at(schedule.posterior_variance, t, x_t)


def epsilon_from_x0(
    x_t: torch.Tensor, t: torch.Tensor, x0: torch.Tensor, schedule: Schedule
) -> torch.Tensor:
    """Return the noise that leads from ``x0`` to ``x_t``: :eq:`ddpm-jump` solved for it."""
    signal, spread = jump_factors(t, x_t, schedule)
    return (x_t - signal * x0) / spread


def x0_from_epsilon(
    x_t: torch.Tensor, t: torch.Tensor, epsilon: torch.Tensor, schedule: Schedule
) -> torch.Tensor:
    """Return the data that ``epsilon`` led away from: :eq:`ddpm-x0`.

    Near t = T - 1 this divides by nearly 0 and magnifies every error of ``epsilon``.
    """
    signal, spread = jump_factors(t, x_t, schedule)
    return (x_t - spread * epsilon) / signal


def velocity(
    x0: torch.Tensor, epsilon: torch.Tensor, t: torch.Tensor, schedule: Schedule
) -> torch.Tensor:
    """Return v, a mix of noise and data of about unit size at every t: :eq:`ddpm-velocity`."""
    signal, spread = jump_factors(t, x0, schedule)
    return signal * epsilon - spread * x0


def x0_from_velocity(
    x_t: torch.Tensor, t: torch.Tensor, v: torch.Tensor, schedule: Schedule
) -> torch.Tensor:
    """Return the data from state and velocity: :eq:`ddpm-x0-from-velocity`."""
    signal, spread = jump_factors(t, x_t, schedule)
    return signal * x_t - spread * v


def score_from_epsilon(epsilon: torch.Tensor, t: torch.Tensor, schedule: Schedule) -> torch.Tensor:
    """Return the score, the gradient of log q(x_t), that a noise stands for: :eq:`ddpm-score`."""
    _, spread = jump_factors(t, epsilon, schedule)
    return -epsilon / spread


def check_prediction(kind: str) -> None:
    """Raise ``ValueError`` unless ``kind`` is one of ``PREDICTIONS``."""
    if kind not in PREDICTIONS:
        raise ValueError(f"unknown prediction {kind!r}; known: {', '.join(PREDICTIONS)}")


def target(
    kind: str, x0: torch.Tensor, epsilon: torch.Tensor, t: torch.Tensor, schedule: Schedule
) -> torch.Tensor:
    """Return what a network of this kind (one of ``PREDICTIONS``) should predict."""
    check_prediction(kind)
    if kind == "epsilon":
        return epsilon
    if kind == "x0":
        return x0
    return velocity(x0, epsilon, t, schedule)


def to_x0(
    kind: str, prediction: torch.Tensor, x_t: torch.Tensor, t: torch.Tensor, schedule: Schedule
) -> torch.Tensor:
    """Turn a prediction of this kind (one of ``PREDICTIONS``) into one of the data."""
    check_prediction(kind)
    if kind == "epsilon":
        return x0_from_epsilon(x_t, t, prediction, schedule)
    if kind == "x0":
        return prediction
    return x0_from_velocity(x_t, t, prediction, schedule)
