"""One protocol by which all generative models of the course are measured.

Chapter: *Comparison*. The protocol is ``PROTOCOL``, in words.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .. import data, weights
from ..models import Classifier
from .coverage import class_coverage
from .errors import MetricsError
from .frechet import frechet_distance
from .precision_recall import NEIGHBOURS, precision_recall
from .sampling import draw, sampling_options

SAMPLES = 2_000
CLASSIFIER = "classifier"  # its name among the shipped models
PROTOCOL = (
    "Samples are rounded to the 256 grey levels that a file would hold, and compared with the "
    "2,000 test images of Fashion-MNIST that ship with the package. The floor ('real images') "
    "is the same measurement with as many training images as there are samples, drawn at "
    "random from the 12,000 that ship: what a perfect generator would get, apart from the "
    "luck of the draw. 'frechet' is the Fréchet distance in the features of our classifier "
    "(Fréchet feature distance, FFD), which no other network's can be compared with, and "
    "'frechet_ratio' is how many times the floor it is. It is biased upward, more so for fewer "
    "samples, so only numbers from equal sample sizes can be compared. Precision and recall are "
    f"those of Kynkäänniemi et al. (2019) with {NEIGHBOURS} nearest neighbours in the same "
    "features. The shares are those of the classes that the classifier sees in the samples; "
    "of the test images each class makes up a tenth."
)


def evaluate(
    images: torch.Tensor,
    reference: torch.Tensor | None = None,
    *,
    floor: torch.Tensor | None = None,
    classifier: Classifier | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure images (N, 1, 28, 28) in [0, 1], and real ones beside them, as in ``PROTOCOL``.

    ``reference`` are real images, by default the shipped test images; ``floor`` are other
    real images, by default N of the shipped training images, drawn with ``seed``; give
    as many of them as there are ``images``. ``classifier`` is by default the shipped one.

    Returns ``samples``, ``reference`` and ``floor`` (numbers of images) and ``frechet``,
    ``precision``, ``recall``, ``smallest_share``, each again with ``_floor`` for the real
    images, ``frechet_ratio``, and ``shares``, a share for every class by its name.
    Raises ``MetricsError`` for images that are not such, or too few.
    """
    classifier = classifier or shipped_classifier()
    if reference is None:
        reference = data.load(split="test").images
    if floor is None:
        floor = real_images(len(images), seed=seed)
    elif len(floor) != len(images):
        raise MetricsError(
            f"{len(images)} samples cannot be compared with a floor of {len(floor)} images: the "
            "Fréchet distance depends on their number"
        )
    real, _ = _seen(classifier, reference)
    sampled, labels = _seen(classifier, images)
    others, other_labels = _seen(classifier, floor)
    classes = classifier.config.classes
    shares = class_coverage(labels, classes)
    frechet, frechet_floor = frechet_distance(sampled, real), frechet_distance(others, real)
    precision, recall = precision_recall(real, sampled)
    precision_floor, recall_floor = precision_recall(real, others)
    return {
        "samples": len(images),
        "reference": len(reference),
        "floor": len(floor),
        "frechet": frechet,
        "frechet_floor": frechet_floor,
        "frechet_ratio": frechet / frechet_floor if frechet_floor else float("inf"),
        "precision": precision,
        "precision_floor": precision_floor,
        "recall": recall,
        "recall_floor": recall_floor,
        "smallest_share": float(shares.min()),
        "smallest_share_floor": float(class_coverage(other_labels, classes).min()),
        "shares": dict(zip(data.CLASS_NAMES["fashion-mnist"], shares.tolist(), strict=True)),
    }


def evaluate_model(
    model: str | nn.Module,
    n: int = SAMPLES,
    seed: int = 0,
    *,
    where: Path | None = None,
    sampler: str | None = None,
    steps: int | None = None,
    classifier: Classifier | None = None,
    on_batch: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Draw ``n`` images from a model and measure them as :func:`evaluate` does, offline.

    ``model`` is a shipped model's name (or one in the folder ``where``), or a model.
    ``seed`` is that of the samples and of the floor; ``sampler``, ``steps`` and
    ``on_batch`` are those of :func:`~course_lib.metrics.sampling.draw`. The result holds
    ``images_per_second`` too, of drawing alone, with as many threads as ``threads`` says.
    """
    classifier = classifier or shipped_classifier()
    name = model if isinstance(model, str) else type(model).__name__
    if isinstance(model, str):
        model = weights.load(model, where)
    options = {"sampler": sampler, "steps": steps}
    sampling_options(model, name=name, **options)
    images, seconds = draw(model, n, seed=seed, name=name, on_batch=on_batch, **options)
    return evaluate(images, classifier=classifier, seed=seed) | {
        "images_per_second": n / seconds,
        "threads": torch.get_num_threads(),
    }


def headline(measured: dict[str, Any]) -> dict[str, float]:
    """Return the few numbers of a card: those that the seed decides, and the machine does not."""
    kept = ("frechet", "frechet_floor", "frechet_ratio", "precision", "recall", "smallest_share")
    return {key: measured[key] for key in kept}


def shipped_classifier() -> Classifier:
    """Return the classifier that ships. Raises ``WeightsError`` where it does not."""
    return weights.load(CLASSIFIER)


def real_images(n: int, *, seed: int = 0) -> torch.Tensor:
    """Return ``n`` different ones of the shipped training images, drawn at random.

    Their classes are left to chance, as a generator's are. Raises ``MetricsError``
    for more than there are.
    """
    train = data.load(split="train").images
    if n > len(train):
        raise MetricsError(
            f"{n:,} samples cannot be compared with as many real ones: {len(train):,} ship"
        )
    return train[torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))[:n]]


@torch.inference_mode()
def _seen(classifier: Classifier, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the features (N, D) and the predicted classes (N,) of images as a file holds them."""
    if images.ndim != 4 or tuple(images.shape[1:]) != (1, 28, 28) or not len(images):
        raise MetricsError(
            f"images must be of shape (N, 1, 28, 28), but these are {tuple(images.shape)}"
        )
    if not (images.min() >= 0 and images.max() <= 1):  # so written, it refuses NaN too
        raise MetricsError(
            f"images must be in [0, 1], but these reach from {images.min():.3g} to "
            f"{images.max():.3g}"
        )
    levels = images.mul(255).round().div(255)
    features = torch.cat([classifier.features(batch) for batch in levels.split(500)])
    return features, classifier.head(features).argmax(1)
