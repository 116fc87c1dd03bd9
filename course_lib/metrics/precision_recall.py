"""Precision and recall of generated images: are they like real ones, and are all kinds there?

Chapter: *Comparison*. Source: Kynkäänniemi et al. (2019), arXiv:1904.06991.
"""

import torch

from .errors import MetricsError
from .frechet import check_features

NEIGHBOURS = 3
BLOCK = 500  # rows of distances held at a time


def precision_recall(
    real: torch.Tensor, generated: torch.Tensor, k: int = NEIGHBOURS
) -> tuple[float, float]:
    """Return precision and recall, :eq:`comparison-precision-recall`, both in [0, 1].

    Precision is the share of the features ``generated`` (M, D) that lie in the manifold of
    those ``real`` (N, D); recall is the share of ``real`` in the manifold of ``generated``.
    A set's manifold is the union of balls, one about each of its points, with the distance
    to the point's ``k``-th nearest other as radius; the balls are closed. Both numbers
    depend on N, M and k. Raises ``MetricsError`` for a set of no more than ``k`` points,
    for wrong shapes and for features that are not finite.
    """
    check_features(real, generated)
    if k < 1:
        raise MetricsError(f"k must be at least 1, not {k}")
    if min(len(real), len(generated)) <= k:
        raise MetricsError(
            f"{len(real)} real and {len(generated)} generated samples are too few: "
            f"each needs {k} neighbours"
        )
    real, generated = real.detach().double(), generated.detach().double()
    precision = inside(generated, real, neighbour_distances(real, k)).double().mean()
    recall = inside(real, generated, neighbour_distances(generated, k)).double().mean()
    return float(precision), float(recall)


def neighbour_distances(points: torch.Tensor, k: int) -> torch.Tensor:
    """Return for each of the points (N, D) the distance to its k-th nearest other, (N,)."""
    radii = []
    for start in range(0, len(points), BLOCK):
        distances = _distances(points[start : start + BLOCK], points)
        rows = torch.arange(len(distances))
        distances[rows, start + rows] = torch.inf  # a point is no neighbour of its own
        radii.append(distances.kthvalue(k, dim=1).values)
    return torch.cat(radii)


def inside(points: torch.Tensor, centres: torch.Tensor, radii: torch.Tensor) -> torch.Tensor:
    """Return for each of the points (M, D) whether any ball holds it, boolean (M,).

    The balls are about ``centres`` (N, D), with ``radii`` (N,).
    """
    return torch.cat(
        [(_distances(block, centres) <= radii).any(1) for block in points.split(BLOCK)]
    )


def _distances(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    # By differences: by products, equal points would not be at a distance of exactly zero.
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
