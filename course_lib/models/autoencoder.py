"""The autoencoder: an image squeezed through a few numbers and back.

Chapter: *Autoencoders*. Source: Hinton and Salakhutdinov (2006),
doi:10.1126/science.1127647; the network here is convolutional.
"""

from dataclasses import dataclass

import torch
from torch import nn

from .blocks import ConvDecoder, ConvEncoder, to_network


@dataclass(frozen=True, kw_only=True)
class AutoencoderConfig:
    """``latent_dim`` is the width of the bottleneck; ``channels`` those of the network."""

    latent_dim: int = 16
    channels: tuple[int, int, int] = (32, 64, 128)


class Autoencoder(nn.Module):
    """An encoder f and a decoder g with g(f(x)) close to x.

    Images are (N, 1, 28, 28) in [0, 1], codes are (N, latent_dim), any real numbers.
    """

    def __init__(self, config: AutoencoderConfig | None = None):
        super().__init__()
        self.config = config or AutoencoderConfig()
        self.encoder = ConvEncoder(1, self.config.channels, self.config.latent_dim)
        self.decoder = ConvDecoder(self.config.latent_dim, self.config.channels, 1)

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Return the codes f(x), shape (N, latent_dim)."""
        return self.encoder(to_network(images))

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """Return the images g(z), shape (N, 1, 28, 28), in (0, 1) by a sigmoid."""
        return torch.sigmoid(self.decoder(codes))

    def reconstruct(self, images: torch.Tensor) -> torch.Tensor:
        """Return g(f(x)), :eq:`ae-reconstruction`."""
        return self.decode(self.encode(images))

    def loss(
        self, images: torch.Tensor, *, generator: torch.Generator | None = None
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return the squared error per image, mean over the batch: :eq:`ae-loss`.

        The generator is part of the training protocol; nothing random happens here.
        """
        squared_error = (self.reconstruct(images) - images).square()
        loss = squared_error.flatten(1).sum(1).mean()
        return loss, {"mse": squared_error.detach().mean()}


def principal_components(images: torch.Tensor, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean and the first ``dim`` principal directions of a set of images.

    ``images`` is (N, ...), flattened to D numbers each; the mean is (D,), the directions
    are the orthonormal columns of (D, dim). They solve :eq:`ae-pca`: no linear
    autoencoder with ``dim`` codes has a smaller squared error on ``images``.
    Raises ``ValueError`` unless 1 <= dim <= D.
    """
    flat = images.flatten(1).double()
    if not 1 <= dim <= flat.shape[1]:
        raise ValueError(f"dim must be between 1 and {flat.shape[1]}, not {dim}")
    mean = flat.mean(0)
    covariance = torch.cov(flat.T, correction=0).reshape(flat.shape[1], flat.shape[1])
    directions = torch.linalg.eigh(covariance).eigenvectors.flip(1)[:, :dim]
    return mean.to(images.dtype), directions.to(images.dtype)
