"""The VAE's equations, each against an independent computation.

Two models whose log p(x) is known serve as judges: a linear-Gaussian one, where p(x) is a
normal distribution, and a tiny convolutional one with two latents, where the integral over
the latents is done by Gauss-Hermite quadrature.
"""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Independent, MultivariateNormal, Normal
from torch.distributions import kl_divergence as reference_kl

from course_lib.models import VAE, VAEConfig
from course_lib.models import vae as module
from course_lib.models.likelihoods import Bernoulli, DiscretizedLogistic, Gaussian
from course_lib.models.vae import (
    LIKELIHOODS,
    gaussian_log_density,
    kl_divergence,
    reparameterize,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(mean: torch.Tensor, log_variance: torch.Tensor) -> Independent:
    return Independent(Normal(mean, torch.exp(log_variance / 2)), 1)


def tensor(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def some_images(n: int = 3, *, seed: int = 0) -> torch.Tensor:
    """Images on the 256 levels, with blocks of pure black and white."""
    levels = torch.randint(0, 256, (n, 1, 28, 28), generator=seeded(seed))
    levels[:, :, :5], levels[:, :, -5:] = 0, 255
    return levels.double() / 255


gaussians = st.integers(1, 4).flatmap(
    lambda dim: st.tuples(
        st.lists(st.floats(-4, 4), min_size=dim, max_size=dim),
        st.lists(st.floats(-6, 3), min_size=dim, max_size=dim),
    )
)


# Reparameterisation


@pytest.mark.equation("vae-reparameterize")
def test_samples_have_the_wanted_distribution():
    """Each coordinate by a Kolmogorov-Smirnov test at fixed seed; coordinates uncorrelated."""
    mean, log_variance = tensor([0.7, -2.0, 0.0]), tensor([-3.0, 1.2, 0.0])
    n = 20_000
    z = reparameterize(mean.expand(n, 3), log_variance.expand(n, 3), generator=seeded(1))
    for column in range(3):
        expected = scipy.stats.norm(mean[column], math.exp(log_variance[column] / 2))
        assert scipy.stats.kstest(z[:, column].numpy(), expected.cdf).pvalue > 0.01
    assert (torch.corrcoef(z.T) - torch.eye(3)).abs().max() < 4 / n**0.5


@pytest.mark.equation("vae-reparameterize")
def test_sample_is_mean_plus_std_times_the_generators_noise():
    mean, log_variance = tensor([[1.0, 2.0], [3.0, 4.0]]), tensor([[0.0, 2.0], [-2.0, 4.0]])
    epsilon = torch.randn(2, 2, generator=seeded(9), dtype=torch.float64)
    z = reparameterize(mean, log_variance, generator=seeded(9))
    std = tensor([[1.0, math.e], [1 / math.e, math.e**2]])
    assert torch.allclose(z, mean + std * epsilon)


@pytest.mark.equation("vae-reparameterize")
def test_gradient_of_an_expectation_against_common_random_numbers():
    """d E[f(z)] by backward, by differences with the same noise, and in closed form.

    For f(z) = sin z the expectation is sin(mean) exp(-variance / 2).
    """
    mean, log_variance, n = 0.4, -0.8, 200_000

    def expectation(m, v):
        z = reparameterize(m.expand(n, 1), v.expand(n, 1), generator=seeded(2))
        return z.sin().mean()

    m, v = tensor(mean).requires_grad_(), tensor(log_variance).requires_grad_()
    by_backward = torch.autograd.grad(expectation(m, v), (m, v))
    h = tensor(1e-4)
    with torch.no_grad():
        by_difference = (
            (expectation(m + h, v) - expectation(m - h, v)) / (2 * h),
            (expectation(m, v + h) - expectation(m, v - h)) / (2 * h),
        )
    variance = math.exp(log_variance)
    exact = (
        math.cos(mean) * math.exp(-variance / 2),
        -math.sin(mean) * math.exp(-variance / 2) * variance / 2,
    )
    for ours, difference, closed_form in zip(by_backward, by_difference, exact, strict=True):
        assert ours.item() == pytest.approx(difference.item(), rel=1e-6)
        assert ours.item() == pytest.approx(closed_form, abs=5 / n**0.5)


@pytest.mark.equation("vae-reparameterize")
def test_gradients_reach_mean_and_log_variance():
    mean, log_variance = tensor([[0.1, -1.0]]), tensor([[0.5, -2.0]])
    assert torch.autograd.gradcheck(
        lambda m, v: reparameterize(m, v, generator=seeded(3)),
        (mean.requires_grad_(), log_variance.requires_grad_()),
    )


# The Kullback-Leibler divergence


@pytest.mark.equation("vae-kl")
@given(gaussians)
def test_kl_against_torch_distributions(parameters):
    mean, log_variance = (tensor([values]) for values in parameters)
    prior = normal(torch.zeros_like(mean), torch.zeros_like(mean))
    expected = reference_kl(normal(mean, log_variance), prior)
    actual = kl_divergence(mean, log_variance)
    assert actual.shape == (1,)
    assert actual.item() == pytest.approx(expected.item(), rel=1e-9, abs=1e-12)
    assert actual.item() >= -1e-12


@pytest.mark.equation("vae-kl")
def test_kl_against_monte_carlo():
    """E_q[log q(z) - log p(z)] by 200,000 samples; five standard errors are allowed."""
    mean, log_variance = tensor([[0.8, -0.3, 1.5]]), tensor([[-1.0, 0.6, -2.5]])
    rng = np.random.default_rng(0)
    std = np.exp(log_variance.numpy() / 2)
    z = mean.numpy() + std * rng.standard_normal((200_000, 3))
    log_ratio = (
        scipy.stats.norm.logpdf(z, mean, std) - scipy.stats.norm.logpdf(z)
    ).sum(1)
    error = log_ratio.std() / len(z) ** 0.5
    assert kl_divergence(mean, log_variance).item() == pytest.approx(
        log_ratio.mean(), abs=5 * error
    )


@pytest.mark.equation("vae-kl")
def test_kl_sums_over_latents_and_keeps_the_batch():
    assert kl_divergence(torch.zeros(3, 4), torch.zeros(3, 4)).tolist() == [0, 0, 0]
    one = kl_divergence(tensor([[2.0]]), tensor([[0.5]]))
    four = kl_divergence(tensor([[2.0] * 4] * 3), tensor([[0.5] * 4] * 3))
    assert torch.allclose(four, 4 * one.expand(3))


@given(gaussians, st.integers(0, 100))
def test_gaussian_log_density_against_torch_distributions(parameters, seed):
    mean, log_variance = map(tensor, parameters)
    z = mean + torch.randn(5, len(mean), generator=seeded(seed), dtype=torch.float64)
    expected = normal(mean, log_variance).log_prob(z)
    assert torch.allclose(gaussian_log_density(z, mean, log_variance), expected)


# A linear-Gaussian model: x = W z + b + sigma * noise, the columns of W orthogonal, so that
# the exact posterior has a diagonal covariance. Images are 2 x 3 pixels, latents 2.


class LinearGaussian(VAE):
    """A VAE whose decoder is linear and whose encoder is the exact posterior, or off it.

    ``shift`` is added to the posterior's mean, ``log_factor`` to its log variance.
    """

    def __init__(self, *, shift=(0.0, 0.0), log_factor=(0.0, 0.0), beta: float = 1.0):
        super().__init__(
            VAEConfig(latent_dim=2, channels=(1, 1, 1), likelihood="gaussian", beta=beta)
        )
        rng = np.random.default_rng(4)
        orthonormal = np.linalg.qr(rng.normal(size=(6, 2)))[0]
        self.weight = tensor(orthonormal * [1.3, 0.6])
        self.bias, self.log_std = tensor(rng.uniform(size=6)), None
        self.sigma = 0.4
        self.shift, self.log_factor = tensor(shift), tensor(log_factor)

    def posterior(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """By the textbook: precision I + W^T W / sigma^2, diagonal here."""
        precision = torch.eye(2).double() + self.weight.T @ self.weight / self.sigma**2
        assert torch.allclose(precision, precision.diag().diag(), atol=1e-9)
        variance = 1 / precision.diag()
        mean = variance * ((images.flatten(1) - self.bias) @ self.weight / self.sigma**2)
        return mean, variance.log().expand_as(mean)

    def encode(self, images):
        mean, log_variance = self.posterior(images)
        return mean + self.shift, log_variance + self.log_factor

    def decode(self, z):
        mean = (z @ self.weight.T + self.bias).reshape(-1, 1, 2, 3)
        return Gaussian(mean, tensor(math.log(self.sigma)))

    def exact(self, images: torch.Tensor) -> torch.Tensor:
        """log p(x), which is normal with mean b and covariance W W^T + sigma^2 I."""
        covariance = self.weight @ self.weight.T + self.sigma**2 * torch.eye(6).double()
        return MultivariateNormal(self.bias, covariance).log_prob(images.flatten(1))

    def gap(self, images: torch.Tensor) -> torch.Tensor:
        """KL from the encoder's distribution to the exact posterior."""
        return reference_kl(normal(*self.encode(images)), normal(*self.posterior(images)))


def linear_images() -> torch.Tensor:
    return torch.randn(3, 1, 2, 3, generator=seeded(5), dtype=torch.float64)


OFF = {"shift": (0.3, -0.5), "log_factor": (0.7, -1.1)}


@pytest.fixture
def sigma_points(monkeypatch):
    """Replace the noise by four points whose mean is exact for quadratic functions.

    log p(x | z) of a linear-Gaussian model is one, so expectations over q come out exactly
    for a batch that holds every image four times in a row.
    """
    points = math.sqrt(2) * tensor([[1, 0], [-1, 0], [0, 1], [0, -1]])

    def noise(n, dim, *, like, generator):
        assert n % 4 == 0
        return points.repeat(n // 4, 1)

    monkeypatch.setattr(module, "standard_normal", noise)


def four_of_each(images: torch.Tensor) -> torch.Tensor:
    return images.repeat_interleave(4, 0)


@pytest.mark.equation("vae-elbo")
def test_bound_with_the_exact_posterior_is_the_log_likelihood(sigma_points):
    model, images = LinearGaussian(), linear_images()
    log_likelihood, kl = model.elbo(four_of_each(images))
    bound = (log_likelihood - kl).reshape(-1, 4).mean(1)
    assert torch.allclose(bound, model.exact(images), atol=1e-10)


@pytest.mark.equation("vae-elbo")
@given(
    shift=st.tuples(st.floats(-2, 2), st.floats(-2, 2)),
    log_factor=st.tuples(st.floats(-3, 2), st.floats(-3, 2)),
)
def test_bound_is_below_the_log_likelihood_by_the_divergence_to_the_posterior(
    shift, log_factor
):
    model, images = LinearGaussian(shift=shift, log_factor=log_factor), linear_images()
    with pytest.MonkeyPatch.context() as patch:
        sigma_points.__wrapped__(patch) if hasattr(sigma_points, "__wrapped__") else None
        points = math.sqrt(2) * tensor([[1, 0], [-1, 0], [0, 1], [0, -1]])
        patch.setattr(
            module, "standard_normal", lambda n, dim, **_: points.repeat(n // 4, 1)
        )
        log_likelihood, kl = model.elbo(four_of_each(images))
    bound = (log_likelihood - kl).reshape(-1, 4).mean(1)
    gap = model.gap(images)
    assert torch.allclose(bound, model.exact(images) - gap, atol=1e-8)
    assert (gap >= 0).all()
