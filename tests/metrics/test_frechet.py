"""The Fréchet distance against closed forms, another library and its own symmetries."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from course_lib.metrics import MetricsError, frechet_distance, frechet_of_gaussians

seeds = st.integers(0, 10**6)


def covariance(rng: np.random.Generator, dim: int) -> np.ndarray:
    """A random covariance whose eigenvalues differ by far."""
    mixing = rng.normal(size=(dim, dim)) * np.geomspace(2, 0.1, dim)
    return mixing @ mixing.T


def cloud(rng: np.random.Generator, n: int, dim: int) -> torch.Tensor:
    """Correlated features, skewed as those of a network, and off the origin."""
    mixing = rng.normal(size=(dim, dim)) * np.geomspace(2, 0.1, dim)
    return torch.from_numpy(rng.exponential(size=(n, dim)) @ mixing + rng.normal(size=dim))


def rotation(rng: np.random.Generator, dim: int) -> torch.Tensor:
    return torch.from_numpy(np.linalg.qr(rng.normal(size=(dim, dim)))[0])


def by_scipy(a: torch.Tensor, b: torch.Tensor) -> float:
    """The formula as it is printed, with a root of the product, which is not symmetric."""
    a, b = a.numpy(), b.numpy()
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(cov_a @ cov_b).real
    return float(
        ((a.mean(0) - b.mean(0)) ** 2).sum()
        + np.trace(cov_a)
        + np.trace(cov_b)
        - 2 * np.trace(root)
    )


@pytest.mark.equation("comparison-frechet")
def test_one_dimension_by_hand():
    """N(1, 4) and N(4, 25): (1 - 4)^2 + (2 - 5)^2 = 18."""

    def one(value: float) -> torch.Tensor:
        return torch.tensor([value]).double()

    assert frechet_of_gaussians(
        one(1.0), one(4.0)[None], one(4.0), one(25.0)[None]
    ) == pytest.approx(18, rel=1e-12)
    # Of points: -1 and 1 have variance 2 with n - 1; 0, 3 and 6 have mean 3, variance 9.
    a, b = torch.tensor([[-1.0], [1.0]]), torch.tensor([[0.0], [3.0], [6.0]])
    assert frechet_distance(a, b) == pytest.approx(9 + (math.sqrt(2) - 3) ** 2, rel=1e-12)


@pytest.mark.equation("comparison-frechet")
@given(seed=seeds, dim=st.integers(1, 6))
def test_commuting_covariances_have_a_closed_form(seed, dim):
    """With common axes it is |mu|^2 and the squared difference of the standard deviations."""
    rng = np.random.default_rng(seed)
    axes = rotation(rng, dim)
    std_a, std_b = (torch.from_numpy(rng.uniform(0.1, 3, dim)) for _ in range(2))
    mean_a, mean_b = (torch.from_numpy(rng.normal(size=dim)) for _ in range(2))
    found = frechet_of_gaussians(
        mean_a, axes * std_a.square() @ axes.T, mean_b, axes * std_b.square() @ axes.T
    )
    expected = (mean_a - mean_b).square().sum() + (std_a - std_b).square().sum()
    assert found == pytest.approx(float(expected), rel=1e-9)


@pytest.mark.equation("comparison-frechet")
@given(seed=seeds)
def test_two_dimensions_have_a_closed_form(seed):
    """The root of a 2 x 2 product has the trace sqrt(tr(AB) + 2 sqrt(det(AB)))."""
    rng = np.random.default_rng(seed)
    a, b = covariance(rng, 2), covariance(rng, 2)
    assert not np.allclose(a @ b, b @ a)
    trace = math.sqrt(np.trace(a @ b) + 2 * math.sqrt(np.linalg.det(a) * np.linalg.det(b)))
    zero = torch.zeros(2).double()
    found = frechet_of_gaussians(zero, torch.from_numpy(a), zero, torch.from_numpy(b))
    assert found == pytest.approx(np.trace(a) + np.trace(b) - 2 * trace, rel=1e-9, abs=1e-9)


@pytest.mark.equation("comparison-frechet")
@given(seed=seeds, dim=st.integers(2, 8))
def test_features_against_scipy(seed, dim):
    rng = np.random.default_rng(seed)
    a, b = cloud(rng, 30, dim), cloud(rng, 40, dim)
    expected = by_scipy(a, b)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-7, abs=1e-7)


@given(seed=seeds, dim=st.integers(1, 6))
def test_it_does_not_matter_which_set_comes_first(seed, dim):
    rng = np.random.default_rng(seed)
    a, b = cloud(rng, 20, dim), cloud(rng, 35, dim)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-9)


@given(seed=seeds, dim=st.integers(1, 6))
def test_a_set_is_at_no_distance_from_itself_in_any_order(seed, dim):
    rng = np.random.default_rng(seed)
    a = cloud(rng, 25, dim)
    assert frechet_distance(a, a) <= 1e-12
    assert 0 <= frechet_distance(a, a[torch.from_numpy(rng.permutation(25))]) <= 1e-12


@given(seed=seeds, dim=st.integers(1, 6))
def test_a_shift_adds_its_squared_length(seed, dim):
    rng = np.random.default_rng(seed)
    a, shift = cloud(rng, 20, dim), torch.from_numpy(rng.normal(size=dim))
    assert frechet_distance(a, a + shift) == pytest.approx(float(shift.square().sum()), abs=1e-9)


@given(seed=seeds, dim=st.integers(1, 6), factor=st.floats(0.1, 10))
def test_it_is_a_squared_length(seed, dim, factor):
    """Features in other units: the distance grows with the square of the unit."""
    rng = np.random.default_rng(seed)
    a, b = cloud(rng, 20, dim), cloud(rng, 25, dim)
    assert frechet_distance(factor * a, factor * b) == pytest.approx(
        factor**2 * frechet_distance(a, b), rel=1e-8
    )


@given(seed=seeds, dim=st.integers(2, 6))
def test_turning_both_sets_changes_nothing(seed, dim):
    rng = np.random.default_rng(seed)
    a, b, turn = cloud(rng, 20, dim), cloud(rng, 30, dim), rotation(rng, dim)
    assert frechet_distance(a @ turn, b @ turn) == pytest.approx(frechet_distance(a, b), rel=1e-8)
    assert frechet_distance(a, b @ turn) != pytest.approx(frechet_distance(a, b), rel=1e-3)


def test_a_feature_that_never_varies_does_no_harm():
    """Covariances without full rank: the dead feature counts by its mean alone."""
    rng = np.random.default_rng(0)
    a, b = cloud(rng, 20, 3), cloud(rng, 25, 3)
    with_dead = [F.pad(a, (0, 1), value=1.0), F.pad(b, (0, 1), value=3.0)]
    assert frechet_distance(*with_dead) == pytest.approx(frechet_distance(a, b) + 4, rel=1e-9)


def test_single_precision_features_far_from_the_origin_lose_nothing():
    """1,000 apart from zero, single precision would lose the covariance."""
    rng = np.random.default_rng(1)
    a, b = (cloud(rng, 400, 4).float() + 1000 for _ in range(2))
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(a.double(), b.double()))
    assert frechet_distance(a, b) == pytest.approx(by_scipy(a.double(), b.double()), rel=1e-6)
    inference = torch.inference_mode()(lambda: a.clone())()
    assert frechet_distance(inference, b) == frechet_distance(a, b)


def test_few_samples_are_farther_apart_than_many():
    """The bias that the docstring warns of, in 16 dimensions: it falls about as 1 / n."""
    generator = torch.Generator().manual_seed(0)

    def apart(n: int) -> float:
        pairs = torch.randn(10, 2, n, 16, generator=generator)
        return float(np.mean([frechet_distance(a, b) for a, b in pairs]))

    few, many = apart(100), apart(1000)
    assert few == pytest.approx(10 * many, rel=0.2)


GOOD = torch.arange(12.0).reshape(6, 2) ** 2


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (torch.zeros(6), r"of shape \(samples, features\), but these are torch.float32 of"),
        (torch.zeros(6, 2, 1), r"of shape \(6, 2, 1\)"),
        (torch.zeros(6, 2).long(), "floating-point"),
        (torch.zeros(6, 3), "features cannot be compared with"),
        (torch.full((6, 2), torch.nan), "NaN or infinity"),
        (torch.tensor([[0.0, 1.0]] * 5 + [[torch.inf, 0.0]]), "NaN or infinity"),
        (torch.zeros(2, 2), "2 samples are too few for a covariance of 2 features; at least 3"),
        (torch.zeros(0, 2), "0 samples are too few"),
    ],
)
def test_what_cannot_be_measured_is_refused(features, message):
    for pair in ((features, GOOD), (GOOD, features)):
        with pytest.raises(MetricsError, match=message):
            frechet_distance(*pair)
    assert frechet_distance(GOOD[:3], GOOD) >= 0
