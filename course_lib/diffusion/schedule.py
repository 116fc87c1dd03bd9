"""How much noise is added at each of the T steps of a diffusion.

Step ``t`` in {0, ..., T-1} turns the state before it into the state after it by
:eq:`ddpm-step`; ``alpha_bar[t]`` is what is left of the data's variance *after* step t.
Papers that count from 1 write alpha_bar_t for our ``alpha_bar[t - 1]``. All coefficients
are float64: near the ends of a schedule, float32 loses digits in ``1 - alpha_bar``.
"""

import math

import torch


class Schedule:
    """The coefficients that follow from the noise variances ``beta``, each of shape (T,).

    ``alpha`` is 1 - beta, ``alpha_bar`` its running product (:eq:`ddpm-alpha-bar`),
    ``alpha_bar_previous`` the product before the step (1 at t = 0), and
    ``posterior_variance`` is that of :eq:`ddpm-posterior`, which is 0 at t = 0. Raises
    ``ValueError`` unless every beta is in (0, 1).
    """

    def __init__(self, beta: torch.Tensor):
        beta = torch.as_tensor(beta, dtype=torch.float64)
        if beta.ndim != 1 or len(beta) == 0:
            raise ValueError(f"beta must be a non-empty vector, not of shape {tuple(beta.shape)}")
        if not bool(((beta > 0) & (beta < 1)).all()):
            raise ValueError("every beta must be greater than 0 and less than 1")
        self.beta = beta
        self.alpha = 1 - beta
        self.alpha_bar = torch.cumprod(self.alpha, 0)
        self.alpha_bar_previous = torch.cat([beta.new_ones(1), self.alpha_bar[:-1]])
        self.posterior_variance = beta * (1 - self.alpha_bar_previous) / (1 - self.alpha_bar)

    def __len__(self) -> int:
        return len(self.beta)

    @property
    def timesteps(self) -> int:
        """The number T of steps."""
        return len(self.beta)

    @property
    def snr(self) -> torch.Tensor:
        """The signal-to-noise ratio of :eq:`ddpm-snr` after each step, of shape (T,)."""
        return self.alpha_bar / (1 - self.alpha_bar)


def linear_schedule(timesteps: int = 1000, first: float = 1e-4, last: float = 0.02) -> Schedule:
    """Return the schedule of Ho et al. (2020): beta grows linearly from ``first`` to ``last``."""
    return Schedule(torch.linspace(first, last, timesteps, dtype=torch.float64))


def cosine_schedule(
    timesteps: int = 1000, offset: float = 0.008, max_beta: float = 0.999
) -> Schedule:
    """Return the schedule of Nichol and Dhariwal (2021): :eq:`ddpm-cosine`.

    ``offset`` (their s) keeps the first steps from being too small to matter, and
    ``max_beta`` bounds the last ones, where beta would reach 1.
    """
    time = torch.linspace(0, 1, timesteps + 1, dtype=torch.float64)
    kept = torch.cos((time + offset) / (1 + offset) * math.pi / 2).square()
    return Schedule((1 - kept[1:] / kept[:-1]).clamp(max=max_beta))


SCHEDULES = {"linear": linear_schedule, "cosine": cosine_schedule}
