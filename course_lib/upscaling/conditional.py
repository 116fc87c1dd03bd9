"""One task for the models of Part II: grey images of 7 x 7 pixels, enlarged to 28 x 28.

Chapter: *One task, four models*. Each model is told the small image ``lr`` in the simplest
way that fits it. Sources: Sohn, Lee and Yan (2015) for the conditional VAE; Mirza and
Osindero (2014), arXiv:1411.1784, for conditional games; Saharia et al. (2021),
arXiv:2104.07636, for the diffusion model that sees an enlargement beside its noisy picture.

Images are (N, 1, 28, 28) and small images (N, 1, 7, 7), both in [0, 1]. The models learn from
large images alone, which :func:`shrunk` makes small. ``random`` says whether answers are
drawn.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..data.degradation import degrade, quantize, upscale
from ..models import DDPM, DDPMConfig
from ..models.blocks import ConvDecoder, ConvEncoder, from_network, to_network
from ..models.dcgan import convolutional_critic, convolutional_generator, initialize
from ..models.gan import Adversarial, discriminator_loss, generator_loss
from ..models.likelihoods import DiscretizedLogistic
from ..models.vae import kl_divergence, reparameterize
from ..models.wgan import critic_loss, gradient_penalty
from ..models.wgan import generator_loss as wasserstein_generator_loss
from ..noise import standard_normal

SCALE, SIDE = 4, 7  # the side of small images, in pixels
Loss = tuple[torch.Tensor, dict[str, torch.Tensor]]


def shrunk(images: torch.Tensor) -> torch.Tensor:
    """Return the small images that the models are given, rounded to 256 levels."""
    return quantize(degrade(images, scale=SCALE))


def enlarged_lr(lr: torch.Tensor) -> torch.Tensor:
    """Return bicubic enlargements in [-1, 1], for networks that read pictures."""
    return to_network(upscale(lr, SCALE).clamp(0, 1))


def beside(images: torch.Tensor, lr: torch.Tensor) -> torch.Tensor:
    """Stack images (N, 1, 28, 28) in [-1, 1] and the enlargements: (N, 2, 28, 28)."""
    return torch.cat([images, enlarged_lr(lr)], dim=1)


def described(z: torch.Tensor, lr: torch.Tensor) -> torch.Tensor:
    """Append the 49 pixels of ``lr`` in [-1, 1] to latents (N, latent_dim)."""
    return torch.cat([z, to_network(lr).flatten(1)], dim=1)


@dataclass(frozen=True, kw_only=True)
class PosteriorMeanConfig:
    """``channels`` are those of :class:`~course_lib.models.blocks.ConvDecoder`."""

    channels: tuple[int, int, int] = (48, 104, 176)

    scale = SCALE


class PosteriorMean(nn.Module):
    """One answer for each small image, the mean of those that fit: no draw, but a yardstick."""

    random = False

    def __init__(self, config: PosteriorMeanConfig | None = None):
        super().__init__()
        self.config = config = config or PosteriorMeanConfig()
        self.decoder = ConvDecoder(SIDE**2, config.channels, 1)

    def forward(self, lr: torch.Tensor) -> torch.Tensor:
        """Return the images in [0, 1]."""
        return torch.sigmoid(self.decoder(to_network(lr).flatten(1)))

    def loss(self, images: torch.Tensor, *, generator: torch.Generator | None = None) -> Loss:
        """Return the mean squared error: :eq:`one-task-mean`."""
        return (self(shrunk(images)) - images).square().mean(), {}

    def sample(self, lr: torch.Tensor, *, generator: torch.Generator | None = None) -> torch.Tensor:
        """Return the only answer, whatever the generator."""
        return self(lr)


@dataclass(frozen=True, kw_only=True)
class ConditionalVAEConfig:
    """As :class:`~course_lib.models.vae.VAEConfig`; the likelihood is the discretised logistic."""

    latent_dim: int = 16
    channels: tuple[int, int, int] = (32, 64, 128)
    beta: float = 1.0

    scale = SCALE


class ConditionalVAE(nn.Module):
    """p(x, z | lr) = N(z; 0, I) p(x | z, lr), with an encoder q(z | x, lr)."""

    random = True

    def __init__(self, config: ConditionalVAEConfig | None = None):
        super().__init__()
        self.config = config = config or ConditionalVAEConfig()
        self.encoder = ConvEncoder(2, config.channels, 2 * config.latent_dim)
        self.decoder = ConvDecoder(config.latent_dim + SIDE**2, config.channels, 2)

    def encode(self, images: torch.Tensor, lr: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and log variance of q(z | x, lr), each (N, latent_dim)."""
        mean, log_variance = self.encoder(beside(to_network(images), lr)).chunk(2, dim=1)
        return mean, log_variance

    def decode(self, z: torch.Tensor, lr: torch.Tensor) -> DiscretizedLogistic:
        """Return the likelihood p(x | z, lr) for latents (N, latent_dim)."""
        mean, log_scale = self.decoder(described(z, lr)).chunk(2, dim=1)
        return DiscretizedLogistic(torch.sigmoid(mean), log_scale.clamp(-8.0, 8.0))

    def loss(self, images: torch.Tensor, *, generator: torch.Generator | None = None) -> Loss:
        """Return minus the bound of :eq:`one-task-elbo` in nats, mean over the batch."""
        lr = shrunk(images)
        mean, log_variance = self.encode(images, lr)
        z = reparameterize(mean, log_variance, generator=generator)
        log_likelihood = self.decode(z, lr).log_prob(images)
        kl = kl_divergence(mean, log_variance)
        logs = {"log_likelihood": log_likelihood.detach().mean(), "kl": kl.detach().mean()}
        return (self.config.beta * kl - log_likelihood).mean(), logs

    def sample(
        self,
        lr: torch.Tensor,
        *,
        generator: torch.Generator | None = None,
        temperature: float = 1.0,
    ) -> torch.Tensor:
        """Draw z from the prior, times ``temperature``; return the mean images of p(x | z, lr)."""
        z = standard_normal(len(lr), self.config.latent_dim, like=lr, generator=generator)
        return self.decode(temperature * z, lr).mean


