"""The VAE's equations, each against an independent computation.

Two models whose log p(x) is known serve as judges: a linear-Gaussian one, where p(x) is a
normal distribution, and a tiny convolutional one with two latents, where the integral over
the latents is done by Gauss-Hermite quadrature.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager

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
    log_ratio = (scipy.stats.norm.logpdf(z, mean, std) - scipy.stats.norm.logpdf(z)).sum(1)
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


@contextmanager
def exact_expectations() -> Iterator[None]:
    """Replace the noise by four points that average quadratic functions exactly.

    log p(x | z) of a linear-Gaussian model is quadratic in z, so the mean over the four
    copies that :func:`four_of_each` makes of an image is the expectation itself.
    """
    points = math.sqrt(2) * tensor([[1, 0], [-1, 0], [0, 1], [0, -1]])

    def noise(n, dim, *, like, generator):
        return points.repeat(n // 4, 1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "standard_normal", noise)
        yield


def four_of_each(images: torch.Tensor) -> torch.Tensor:
    return images.repeat_interleave(4, 0)


def exact_bound(model: LinearGaussian, images: torch.Tensor) -> torch.Tensor:
    """The ELBO of each image, without sampling error."""
    with exact_expectations():
        log_likelihood, kl = model.elbo(four_of_each(images))
    return (log_likelihood - kl).reshape(-1, 4).mean(1)


@pytest.mark.equation("vae-elbo")
def test_bound_with_the_exact_posterior_is_the_log_likelihood():
    model, images = LinearGaussian(), linear_images()
    assert torch.allclose(exact_bound(model, images), model.exact(images), atol=1e-10)


@pytest.mark.equation("vae-elbo")
@given(
    shift=st.tuples(st.floats(-2, 2), st.floats(-2, 2)),
    log_factor=st.tuples(st.floats(-3, 2), st.floats(-3, 2)),
)
def test_bound_is_lower_by_exactly_the_divergence_to_the_posterior(shift, log_factor):
    model, images = LinearGaussian(shift=shift, log_factor=log_factor), linear_images()
    gap = model.gap(images)
    assert torch.allclose(exact_bound(model, images), model.exact(images) - gap, atol=1e-8)
    assert (gap >= 0).all()


@pytest.mark.equation("vae-elbo")
def test_sampled_bound_is_unbiased():
    """One sample an image, 50,000 times; five standard errors are allowed."""
    model, images = LinearGaussian(**OFF), linear_images()
    n = 50_000
    log_likelihood, kl = model.elbo(images.repeat_interleave(n, 0), generator=seeded(6))
    bounds = (log_likelihood - kl).reshape(3, n)
    expected = model.exact(images) - model.gap(images)
    assert ((bounds.mean(1) - expected).abs() < 5 * bounds.std(1) / n**0.5).all()


@pytest.mark.equation("vae-iwae")
@pytest.mark.parametrize("samples", [1, 2, 7])
def test_importance_weights_of_the_exact_posterior_have_no_variance(samples):
    """p(x, z) / q(z | x) is p(x) for every z, whatever the number of samples."""
    model, images = LinearGaussian(), linear_images()
    estimate = model.log_likelihood(images, samples=samples, generator=seeded(1))
    assert estimate.shape == (3,)
    assert torch.allclose(estimate, model.exact(images), atol=1e-9)


@pytest.mark.equation("vae-iwae")
def test_importance_weighted_bound_rises_to_the_log_likelihood():
    """For one image; the mean over many repetitions, with its standard error.

    The encoder's distribution is wider than the posterior, so that the weights have a
    finite variance and the bound converges as 1/samples.
    """
    model = LinearGaussian(shift=(0.3, -0.5), log_factor=(0.9, 0.4))
    image = linear_images()[:1]
    exact, elbo = model.exact(image).item(), (model.exact(image) - model.gap(image)).item()
    means, errors = [], []
    for samples, repeats in (
        (1, 40_000),
        (4, 20_000),
        (16, 20_000),
        (64, 10_000),
        (400, 3_000),
    ):
        bounds = model.log_likelihood(
            image.expand(repeats, 1, 2, 3), samples=samples, generator=seeded(samples)
        )
        means.append(bounds.mean().item())
        errors.append(bounds.std().item() / repeats**0.5)
    assert means[0] == pytest.approx(elbo, abs=5 * errors[0])
    for (lower, higher), (e, f) in zip(
        itertools.pairwise(means), itertools.pairwise(errors), strict=True
    ):
        assert higher - lower > 3 * math.hypot(e, f)
    assert exact - means[-1] < 0.02 * (exact - elbo)
    assert means[-1] < exact + 3 * errors[-1]


@pytest.mark.equation("vae-iwae")
def test_importance_weighted_bound_by_hand():
    """log (1/K) sum p(x | z_k) p(z_k) / q(z_k | x), multiplied out as plain numbers."""
    model, images = LinearGaussian(**OFF), linear_images()
    generator, mean_and_log_variance = seeded(8), model.encode(images)
    q = normal(*mean_and_log_variance)
    std = torch.exp(mean_and_log_variance[1] / 2)
    weights = []
    for _ in range(5):
        epsilon = torch.randn(3, 2, generator=generator, dtype=torch.float64)
        z = mean_and_log_variance[0] + std * epsilon
        prior = np.prod(scipy.stats.norm.pdf(z), axis=1)
        fit = z @ model.weight.T + model.bias
        likelihood = np.prod(scipy.stats.norm.pdf(images.flatten(1), fit, 0.4), axis=1)
        weights.append(likelihood * prior / q.log_prob(z).exp().numpy())
    expected = np.log(np.mean(weights, axis=0))
    actual = model.log_likelihood(images, samples=5, generator=seeded(8))
    assert np.allclose(actual.numpy(), expected)


# A tiny convolutional model with two latents: the integral over them by quadrature.


def log_p_by_quadrature(model: VAE, images: torch.Tensor, nodes: int = 32) -> torch.Tensor:
    """log of the integral of N(z; 0, I) p(x | z) over the plane, by Gauss and Hermite."""
    x, w = np.polynomial.hermite_e.hermegauss(nodes)
    w = w / w.sum()
    z = tensor(list(itertools.product(x, x)))
    log_weights = torch.log(tensor([a * b for a, b in itertools.product(w, w)]))
    values = []
    for image in images:
        log_prob = model.decode(z).log_prob(image.expand(len(z), 1, 28, 28))
        values.append(torch.logsumexp(log_prob + log_weights, 0))
    return torch.stack(values)


@pytest.mark.equation("vae-elbo")
@pytest.mark.equation("vae-iwae")
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_bounds_against_the_integral_over_the_latents(tiny_vae, likelihood):
    """The ELBO is below log p(x), and importance sampling comes close to it."""
    model, images = tiny_vae(likelihood), some_images(2)
    exact = log_p_by_quadrature(model, images)
    assert torch.allclose(exact, log_p_by_quadrature(model, images, 38), atol=1e-4)

    n = 800
    log_likelihood, kl = model.elbo(images.repeat_interleave(n, 0), generator=seeded(1))
    bounds = (log_likelihood - kl).reshape(2, n)
    margin = 3 * bounds.std(1) / n**0.5
    weighted = model.log_likelihood(images, samples=1500, generator=seeded(2))
    assert (bounds.mean(1) + margin < exact).all()
    assert (bounds.mean(1) + margin < weighted).all()
    assert torch.allclose(weighted, exact, atol=0.05)


@pytest.mark.equation("vae-elbo")
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_terms_of_the_bound_by_hand(tiny_vae, likelihood):
    model, images = tiny_vae(likelihood), some_images()
    mean, log_variance = model.encoder(2 * images - 1).split(2, dim=1)
    epsilon = torch.randn(3, 2, generator=seeded(4), dtype=torch.float64)
    z = mean + log_variance.exp().sqrt() * epsilon
    log_likelihood, kl = model.elbo(images, generator=seeded(4))
    prior = normal(torch.zeros(3, 2).double(), torch.zeros(3, 2).double())
    assert torch.allclose(kl, reference_kl(normal(mean, log_variance), prior))

    output = model.decoder(z)
    if likelihood == "bernoulli":
        p = torch.sigmoid(output)
        expected = images * p.log() + (1 - images) * (1 - p).log()
    elif likelihood == "gaussian":
        expected = Normal(torch.sigmoid(output), math.exp(-1)).log_prob(images)
    else:
        centre, scale = torch.sigmoid(output[:, :1]), output[:, 1:].exp()
        upper = scipy.stats.logistic.cdf(images + 1 / 510, centre, scale)
        lower = scipy.stats.logistic.cdf(images - 1 / 510, centre, scale)
        upper[images == 1], lower[images == 0] = 1, 0
        expected = torch.from_numpy(np.log(upper - lower))
    assert torch.allclose(log_likelihood, expected.sum((1, 2, 3)))


# The loss


@pytest.mark.equation("vae-loss")
@pytest.mark.parametrize("beta", [0.0, 1.0, 4.0])
def test_loss_by_hand(tiny_vae, beta):
    """Sums over pixels and latents, mean over the batch, beta on the divergence alone."""
    model, images = tiny_vae(beta=beta), some_images()
    mean, log_variance = model.encode(images)
    epsilon = torch.randn(3, 2, generator=seeded(4), dtype=torch.float64)
    logits = model.decoder(mean + (log_variance / 2).exp() * epsilon)
    total_log_likelihood = total_kl = 0.0
    for n in range(3):
        p, x = torch.sigmoid(logits[n]).numpy(), images[n].numpy()
        total_log_likelihood += (x * np.log(p) + (1 - x) * np.log(1 - p)).sum()
        for m, v in zip(mean[n].tolist(), log_variance[n].tolist(), strict=True):
            total_kl += (m * m + math.exp(v) - v - 1) / 2
    loss, logs = model.loss(images, generator=seeded(4))
    assert loss.item() == pytest.approx((beta * total_kl - total_log_likelihood) / 3)
    assert logs["kl"].item() == pytest.approx(total_kl / 3)
    assert logs["log_likelihood"].item() == pytest.approx(total_log_likelihood / 3)


@pytest.mark.equation("vae-loss")
def test_loss_of_a_doubled_batch_is_the_loss_of_the_batch(tiny_vae, monkeypatch):
    """With the same noise for both halves."""
    model, images = tiny_vae(), some_images()
    epsilon = torch.randn(3, 2, generator=seeded(5), dtype=torch.float64)
    monkeypatch.setattr(module, "standard_normal", lambda n, dim, **_: epsilon.repeat(n // 3, 1))
    once = model.loss(images)[0].item()
    assert model.loss(images.repeat(2, 1, 1, 1))[0].item() == pytest.approx(once, rel=1e-12)
    assert model.loss(images.repeat(5, 1, 1, 1))[0].item() == pytest.approx(once, rel=1e-12)


@pytest.mark.equation("vae-loss")
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_gradients_of_the_loss_against_finite_differences(tiny_vae, likelihood):
    """Through likelihood, noise and divergence, with common random numbers."""
    model, images = tiny_vae(likelihood, beta=3.0).requires_grad_(), some_images(2)
    parameters = [model.encoder[-1].bias, model.decoder[-1].bias]
    if likelihood == "gaussian":
        parameters.append(model.log_std)
    model.loss(images, generator=seeded(1))[0].backward()
    for parameter in parameters:
        for index in range(parameter.numel()):
            values = []
            for sign in (1, -1):
                with torch.no_grad():
                    parameter.view(-1)[index] += sign * 1e-5
                    values.append(model.loss(images, generator=seeded(1))[0].item())
                    parameter.view(-1)[index] -= sign * 1e-5
            slope = (values[0] - values[1]) / 2e-5
            assert parameter.grad.view(-1)[index].item() == pytest.approx(slope, rel=1e-4, abs=1e-5)


# Bits per dimension


@pytest.mark.equation("vae-bits")
def test_uniform_grey_levels_cost_eight_bits(tiny_vae):
    model = tiny_vae("discretized-logistic")
    uniform = tensor([784 * math.log(1 / 256)])
    assert model.bits_per_dimension(uniform, 784).item() == pytest.approx(8)


@pytest.mark.equation("vae-bits")
def test_bits_are_binary_logarithms_of_the_probabilities_of_levels(tiny_vae):
    model, images = tiny_vae("discretized-logistic"), some_images()
    output = model.decoder(torch.zeros(3, 2).double())
    centre, scale = torch.sigmoid(output[:, :1]).numpy(), output[:, 1:].exp().numpy()
    levels = (255 * images.numpy()).round()
    edge = scipy.stats.logistic(centre, scale).cdf
    upper = np.where(levels == 255, 1, edge((levels + 0.5) / 255))
    lower = np.where(levels == 0, 0, edge((levels - 0.5) / 255))
    expected = -np.log2(upper - lower).mean((1, 2, 3))
    log_prob = model.decode(torch.zeros(3, 2).double()).log_prob(images)
    assert np.allclose(model.bits_per_dimension(log_prob, 784).numpy(), expected)


@pytest.mark.equation("vae-bits")
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_bits_of_a_density_are_refused(tiny_vae, likelihood):
    with pytest.raises(ValueError, match="discretized-logistic") as caught:
        tiny_vae(likelihood).bits_per_dimension(tensor([-100.0]), 784)
    assert repr(likelihood) in str(caught.value)


# The model around the equations


@pytest.mark.parametrize(
    ("likelihood", "kind"),
    [
        ("bernoulli", Bernoulli),
        ("gaussian", Gaussian),
        ("discretized-logistic", DiscretizedLogistic),
    ],
)
def test_decode_gives_the_configured_likelihood(tiny_vae, likelihood, kind):
    model = tiny_vae(likelihood)
    z = torch.randn(4, 2, generator=seeded(), dtype=torch.float64)
    decoded = model.decode(z)
    assert type(decoded) is kind
    assert torch.allclose(decoded.mean, torch.sigmoid(model.decoder(z)[:, :1]))
    assert decoded.mean.shape == (4, 1, 28, 28)


def test_smallest_scale_is_bounded(tiny_vae):
    """A decoder that is sure beyond reason still gives finite losses and gradients."""
    model = tiny_vae("discretized-logistic").requires_grad_()
    with torch.no_grad():
        model.decoder[-1].bias += tensor([0.0, -1000.0])
    assert model.decode(torch.zeros(1, 2).double()).log_scale.min() == -8
    loss, _ = model.loss(some_images(), generator=seeded())
    loss.backward()
    assert loss.isfinite()
    for parameter in model.parameters():
        assert parameter.grad.isfinite().all()


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_all_randomness_comes_from_the_generator(tiny_vae, likelihood):
    model, images = tiny_vae(likelihood), some_images()
    before = torch.get_rng_state()
    uses = {
        "sample": lambda g: model.sample(3, generator=g),
        "elbo": lambda g: model.elbo(images, generator=g)[0],
        "loss": lambda g: model.loss(images, generator=g)[0],
        "iwae": lambda g: model.log_likelihood(images, samples=2, generator=g),
    }
    for name, use in uses.items():
        assert torch.equal(use(seeded(1)), use(seeded(1))), name
        assert not torch.equal(use(seeded(1)), use(seeded(2))), name
    assert torch.equal(torch.get_rng_state(), before)


def test_samples_are_decoded_from_the_prior(tiny_vae):
    model = tiny_vae()
    z = torch.randn(6, 2, generator=seeded(3), dtype=torch.float64)
    images = model.sample(6, generator=seeded(3))
    assert torch.allclose(images, torch.sigmoid(model.decoder(z)))
    assert images.shape == (6, 1, 28, 28)


def test_reconstruction_is_decoded_from_the_posterior_mean(tiny_vae):
    model, images = tiny_vae(), some_images()
    mean = model.encoder(2 * images - 1)[:, :2]
    assert torch.allclose(model.reconstruct(images), torch.sigmoid(model.decoder(mean)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"likelihood": "poisson"},
            "unknown likelihood 'poisson'; known: bernoulli, gaussian, discretized-logistic",
        ),
        ({"beta": -0.5}, "beta must not be negative, but is -0.5"),
    ],
)
def test_impossible_configs_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        VAEConfig(**options)


def test_default_config_is_used_and_frozen():
    model = VAE()
    assert model.config == VAEConfig(
        latent_dim=16, channels=(32, 64, 128), likelihood="bernoulli", beta=1.0
    )
    with pytest.raises(dataclasses.FrozenInstanceError):
        model.config.beta = 2.0


def test_only_the_gaussian_learns_a_standard_deviation():
    assert [hasattr(VAE(VAEConfig(likelihood=kind)), "log_std") for kind in LIKELIHOODS] == [
        False,
        True,
        False,
    ]
