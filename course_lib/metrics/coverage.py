"""Which share of generated images falls to each class: a missing class is a lost mode.

Chapter: *Comparison*.
"""

import torch

from .errors import MetricsError


def class_coverage(labels: torch.Tensor, classes: int = 10) -> torch.Tensor:
    """Return the share of each class, (classes,), float64: :eq:`comparison-coverage`.

    ``labels`` (N,) are integers, as a classifier predicts them. Of balanced data every
    share should be near 1 / ``classes``; the smallest share sums up what is lost. Raises
    ``MetricsError`` for no labels, or ones that are no class.
    """
    if labels.ndim != 1 or labels.is_floating_point() or labels.is_complex():
        raise MetricsError(
            "labels must be integers of shape (samples,), but these are "
            f"{labels.dtype} of shape {tuple(labels.shape)}"
        )
    if not len(labels):
        raise MetricsError("no labels were given")
    if labels.min() < 0 or labels.max() >= classes:
        raise MetricsError(
            f"labels must be in 0 to {classes - 1}, but these reach from "
            f"{labels.min()} to {labels.max()}"
        )
    return torch.bincount(labels, minlength=classes).double() / len(labels)
