"""Building blocks that several models share."""

import torch
from torch import nn


def to_network(images: torch.Tensor) -> torch.Tensor:
    """Map images from [0, 1], as everywhere outside, to [-1, 1], as networks like them."""
    return 2 * images - 1


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


def standard_normal(
    *shape: int, like: torch.Tensor, generator: torch.Generator | None
) -> torch.Tensor:
    """Draw from N(0, I) with the given shape, on the device and in the type of ``like``.

    They are drawn where the generator lives and then moved, so that a generator on the CPU
    gives the same numbers on every device; without one, on the device of ``like``.
    """
    device = generator.device if generator is not None else like.device
    return torch.randn(shape, generator=generator, device=device, dtype=like.dtype).to(like.device)
