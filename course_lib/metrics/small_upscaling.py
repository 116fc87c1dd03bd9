"""One protocol for models that enlarge the small grey images of clothes.

Chapter: *One task, four models*. The protocol is ``SMALL_PROTOCOL``, in words. What a single
draw is measured by answers three questions: is it near the original, does it look like
clothes, and how much do the draws differ?
"""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from .. import data
from ..data.degradation import degrade, quantize
from ..models import Classifier
from .consistency import lr_psnr
from .evaluation import evaluate, shipped_classifier
from .fidelity import psnr

SCALE = 4
DRAWS = 8
BATCH = 500
SMALL_PROTOCOL = (
    "The 2,000 test images of Fashion-MNIST that ship with the package are made small by "
    "antialiased bicubic interpolation, 28 x 28 to 7 x 7, and rounded to 256 levels. 'psnr' is "
    "the mean over the images of the PSNR of one draw, in dB, over all pixels, and "
    f"'psnr_of_mean' that of the mean of {DRAWS} draws; 'mse' and 'mse_of_mean' are the mean "
    "squared errors. 'lr_psnr' is the mean PSNR of the draw, made small again, against the "
    "small image. 'diversity' is the standard deviation of a pixel over the draws for one small "
    "image: the square root of the variance's mean over pixels and images. 'agreement' is the "
    "share of draws that the classifier of the course gives the true class. 'frechet', "
    "'precision' and 'recall' are of one draw for each small image, by the protocol of the "
    "other models of Fashion-MNIST; the floor is that of real training images."
)
Draw = Callable[[torch.Tensor, torch.Generator], torch.Tensor]


@torch.inference_mode()
def measure_small_upscaling(
    draw: Draw,
    *,
    draws: int = DRAWS,
    seed: int = 0,
    limit: int | None = None,
    classifier: Classifier | None = None,
) -> dict[str, float]:
    """Measure ``draw(lr, generator)`` as in ``SMALL_PROTOCOL``.

    It is given small images (N, 1, 7, 7) and returns images (N, 1, 28, 28), both in [0, 1];
    ``draws`` is 1 for what has one answer only, and the diversity then 0. ``limit`` measures
    the first test images alone. ``images_per_second`` is that of drawing, in batches of 500.
    """
    classifier = classifier or shipped_classifier()
    test = data.load(split="test")
    hr, labels = test.images[:limit], test.labels[:limit]
    lr = quantize(degrade(hr, scale=SCALE))
    started = time.perf_counter()
    drawn = [drawn_at(draw, lr, seed + index) for index in range(draws)]
    seconds = time.perf_counter() - started
    all_drawn = torch.stack(drawn)
    first, mean = drawn[0], all_drawn.mean(0)
    guesses = torch.cat([classifier(part).argmax(1) for part in first.split(BATCH)])
    seen = evaluate(first, hr, classifier=classifier)
    return {
        "psnr": float(psnr(rgb(first), rgb(hr), channel="rgb").mean()),
        "psnr_of_mean": float(psnr(rgb(mean), rgb(hr), channel="rgb").mean()),
        "mse": float((first.double() - hr.double()).square().mean()),
        "mse_of_mean": float((mean.double() - hr.double()).square().mean()),
        "lr_psnr": float(lr_psnr(rgb(first), rgb(lr), SCALE).mean()),
        "diversity": float(all_drawn.var(0).mean().sqrt()) if draws > 1 else 0.0,
        "agreement": float((guesses == labels).double().mean()),
        "frechet": seen["frechet"],
        "frechet_floor": seen["frechet_floor"],
        "precision": seen["precision"],
        "recall": seen["recall"],
        "images_per_second": draws * len(hr) / seconds,
    }


def measure_small_model(
    model: nn.Module, *, draws: int = DRAWS, **options: Any
) -> dict[str, float]:
    """Measure a model that draws by ``sample(lr, generator=...)``, in the same way.

    One whose ``random`` is False answers once.
    """
    return measure_small_upscaling(
        lambda lr, generator: model.sample(lr, generator=generator),
        draws=draws if model.random else 1,
        **options,
    )


def drawn_at(draw: Draw, lr: torch.Tensor, seed: int) -> torch.Tensor:
    """Return one draw for each of ``lr``, in batches, from one generator with ``seed``."""
    generator = torch.Generator().manual_seed(seed)
    return torch.cat([draw(part, generator) for part in lr.split(BATCH)]).clamp(0, 1)


def rgb(grey: torch.Tensor) -> torch.Tensor:
    """Return grey images (N, 1, H, W) with three equal channels, whose PSNR is that of one."""
    return grey.expand(-1, 3, -1, -1)