@dataclass(frozen=True, kw_only=True)
class ConditionalGANConfig:
    """``width`` is the number of channels at 14 x 14, as in DCGAN."""

    latent_dim: int = 32
    width: int = 32

    scale = SCALE
    bounded = True  # for the game of Part II: the data are images


class ConditionalGAN(Adversarial):
    """The game in which both networks know ``lr``; networks and game are those of DCGAN."""

    players = ("discriminator", "generator")
    random = True

    def __init__(self, config: ConditionalGANConfig | None = None):
        super().__init__()
        self.config = config = config or ConditionalGANConfig()
        self.generator = conditional_generator(config)
        self.discriminator = convolutional_critic(config.width, inputs=2)
        initialize(self, 0.02)

    def loss(
        self, images: torch.Tensor, *, player: str, generator: torch.Generator | None = None
    ) -> Loss:
        """Return :eq:`one-task-gan` for one ``player``, and how often the judge is right."""
        self.check_player(player)
        lr = shrunk(images)
        z = self.latents(len(images), generator=generator)
        if player == "generator":
            fake = self.generator(described(z, lr))
            return generator_loss(self.discriminator(beside(fake, lr))), {}
        with torch.no_grad():
            fake = self.generator(described(z, lr))
        real_logits = self.discriminator(beside(to_network(images), lr))
        fake_logits = self.discriminator(beside(fake, lr))
        right = (real_logits > 0).float().mean() + (fake_logits < 0).float().mean()
        return discriminator_loss(real_logits, fake_logits), {"accuracy": right.detach() / 2}

    def sample(
        self,
        lr: torch.Tensor,
        *,
        generator: torch.Generator | None = None,
        temperature: float = 1.0,
    ) -> torch.Tensor:
        """Draw latents, times ``temperature``, and return the images they are mapped to."""
        z = temperature * self.latents(len(lr), generator=generator)
        return from_network(self.generator(described(z, lr)))


@dataclass(frozen=True, kw_only=True)
class ConditionalWGANConfig(ConditionalGANConfig):
    """``penalty`` weighs the gradient penalty."""

    penalty: float = 10.0


class ConditionalWGAN(ConditionalGAN):
    """The same generator, taught by a critic that estimates a Wasserstein-1 distance."""

    players = ("critic", "generator")

    def __init__(self, config: ConditionalWGANConfig | None = None):
        Adversarial.__init__(self)
        self.config = config = config or ConditionalWGANConfig()
        self.generator = conditional_generator(config)
        self.critic = convolutional_critic(config.width, inputs=2, batch_norm=False)

    def loss(
        self, images: torch.Tensor, *, player: str, generator: torch.Generator | None = None
    ) -> Loss:
        """Return :eq:`one-task-wgan` for one ``player``; for the critic, the distance too.

        The penalty is on the gradient by the image; ``lr`` is the same at both ends of a line.
        """
        self.check_player(player)
        lr = shrunk(images)
        z = self.latents(len(images), generator=generator)

        def critic(pictures: torch.Tensor) -> torch.Tensor:
            return self.critic(beside(pictures, lr))

        if player == "generator":
            return wasserstein_generator_loss(critic(self.generator(described(z, lr)))), {}
        with torch.no_grad():
            fake = self.generator(described(z, lr))
        real = to_network(images)
        loss = critic_loss(critic(real), critic(fake))
        penalty = gradient_penalty(critic, real, fake, generator=generator)
        logs = {"distance": -loss.detach(), "penalty": penalty.detach()}
        return loss + self.config.penalty * penalty, logs


def conditional_generator(config: ConditionalGANConfig) -> nn.Module:
    """Return DCGAN's generator, for latents with the 49 pixels appended."""
    return convolutional_generator(config.latent_dim + SIDE**2, config.width)


@dataclass(frozen=True, kw_only=True)
class ConditionalDDPMConfig(DDPMConfig):
    """A :class:`~course_lib.models.ddpm.DDPMConfig` with fewer channels."""

    channels: tuple[int, ...] = (24, 48)

    scale = SCALE
    condition_channels = 1


class ConditionalDDPM(DDPM):
    """The diffusion model whose U-Net sees the enlargement of ``lr`` beside the noisy picture."""

    default_steps = 20
    random = True

    def __init__(self, config: ConditionalDDPMConfig | None = None):
        super().__init__(config or ConditionalDDPMConfig())

    def loss(self, images: torch.Tensor, *, generator: torch.Generator | None = None) -> Loss:
        """Return :eq:`one-task-ddpm`: :eq:`ddpm-simple`, with ``lr`` told."""
        condition = enlarged_lr(shrunk(images))
        return super().loss(images, generator=generator, condition=condition)

    def sample(
        self, lr: torch.Tensor, *, generator: torch.Generator | None = None, **options: Any
    ) -> torch.Tensor:
        """Draw an image for each of ``lr``; ``options`` are those of DDPM's ``sample``."""
        return super().sample(len(lr), generator=generator, condition=enlarged_lr(lr), **options)
