"""Enlarging photographs: the models of Part III, and what they share.

Images are float tensors (N, 3, H, W), RGB, in [0, 1]. ``load(name)`` is imported from
``course_lib.upscaling.upscalers`` when it is first used, since it needs the shipped weights.
"""

from typing import Any

from .interface import Cancelled, Progress, Upscaled, Upscaler, UpscalingError
from .official import CheckpointError
from .regression import RegressionConfig, ResidualSR
from .srdiff import SRDiff, SRDiffConfig, srdiff_schedule

__all__ = [
    "CLOTHES",
    "UPSCALERS",
    "Cancelled",
    "CheckpointError",
    "Progress",
    "RegressionConfig",
    "ResidualSR",
    "SRDiff",
    "SRDiffConfig",
    "Upscaled",
    "Upscaler",
    "UpscalingError",
    "load",
    "srdiff_schedule",
]


def __getattr__(name: str) -> Any:
    if name in ("CLOTHES", "UPSCALERS", "load"):
        from . import upscalers

        return getattr(upscalers, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
