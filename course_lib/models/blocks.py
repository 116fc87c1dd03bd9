"""Building blocks that several models share."""

import torch
from torch import nn


def to_network(images: torch.Tensor) -> torch.Tensor:
    """Map images from [0, 1], as everywhere outside, to [-1, 1], as networks like them."""
    return 2 * images - 1


def from_network(outputs: torch.Tensor) -> torch.Tensor:
    """Map from [-1, 1] back to images in [0, 1]."""
    return (outputs + 1) / 2


class ConvEncoder(nn.Sequential):
    """Images (N, in_channels, 28, 28) to vectors (N, out_features).

    Three convolutions with stride 2 take the side from 28 to 14, 7 and 4 while the
    channels grow as in ``channels``; a linear layer reads the result.
    """

    def __init__(self, in_channels: int, channels: tuple[int, int, int], out_features: int):
        first, second, third = channels
        super().__init__(
            nn.Conv2d(in_channels, first, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(first, second, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(second, third, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(third * 4 * 4, out_features),
        )


class ConvDecoder(nn.Sequential):
    """Vectors (N, in_features) to images (N, out_channels, 28, 28): the encoder mirrored."""

    def __init__(self, in_features: int, channels: tuple[int, int, int], out_channels: int):
        first, second, third = channels
        super().__init__(
            nn.Linear(in_features, third * 4 * 4),
            nn.SiLU(),
            nn.Unflatten(1, (third, 4, 4)),
            nn.ConvTranspose2d(third, second, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.ConvTranspose2d(second, first, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.ConvTranspose2d(first, out_channels, 4, stride=2, padding=1),
        )
