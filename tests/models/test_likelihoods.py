"""The three likelihoods against torch.distributions, scipy, quadrature and counting."""

import itertools
import math

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from course_lib.models.likelihoods import (
    LEVELS,
    Bernoulli,
    DiscretizedLogistic,
    Gaussian,
    sum_over_pixels,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pixels(values) -> torch.Tensor:
    """Each value as an image of a single pixel: (N, 1, 1, 1), float64."""
    return torch.as_tensor(values, dtype=torch.float64).reshape(-1, 1, 1, 1)


def pair(seed: int, n: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Images on the 256 levels, black and white among them, and unbounded outputs."""
    generator = seeded(seed)
    levels = torch.randint(0, LEVELS, (n, 1, 3, 5), generator=generator)
    levels[:, :, 0, :2] = torch.tensor([0, LEVELS - 1])
    outputs = 2 * torch.randn(n, 1, 3, 5, generator=generator, dtype=torch.float64)
    return levels.double() / (LEVELS - 1), outputs


def grey_levels() -> torch.Tensor:
    return pixels(np.arange(LEVELS) / (LEVELS - 1))


def test_sum_over_pixels_keeps_the_batch():
    values = torch.arange(24.0).reshape(2, 1, 3, 4)
    assert sum_over_pixels(values).tolist() == [sum(range(12)), sum(range(12, 24))]


# Bernoulli


@pytest.mark.equation("vae-bernoulli")
def test_bernoulli_against_torch_distributions():
    images, logits = pair(0)
    binary = images.round()
    expected = torch.distributions.Bernoulli(logits=logits).log_prob(binary).sum((1, 2, 3))
    assert torch.allclose(Bernoulli(logits).log_prob(binary), expected)
    assert Bernoulli(logits).log_prob(images).shape == (4,)
    assert torch.allclose(Bernoulli(logits).mean, 1 / (1 + torch.exp(-logits)))


@pytest.mark.equation("vae-bernoulli")
def test_bernoulli_on_grey_values_is_the_cross_entropy():
    images, logits = pair(1)
    p = scipy.special.expit(logits.numpy())
    x = images.numpy()
    expected = (x * np.log(p) + (1 - x) * np.log1p(-p)).sum((1, 2, 3))
    assert np.allclose(Bernoulli(logits).log_prob(images).numpy(), expected)


@pytest.mark.equation("vae-bernoulli")
@given(st.lists(st.floats(-20, 20), min_size=4, max_size=4))
def test_bernoulli_sums_to_one_over_black_and_white_images(logits):
    corners = torch.tensor(list(itertools.product([0.0, 1.0], repeat=4)), dtype=torch.float64)
    images = corners.reshape(16, 1, 2, 2)
    output = torch.tensor(logits, dtype=torch.float64).reshape(1, 1, 2, 2).expand(16, 1, 2, 2)
    total = Bernoulli(output).log_prob(images).exp().sum()
    assert total.item() == pytest.approx(1)


@pytest.mark.equation("vae-bernoulli")
@given(st.floats(-8, 8))
def test_bernoulli_is_no_density_on_grey_values(logit):
    """Its integral over [0, 1] is the inverse of the continuous Bernoulli's constant."""
    likelihood = Bernoulli(pixels([logit]))
    integral, _ = scipy.integrate.quad(
        lambda x: likelihood.log_prob(pixels([x])).exp().item(), 0, 1
    )
    continuous = torch.distributions.ContinuousBernoulli(logits=pixels([logit]))
    x = pixels([0.3])
    log_constant = continuous.log_prob(x) - torch.distributions.Bernoulli(
        logits=pixels([logit]), validate_args=False
    ).log_prob(x)
    assert integral == pytest.approx(math.exp(-log_constant.item()), rel=1e-5)
    assert integral < 0.51


@pytest.mark.equation("vae-bernoulli")
@pytest.mark.parametrize(
    ("low", "high"), [(-0.01, 1.0), (0.0, 1.01), (-1.0, 1.0), (0.0, 255.0), (math.nan, 1.0)]
)
def test_bernoulli_refuses_images_outside_zero_and_one(low, high):
    images = pixels([low, high])
    with pytest.raises(ValueError, match=r"needs images in \[0, 1\]") as caught:
        Bernoulli(torch.zeros_like(images)).log_prob(images)
    if not math.isnan(low):
        assert f"from {low:.3g} to {high:.3g}" in str(caught.value)


# Gaussian


@pytest.mark.equation("vae-gaussian")
@pytest.mark.parametrize("log_std", [-3.0, 0.0, 1.5])
def test_gaussian_against_scipy(log_std):
    images, mean = pair(2)
    likelihood = Gaussian(mean, torch.tensor(log_std, dtype=torch.float64))
    expected = scipy.stats.norm.logpdf(images, mean, math.exp(log_std)).sum((1, 2, 3))
    assert np.allclose(likelihood.log_prob(images).numpy(), expected)


@pytest.mark.equation("vae-gaussian")
@given(mean=st.floats(0, 1), log_std=st.floats(-4, 2))
def test_gaussian_integrates_to_one_over_the_line(mean, log_std):
    likelihood = Gaussian(pixels([mean]), torch.tensor(log_std, dtype=torch.float64))
    reach = 12 * math.exp(log_std)
    integral, _ = scipy.integrate.quad(
        lambda x: likelihood.log_prob(pixels([x])).exp().item(), mean - reach, mean + reach
    )
    assert integral == pytest.approx(1, abs=1e-6)


@pytest.mark.equation("vae-gaussian")
def test_best_standard_deviation_is_the_root_mean_square_error():
    images, mean = pair(3)
    log_std = (images - mean).square().mean().sqrt().log().requires_grad_()
    Gaussian(mean, log_std).log_prob(images).mean().backward()
    assert log_std.grad.abs() < 1e-10


# Discretised logistic


def mass_by_scipy(levels: np.ndarray, mean: float, scale: float) -> np.ndarray:
    """Probability of each bin by differences of the distribution function.

    Above the mean both ends are reflected, so that no difference of numbers near 1 is
    taken.
    """
    edges = (np.arange(LEVELS + 1) - 0.5) / (LEVELS - 1)
    edges[0], edges[-1] = -np.inf, np.inf
    lower, upper = (edges[levels] - mean) / scale, (edges[levels + 1] - mean) / scale
    cdf, survival = scipy.stats.logistic.cdf, scipy.stats.logistic.sf
    return np.where(lower > 0, survival(lower) - survival(upper), cdf(upper) - cdf(lower))


@pytest.mark.equation("vae-logistic")
@given(mean=st.floats(0, 1), log_scale=st.floats(-5, 2))
def test_logistic_against_scipy(mean, log_scale):
    likelihood = DiscretizedLogistic(pixels([mean]), pixels([log_scale]))
    expected = np.log(mass_by_scipy(np.arange(LEVELS), mean, math.exp(log_scale)))
    assert np.allclose(likelihood.log_prob(grey_levels()).numpy(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.equation("vae-logistic")
@given(
    mean=st.floats(-0.5, 1.5),
    log_scale=st.floats(-20, 20),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_logistic_sums_to_one_over_the_256_levels(mean, log_scale, dtype):
    likelihood = DiscretizedLogistic(pixels([mean]).to(dtype), pixels([log_scale]).to(dtype))
    total = likelihood.log_prob(grey_levels().to(dtype)).exp().sum().item()
    # With scales far below a grey level, rounding of (x - mean) / scale moves mass about.
    assert total == pytest.approx(1, abs=2e-3 if dtype == torch.float32 else 1e-6)


@pytest.mark.equation("vae-logistic")
@given(mean=st.floats(0, 1), log_scale=st.floats(-20, 20))
def test_logistic_and_its_gradients_are_finite(mean, log_scale):
    """In single precision, at every level, for scales from far below a bin to far above one."""
    images = grey_levels().float()
    means = torch.full_like(images, mean, requires_grad=True)
    log_scales = torch.full_like(images, log_scale, requires_grad=True)
    log_prob = DiscretizedLogistic(means, log_scales).log_prob(images)
    log_prob.sum().backward()
    assert log_prob.isfinite().all()
    assert (log_prob <= 1e-6).all()
    assert means.grad.isfinite().all()
    assert log_scales.grad.isfinite().all()


@pytest.mark.equation("vae-logistic")
def test_logistic_gradients_against_finite_differences():
    images, outputs = pair(4)
    means = torch.sigmoid(outputs).requires_grad_()
    log_scales = (outputs.flip(0) - 3).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda m, s: DiscretizedLogistic(m, s).log_prob(images), (means, log_scales)
    )


@pytest.mark.equation("vae-logistic")
def test_logistic_gives_black_and_white_the_tails():
    """A mean far outside puts all mass on the nearest level, none on the other end."""
    low = DiscretizedLogistic(pixels([-3.0]), pixels([-4.0])).log_prob(grey_levels()).exp()
    high = DiscretizedLogistic(pixels([4.0]), pixels([-4.0])).log_prob(grey_levels()).exp()
    assert low[0].item() == pytest.approx(1)
    assert high[-1].item() == pytest.approx(1)


@pytest.mark.parametrize("kind", ["bernoulli", "gaussian", "logistic"])
def test_log_prob_of_an_image_is_the_sum_over_its_pixels(kind):
    images, outputs = pair(5)

    def likelihood(values):
        if kind == "bernoulli":
            return Bernoulli(values)
        if kind == "gaussian":
            return Gaussian(values, torch.tensor(-1.0, dtype=torch.float64))
        return DiscretizedLogistic(torch.sigmoid(values), values - 3)

    whole = likelihood(outputs).log_prob(images)
    one_by_one = likelihood(outputs.reshape(-1, 1, 1, 1)).log_prob(images.reshape(-1, 1, 1, 1))
    assert whole.shape == (4,)
    assert torch.allclose(whole, one_by_one.reshape(4, -1).sum(1))
