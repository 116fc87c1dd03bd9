"""What a recipe is: a model, its training, and the measurements for its card."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from torch import nn

from .. import data
from .errors import SettingsError
from .loop import Data, TrainConfig


@dataclass(frozen=True)
class Material:
    """What a model learns from and is measured on, said in words for its card."""

    train: Any
    test: Any
    source: str
    test_source: str
    licence: str


def small_images(full: bool, images: Path | None) -> Material:
    """Return Fashion-MNIST: all of it, or what ships with the package."""
    if images is not None:
        raise SettingsError("a folder of photographs is for models that upscale")
    # Not PartialState, which knows nothing of processes on CPUs unless it is told.
    with Accelerator().local_main_process_first():  # which downloads for the others
        train, test = (data.load(split=split, full=full) for split in ("train", "test"))
    return Material(train, test, train.source, test.source, "MIT (Fashion-MNIST, Zalando SE)")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A model, its training, and the measurements for its card.

    ``build()`` makes the untrained model; ``examples(set)`` takes from a data set what the
    model learns from; ``evaluate(model, examples)`` measures it on those of the test set and
    returns numbers, with ``protocol`` saying how they were obtained and ``evaluated_on`` on
    what (by default, on the test set). What else it returns, lists or dictionaries, goes to
    the card's 'details'. ``material(full, images)`` finds what there is to learn from: the
    small images of Part II, or for upscalers the photographs in the folder ``images``.
    """

    summary: str
    build: Callable[[], nn.Module]
    config: TrainConfig
    evaluate: Callable[[nn.Module, Any], dict[str, Any]]
    protocol: str
    evaluated_on: str | None = None
    examples: Callable[[Any], Data] = lambda labelled: labelled.images
    material: Callable[[bool, Path | None], Material] = small_images
