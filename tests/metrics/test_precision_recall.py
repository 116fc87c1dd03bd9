"""Precision and recall on sets made by hand, and against the definition in plain Python."""

import math
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from course_lib.metrics import MetricsError, precision_recall
from course_lib.metrics.precision_recall import inside, neighbour_distances

module = sys.modules[precision_recall.__module__]  # whose name in the package is the function's


def by_definition(real: np.ndarray, generated: np.ndarray, k: int) -> tuple[float, float]:
    def share(points, centres):
        hits = 0
        for point in points:
            hits += any(
                math.dist(point, centre)
                <= sorted(math.dist(centre, x) for j, x in enumerate(centres) if j != i)[k - 1]
                for i, centre in enumerate(centres)
            )
        return hits / len(points)

    return share(generated, real), share(real, generated)


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values)[:, None]


@pytest.mark.equation("comparison-precision-recall")
@given(seed=st.integers(0, 10**6), n=st.integers(6, 20), m=st.integers(6, 20), k=st.integers(1, 5))
def test_against_the_definition(seed, n, m, k):
    rng = np.random.default_rng(seed)
    real, generated = rng.normal(size=(n, 3)), 0.7 + 0.8 * rng.normal(size=(m, 3))
    found = precision_recall(torch.from_numpy(real), torch.from_numpy(generated), k)
    assert found == by_definition(real, generated, k)


@pytest.mark.equation("comparison-precision-recall")
def test_one_dimension_by_hand():
    """Real 0, 1, 3 and k = 1: radii 1, 1, 2, so the manifold is [-1, 5].

    Generated -1, 2, 6: radii 3, 3, 4, so the manifold is [-4, 10].
    """
    real, generated = column(0.0, 1.0, 3.0), column(-1.0, 2.0, 6.0)
    assert neighbour_distances(real, 1).tolist() == [1, 1, 2]
    assert neighbour_distances(real, 2).tolist() == [3, 2, 3]
    assert inside(generated, real, torch.tensor([1.0, 1.0, 2.0])).tolist() == [True, True, False]
    assert precision_recall(real, generated, k=1) == (pytest.approx(2 / 3), 1)
    assert precision_recall(generated, real, k=1) == (1, pytest.approx(2 / 3))
    assert precision_recall(real, generated, k=2) == (1, 1)


@pytest.mark.equation("comparison-precision-recall")
def test_equal_sets_are_precise_and_complete():
    points = torch.randn(60, 5, generator=torch.Generator().manual_seed(0))
    assert precision_recall(points, points.flip(0)) == (1, 1)


def test_sets_apart_have_nothing_in_common():
    points = torch.randn(60, 5, generator=torch.Generator().manual_seed(0))
    assert precision_recall(points, points + 100) == (0, 0)


def modes(*centres: float, n: int = 50, seed: int = 0) -> torch.Tensor:
    """Clusters of n points along the first of four axes."""
    generator = torch.Generator().manual_seed(seed)
    clusters = [torch.randn(n, 4, generator=generator) for _ in centres]
    for cluster, centre in zip(clusters, centres, strict=True):
        cluster[:, 0] += centre
    return torch.cat(clusters)


def test_a_dropped_mode_costs_recall_alone():
    real = modes(0, 100)
    precision, recall = precision_recall(real, real[:50])
    assert precision == 1
    assert recall == 0.5
    precision, recall = precision_recall(real, modes(0, 0, seed=1))
    assert precision > 0.8
    assert 0.4 < recall <= 0.5


def test_an_invented_mode_costs_precision_alone():
    precision, recall = precision_recall(modes(0, 0), modes(0, 50, seed=1))
    assert 0.4 < precision <= 0.5
    assert recall > 0.8


def test_the_order_of_the_points_does_not_matter_nor_does_a_turn():
    rng = np.random.default_rng(0)
    real, generated = modes(0, 3), modes(1, 5, seed=1)
    turn = torch.from_numpy(np.linalg.qr(rng.normal(size=(4, 4)))[0]).float()
    found = precision_recall(real, generated)
    assert 0 < found[0] < 1
    assert 0 < found[1] < 1
    assert precision_recall(real.flip(0), generated.roll(7, 0)) == found
    assert precision_recall(5 * real @ turn + 3, 5 * generated @ turn + 3) == pytest.approx(found)


def test_larger_neighbourhoods_hold_more():
    real, generated = modes(0, 3), modes(1, 5, seed=1)
    results = [precision_recall(real, generated, k) for k in (1, 3, 10, 99)]
    assert results == sorted(results)
    assert results[0][0] < results[-1][0]
    assert precision_recall(real, generated) == results[1]


def test_copies_of_a_point_are_neighbours_at_no_distance():
    """With k copies beside it a point has a ball of radius zero, which holds the point."""
    points = torch.tensor([0.1, 0.7, 0.3]).repeat(4, 1) * 1e3
    assert neighbour_distances(points, 3).tolist() == [0] * 4
    assert precision_recall(points, points) == (1, 1)
    assert precision_recall(points, points + 1e-3) == (0, 0)


@pytest.mark.parametrize("block", [1, 7, 50])
def test_blocks_change_nothing(monkeypatch, block):
    real, generated = modes(0, 3), modes(1, 5, seed=1)
    whole = precision_recall(real, generated)
    radii = neighbour_distances(real, 3)
    monkeypatch.setattr(module, "BLOCK", block)
    assert torch.equal(neighbour_distances(real, 3), radii)
    assert precision_recall(real, generated) == whole


def test_memory_is_bounded_by_blocks(monkeypatch):
    """No more rows of distances than a block at a time, whatever the sets' sizes."""
    shapes = []
    cdist = torch.cdist

    def watched(a, b, **options):
        shapes.append((len(a), len(b)))
        return cdist(a, b, **options)

    monkeypatch.setattr(torch, "cdist", watched)
    monkeypatch.setattr(module, "BLOCK", 40)
    precision_recall(modes(0, 3), modes(0, n=90))
    assert max(rows for rows, _ in shapes) == 40
    assert sum(rows for rows, _ in shapes) == 2 * (100 + 90)


GOOD = torch.arange(12.0).reshape(6, 2) ** 2


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (torch.zeros(6), "of shape"),
        (torch.zeros(6, 3), "features cannot be compared with"),
        (torch.full((6, 2), torch.nan), "NaN or infinity"),
        (torch.zeros(3, 2), "too few: each needs 3 neighbours"),
    ],
)
def test_what_cannot_be_measured_is_refused(features, message):
    for pair in ((features, GOOD), (GOOD, features)):
        with pytest.raises(MetricsError, match=message):
            precision_recall(*pair)
    assert precision_recall(GOOD[:4], GOOD)


@pytest.mark.parametrize("k", [0, -1])
def test_k_must_be_positive(k):
    with pytest.raises(MetricsError, match=f"k must be at least 1, not {k}"):
        precision_recall(GOOD, GOOD, k)
