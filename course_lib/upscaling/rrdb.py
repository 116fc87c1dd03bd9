"""The encoder of SRDiff: a network of residual-in-residual dense blocks.

Chapter: *SRDiff*. Sources: Wang et al. (2018), ESRGAN, arXiv:1809.00219, section 3.1, for the
network; Li et al. (2022), SRDiff, arXiv:2104.14951, for its use as an encoder. The names of
the modules are those of the authors' files, so that these can be loaded.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from ..models.blocks import from_network, to_network

SLOPE = 0.2  # of the leaky ReLU on its negative side
RESIDUAL = 0.2  # what a block's output is multiplied by before it is added


class DenseBlock(nn.Module):
    """Five 3x3 convolutions, each of which sees the outputs of all before it."""

    def __init__(self, features: int):
        super().__init__()
        growth = features // 2
        for number in range(1, 6):
            wider = features + (number - 1) * growth
            convolution = nn.Conv2d(wider, growth if number < 5 else features, 3, padding=1)
            self.add_module(f"conv{number}", convolution)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, features, H, W) to the same shape."""
        seen = x
        for convolution in (self.conv1, self.conv2, self.conv3, self.conv4):
            seen = torch.cat([seen, F.leaky_relu(convolution(seen), SLOPE)], dim=1)
        return x + RESIDUAL * self.conv5(seen)


class RRDB(nn.Module):
    """Three dense blocks and a shortcut around them all."""

    def __init__(self, features: int):
        super().__init__()
        self.RDB1, self.RDB2, self.RDB3 = (DenseBlock(features) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, features, H, W) to the same shape."""
        return x + RESIDUAL * self.RDB3(self.RDB2(self.RDB1(x)))


@dataclass(frozen=True, kw_only=True)
class RRDBConfig:
    """``scale`` is a power of two; the channels of a dense block grow by half of ``features``
    with each convolution."""

    blocks: int = 8
    features: int = 32
    scale: int = 4


class RRDBEncoder(nn.Module):
    """From a small image to a large one, and to features that describe the small one.

    The condition has ``condition_channels`` channels: every third block's, from the third.
    """

    def __init__(self, config: RRDBConfig | None = None):
        super().__init__()
        self.config = config = config or RRDBConfig()
        blocks, features, scale = config.blocks, config.features, config.scale
        if scale < 2 or scale & (scale - 1):
            raise ValueError(f"scale must be a power of two from 2, not {scale}")
        if blocks < 2:
            raise ValueError(f"blocks must be at least 2 for a condition, not {blocks}")
        self.conv_first = nn.Conv2d(3, features, 3, padding=1)
        self.RRDB_trunk = nn.Sequential(*(RRDB(features) for _ in range(blocks)))
        self.trunk_conv = nn.Conv2d(features, features, 3, padding=1)
        self.doublings = int(math.log2(scale))
        for number in range(1, self.doublings + 1):
            self.add_module(f"upconv{number}", nn.Conv2d(features, features, 3, padding=1))
        self.HRconv = nn.Conv2d(features, features, 3, padding=1)
        self.conv_last = nn.Conv2d(features, 3, 3, padding=1)
        self.condition_channels = features * ((blocks + 1) // 3)

    def forward(self, lr: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Map ``lr`` (N, 3, H, W) in [-1, 1] to its enlargement in [-1, 1] and the condition.

        The condition, (N, condition_channels, H, W), takes every third entry, from the third,
        of the list of the blocks' outputs and the trunk's.
        """
        x = first = self.conv_first(from_network(lr))
        outputs = []
        for block in self.RRDB_trunk:
            x = block(x)
            outputs.append(x)
        x = first + self.trunk_conv(x)
        outputs.append(x)
        for number in range(1, self.doublings + 1):
            x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = F.leaky_relu(self.get_submodule(f"upconv{number}")(x), SLOPE)
        x = self.conv_last(F.leaky_relu(self.HRconv(x), SLOPE))
        return to_network(x.clamp(0, 1)), torch.cat(outputs[2::3], dim=1)

    def forward_with_condition(self, lr: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what ``forward`` does, under the name that all encoders share."""
        return self(lr)

    def loss(
        self,
        batch: tuple[torch.Tensor, torch.Tensor],
        *,
        generator: torch.Generator | None = None,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return :eq:`sr-regression` for images (lr, hr) in [0, 1]."""
        lr, hr = batch
        return (from_network(self(to_network(lr))[0]) - hr).abs().mean(), {}
