"""The mathematics of diffusion, without networks: schedules, processes, samplers.

Pictures are in [-1, 1] here, of any shape (N, ...); ``t`` counts from 0 to T - 1.
"""

from .process import (
    PREDICTIONS,
    epsilon_from_x0,
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
from .samplers import (
    SAMPLERS,
    sample_ddim,
    sample_ddpm,
    sample_dpm_solver,
    steps_taken,
    trailing_timesteps,
)
from .schedule import Schedule, cosine_schedule, linear_schedule

__all__ = [
    "PREDICTIONS",
    "SAMPLERS",
    "Schedule",
    "cosine_schedule",
    "epsilon_from_x0",
    "linear_schedule",
    "posterior",
    "q_sample",
    "q_step",
    "sample_ddim",
    "sample_ddpm",
    "sample_dpm_solver",
    "score_from_epsilon",
    "steps_taken",
    "target",
    "to_x0",
    "trailing_timesteps",
    "velocity",
    "x0_from_epsilon",
    "x0_from_velocity",
]
