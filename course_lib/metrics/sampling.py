"""Drawing many images from a model, in one way for all that look at them or measure them."""

import inspect
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from .errors import MetricsError

BATCH = 500  # images drawn at a time


def draws(model: nn.Module) -> bool:
    """Return whether the model draws images from noise alone, by ``model.sample(n)``.

    A model that enlarges images may have a ``sample`` too, but it needs an image to start from.
    """
    sample = getattr(model, "sample", None)
    return sample is not None and "n" in inspect.signature(sample).parameters


def sampling_options(
    model: nn.Module, *, name: str, sampler: str | None = None, steps: int | None = None
) -> dict[str, Any]:
    """Return the options that ``model.sample`` is to be called with: those that were given.

    ``name`` is what messages call the model. Raises ``MetricsError`` for a model that
    has nothing to sample from, or that has no such option.
    """
    if hasattr(getattr(model, "config", None), "scale"):
        raise MetricsError(
            f"{name!r} enlarges images, and draws none of its own: use 'course-lib upscale' or "
            "course_lib.upscaling.load, and 'course-lib evaluate-sr' to measure it"
        )
    if not draws(model):
        raise MetricsError(f"{name!r} is not a generative model: it has nothing to sample from")
    given = {"sampler": sampler, "steps": steps}
    given = {option: value for option, value in given.items() if value is not None}
    known = inspect.signature(model.sample).parameters
    for option in given:
        if option not in known:
            raise MetricsError(f"{name!r} is not sampled by steps, so it has no option {option!r}")
    return given


@torch.inference_mode()
def draw(
    model: nn.Module,
    n: int,
    *,
    seed: int = 0,
    name: str | None = None,
    sampler: str | None = None,
    steps: int | None = None,
    on_batch: Callable[[int], None] | None = None,
) -> tuple[torch.Tensor, float]:
    """Draw ``n`` images (n, C, H, W) in [0, 1]; return them, on the CPU, and the seconds taken.

    They are drawn ``BATCH`` at a time with one generator, so the images depend on ``seed``
    and the options alone. ``sampler`` and ``steps`` are for models whose ``sample`` has
    them. ``on_batch`` is told how many images are there after every batch. Raises
    ``MetricsError`` for options that the model does not have or refuses.
    """
    options = sampling_options(
        model, name=name or type(model).__name__, sampler=sampler, steps=steps
    )
    generator = torch.Generator().manual_seed(seed)
    batches, seconds = [], 0.0
    for start in range(0, n, BATCH):
        started = time.perf_counter()
        try:
            batch = model.sample(min(BATCH, n - start), generator=generator, **options).cpu()
        except ValueError as error:
            if not options:
                raise
            raise MetricsError(str(error)) from error
        seconds += time.perf_counter() - started
        batches.append(batch)
        if on_batch:
            on_batch(start + len(batch))
    return torch.cat(batches), seconds
