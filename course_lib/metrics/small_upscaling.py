"""One protocol for models that enlarge the small grey images of clothes.

Chapter: *One task, four models*. The protocol is ``SMALL_PROTOCOL``, in words. What a single
draw is measured by answers three questions: is it near the original, does it look like
clothes, and how much do the draws differ?
"""

import time
from collections.abc import Callable

import torch

from .. import data
from ..data.degradation import degrade, downscale, quantize
from ..models import Classifier
from .evaluation import evaluate, shipped_classifier

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
    lr = quantize(degrade(hr))
    started = time.perf_counter()
    drawn = [drawn_at(draw, lr, seed + index) for index in range(draws)]
    seconds = time.perf_counter() - started
    first, mean = drawn[0], torch.stack(drawn).mean(0)
    guesses = torch.cat([classifier(part).argmax(1) for part in first.split(BATCH)])
    seen = evaluate(first, hr, floor=None, classifier=classifier)
    spread = torch.stack(drawn).var(0).mean().sqrt() if draws > 1 else torch.tensor(0.0)
    return {
        "psnr": float(decibel(squared_error(first, hr)).mean()),
        "psnr_of_mean": float(decibel(squared_error(mean, hr)).mean()),
        "mse": float(squared_error(first, hr).mean()),
        "mse_of_mean": float(squared_error(mean, hr).mean()),
        "lr_psnr": float(decibel(squared_error(downscale(first, 4), lr)).mean()),
        "diversity": float(spread),
        "agreement": float((guesses == labels).double().mean()),
        "frechet": seen["frechet"],
        "frechet_floor": seen["frechet_floor"],
        "precision": seen["precision"],
        "recall": seen["recall"],
        "images_per_second": draws * len(hr) / seconds,
    }


def drawn_at(draw: Draw, lr: torch.Tensor, seed: int) -> torch.Tensor:
    """Return one draw for each of ``lr``, in batches, from one generator with ``seed``."""
    generator = torch.Generator().manual_seed(seed)
    return torch.cat([draw(part, generator) for part in lr.split(BATCH)]).clamp(0, 1)


def squared_error(images: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Return the mean squared error of each image, (N,), float64."""
    return (images.double() - others.double()).square().flatten(1).mean(1)


def decibel(mse: torch.Tensor) -> torch.Tensor:
    """Return the PSNR for a peak of 1: :eq:`sr-psnr`."""
    return -10 * mse.log10()
