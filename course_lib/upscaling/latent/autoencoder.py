"""The autoencoder of a latent upscaler: what is diffused are its codes, not pixels.

Chapter: *Stable Diffusion upscaling*. After Rombach et al. (2022), arXiv:2112.10752, section
3.1, whose reconstruction error also has a perceptual and an adversarial part; here it is the
absolute error alone.
"""

from dataclasses import dataclass

import torch
from torch import nn

from ...models.blocks import from_network, to_network
from ...noise import standard_normal
from . import parts


@dataclass(frozen=True, kw_only=True)
class LatentAutoencoderConfig:
    """``channels`` from fine to coarse; ``beta`` weighs the codes' divergence from normal."""

    channels: tuple[int, ...] = (24, 48, 96)
    latent_channels: int = 4
    groups: int = 2
    beta: float = 1e-3


class LatentAutoencoder(nn.Module):
    """An ``AutoencoderKL`` and how it learns.

    ``latent_std`` is a running estimate of the codes' standard deviation, for :meth:`standardize`:
    diffusion needs codes of about unit variance.
    """

    def __init__(self, config: LatentAutoencoderConfig | None = None):
        super().__init__()
        self.config = config = config or LatentAutoencoderConfig()
        self.vae = parts.autoencoder(
            config.channels, latent_channels=config.latent_channels, groups=config.groups
        )
        self.register_buffer("latent_std", torch.ones(()))

    def loss(
        self, hr: torch.Tensor, *, generator: torch.Generator | None = None
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return the loss for images (N, 3, H, W) in [0, 1]: :eq:`latent-autoencoder`.

        It is the mean absolute error per number in [-1, 1], and ``beta`` times the divergence
        in nats per number of the codes.
        """
        x = to_network(hr)
        posterior = self.vae.encode(x).latent_dist
        noise = standard_normal(*posterior.mean.shape, like=posterior.mean, generator=generator)
        z = posterior.mean + posterior.std * noise
        if self.training:
            with torch.no_grad():
                self.latent_std.lerp_(z.float().std(), 0.01)
        error = (self.vae.decode(z).sample - x).abs().mean()
        divergence = posterior.kl().mean() / z[0].numel()
        logs = {"error": error.detach(), "divergence": divergence.detach()}
        return error + self.config.beta * divergence, logs

    def reconstruct(self, hr: torch.Tensor) -> torch.Tensor:
        """Return images (N, 3, H, W) in [0, 1] as the mean of their codes tells them."""
        codes = self.vae.encode(to_network(hr)).latent_dist.mean
        return from_network(self.vae.decode(codes).sample).clamp(0, 1)

    @torch.no_grad()
    def standardize(self) -> None:
        """Make the codes of such a size that the pipeline's scaling factor gives unit variance.

        The first layer of the decoder undoes it, so that the reconstructions stay.
        """
        factor = 1 / (parts.SCALING_FACTOR * self.latent_std)
        codes = self.config.latent_channels
        before, after = self.vae.quant_conv, self.vae.post_quant_conv
        before.weight[:codes] *= factor
        before.bias[:codes] *= factor
        before.bias[codes:] += 2 * factor.log()  # of the logarithm of the variance
        after.weight /= factor
        self.latent_std.fill_(1 / parts.SCALING_FACTOR)
