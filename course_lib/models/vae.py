"""The variational autoencoder, from prior to bits per dimension.

Chapter: *Variational autoencoders*. Sources: Kingma and Welling (2014), arXiv:1312.6114;
Rezende, Mohamed and Wierstra (2014), arXiv:1401.4082; Higgins et al. (2017) for beta;
Burda, Grosse and Salakhutdinov (2016), arXiv:1509.00519, for the importance-weighted bound.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn

from ..noise import standard_normal
from .blocks import ConvDecoder, ConvEncoder, to_network
from .likelihoods import Bernoulli, DiscretizedLogistic, Gaussian

LIKELIHOODS = ("bernoulli", "gaussian", "discretized-logistic")


@dataclass(frozen=True, kw_only=True)
class VAEConfig:
    """``likelihood`` is one of ``LIKELIHOODS``; ``beta`` weighs the KL term."""

    latent_dim: int = 16
    channels: tuple[int, int, int] = (32, 64, 128)
    likelihood: str = "bernoulli"
    beta: float = 1.0

    def __post_init__(self):
        if self.likelihood not in LIKELIHOODS:
            raise ValueError(
                f"unknown likelihood {self.likelihood!r}; known: {', '.join(LIKELIHOODS)}"
            )
        if self.beta < 0:
            raise ValueError(f"beta must not be negative, but is {self.beta}")


def reparameterize(
    mean: torch.Tensor, log_variance: torch.Tensor, *, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Draw z = mean + std * epsilon with epsilon from N(0, I): :eq:`vae-reparameterize`.

    All of shape (N, latent_dim). The randomness is in epsilon alone, so gradients flow
    into ``mean`` and ``log_variance``.
    """
    epsilon = standard_normal(*mean.shape, like=mean, generator=generator)
    return mean + torch.exp(0.5 * log_variance) * epsilon


def kl_divergence(mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    """Return KL(N(mean, diag(variance)) || N(0, I)) in nats, shape (N,): :eq:`vae-kl`.

    Arguments are (N, latent_dim). The sum runs over the latent dimensions; the mean over
    the batch is left to the caller.
    """
    return 0.5 * (mean.square() + log_variance.exp() - log_variance - 1).sum(1)


def gaussian_log_density(
    z: torch.Tensor, mean: torch.Tensor, log_variance: torch.Tensor
) -> torch.Tensor:
    """Return log N(z; mean, diag(variance)), summed over the last axis."""
    squared = (z - mean).square() * torch.exp(-log_variance)
    return -0.5 * (squared + log_variance + math.log(2 * math.pi)).sum(-1)


class VAE(nn.Module):
    """A latent-variable model p(x, z) = N(z; 0, I) p(x | z) with an encoder q(z | x).

    Images are (N, 1, 28, 28) in [0, 1]; latents are (N, latent_dim).
    """

    def __init__(self, config: VAEConfig | None = None):
        super().__init__()
        self.config = config = config or VAEConfig()
        parameters_per_pixel = 2 if config.likelihood == "discretized-logistic" else 1
        self.encoder = ConvEncoder(1, config.channels, 2 * config.latent_dim)
        self.decoder = ConvDecoder(config.latent_dim, config.channels, parameters_per_pixel)
        if config.likelihood == "gaussian":
            self.log_std = nn.Parameter(torch.tensor(-1.0))

    def encode(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and log variance of q(z | x), each (N, latent_dim)."""
        mean, log_variance = self.encoder(to_network(images)).chunk(2, dim=1)
        return mean, log_variance

    def decode(self, z: torch.Tensor) -> Bernoulli | Gaussian | DiscretizedLogistic:
        """Return the likelihood p(x | z) for latents (N, latent_dim)."""
        output = self.decoder(z)
        if self.config.likelihood == "bernoulli":
            return Bernoulli(output)
        if self.config.likelihood == "gaussian":
            return Gaussian(torch.sigmoid(output), self.log_std)
        mean, log_scale = output.chunk(2, dim=1)
        # Sharper than a tenth of a grey level gains next to nothing, but a miss costs ever
        # more; broader than all levels together changes nothing.
        return DiscretizedLogistic(torch.sigmoid(mean), log_scale.clamp(-8.0, 8.0))

    def elbo(
        self, images: torch.Tensor, *, generator: torch.Generator | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the two terms of :eq:`vae-elbo`, each (N,), in nats.

        The first is log p(x | z) for one z drawn from q(z | x), the second the divergence
        KL(q(z | x) || p(z)); their difference is an unbiased estimate of the bound.
        """
        mean, log_variance = self.encode(images)
        z = reparameterize(mean, log_variance, generator=generator)
        return self.decode(z).log_prob(images), kl_divergence(mean, log_variance)

    def loss(
        self, images: torch.Tensor, *, generator: torch.Generator | None = None
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return :eq:`vae-loss`: minus log-likelihood plus beta KL, mean over the batch."""
        log_likelihood, kl = self.elbo(images, generator=generator)
        loss = (self.config.beta * kl - log_likelihood).mean()
        return loss, {
            "log_likelihood": log_likelihood.detach().mean(),
            "kl": kl.detach().mean(),
        }

    def log_likelihood(
        self, images: torch.Tensor, *, samples: int, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        """Return the importance-weighted bound on log p(x), shape (N,): :eq:`vae-iwae`.

        With ``samples=1`` its mean is the ELBO; it rises with ``samples`` towards log p(x).
        """
        mean, log_variance = self.encode(images)
        log_weights = []
        for _ in range(samples):
            z = reparameterize(mean, log_variance, generator=generator)
            log_weights.append(
                self.decode(z).log_prob(images)
                + gaussian_log_density(z, torch.zeros_like(z), torch.zeros_like(z))
                - gaussian_log_density(z, mean, log_variance)
            )
        return torch.logsumexp(torch.stack(log_weights), 0) - math.log(samples)

    def bits_per_dimension(self, log_likelihood: torch.Tensor, pixels: int) -> torch.Tensor:
        """Turn nats per image into bits per pixel: :eq:`vae-bits`. Lower is better.

        Raises ``ValueError`` for the other likelihoods: a density or a Bernoulli loss is
        not the probability of an 8-bit image, and its 'bits' would mean nothing.
        """
        if self.config.likelihood != "discretized-logistic":
            raise ValueError(
                "bits per dimension need the probability of 8-bit images, that is "
                f"likelihood='discretized-logistic', not {self.config.likelihood!r}"
            )
        return -log_likelihood / (pixels * math.log(2))

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> torch.Tensor:
        """Draw z from the prior and return the mean images of p(x | z), (n, 1, 28, 28)."""
        like = next(self.parameters())
        z = standard_normal(n, self.config.latent_dim, like=like, generator=generator)
        return self.decode(z).mean

    def reconstruct(self, images: torch.Tensor) -> torch.Tensor:
        """Return the mean image decoded from the mean of q(z | x)."""
        return self.decode(self.encode(images)[0]).mean
