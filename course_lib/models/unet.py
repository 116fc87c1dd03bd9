"""The U-Net of the diffusion models: pictures and a time in, a picture out.

After Ho, Jain and Abbeel (2020), arXiv:2006.11239, and Ronneberger, Fischer and Brox (2015),
arXiv:1505.04597. One deviation keeps it fast on a CPU: with ``patch=2`` each block of 2 x 2
pixels becomes four channels before the first convolution, and is unfolded after the last
(as in Hoogeboom, Heek and Salimans, 2023, arXiv:2301.11093).
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass(frozen=True, kw_only=True)
class UNetConfig:
    """``channels`` has one entry for each resolution, each half as wide as the one before.

    ``attention`` says for each resolution whether its blocks attend; ``groups`` must divide
    all channels. The picture's side must be divisible by patch * 2^(levels - 1).
    """

    in_channels: int = 1
    out_channels: int = 1
    channels: tuple[int, ...] = (32, 64)
    attention: tuple[bool, ...] = (False, True)
    patch: int = 2
    time_dim: int = 128
    groups: int = 8

    def __post_init__(self):
        if len(self.attention) != len(self.channels):
            raise ValueError(
                f"attention needs one entry for each of the {len(self.channels)} resolutions, "
                f"not {len(self.attention)}"
            )
        if wrong := [c for c in self.channels if c % self.groups]:
            raise ValueError(f"channels {wrong} are not divisible into {self.groups} groups")
        if self.time_dim % 8:  # a quarter is embedded, half in sines and half in cosines
            raise ValueError(f"time_dim must be divisible by 8, but is {self.time_dim}")


def time_embedding(t: torch.Tensor, dim: int) -> torch.Tensor:
    """Return sines and cosines of ``t`` (N,) at dim/2 frequencies, (N, dim): :eq:`ddpm-time`."""
    frequencies = torch.exp(
        -math.log(10_000)
        * torch.arange(dim // 2, device=t.device, dtype=torch.float32)
        / (dim // 2)
    )
    angles = t.float()[:, None] * frequencies[None]
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class ResidualBlock(nn.Module):
    """Two convolutions, each after group norm and SiLU, with the time added in between.

    The last convolution starts at zero, so that the block starts as its shortcut.
    """

    def __init__(self, in_channels: int, out_channels: int, time_dim: int, groups: int):
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.time = nn.Linear(time_dim, out_channels)
        self.norm2 = nn.GroupNorm(groups, out_channels)
        self.conv2 = zeroed(nn.Conv2d(out_channels, out_channels, 3, padding=1))
        self.shortcut = (
            nn.Conv2d(in_channels, out_channels, 1)
            if in_channels != out_channels
            else nn.Identity()
        )

    def forward(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        """Map (N, in, H, W) and (N, time_dim) to (N, out, H, W)."""
        h = self.conv1(F.silu(self.norm1(x)))
        h = h + self.time(F.silu(time))[:, :, None, None]
        h = self.conv2(F.silu(self.norm2(h)))
        return self.shortcut(x) + h


class Attention(nn.Module):
    """Self-attention over all places of a picture, with a shortcut around it."""

    def __init__(self, channels: int, groups: int):
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = zeroed(nn.Conv2d(channels, channels, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C, H, W) to the same shape: :eq:`ddpm-attention`."""
        n, c, h, w = x.shape
        places = self.qkv(self.norm(x)).view(n, 3, c, h * w).transpose(2, 3)  # (N, 3, HW, C)
        queries, keys, values = places.unbind(1)
        weights = torch.softmax(queries @ keys.transpose(1, 2) / math.sqrt(c), dim=-1)
        return x + self.out((weights @ values).transpose(1, 2).reshape(n, c, h, w))


class UNet(nn.Module):
    """Predict a picture (N, out_channels, H, W) from (N, in_channels, H, W) and a time (N,).

    Going down, each resolution has two residual blocks and, where asked for, attention;
    their results are kept for the way up, where they are stacked onto the input of the
    block at the same place. Raises ``ValueError`` for a picture of a side that cannot be
    halved as often as needed.
    """

    def __init__(self, config: UNetConfig | None = None):
        super().__init__()
        self.config = config = config or UNetConfig()
        channels, patch = config.channels, config.patch
        self.time = nn.Sequential(
            nn.Linear(config.time_dim // 4, config.time_dim),
            nn.SiLU(),
            nn.Linear(config.time_dim, config.time_dim),
        )
        self.first = nn.Conv2d(config.in_channels * patch**2, channels[0], 3, padding=1)

        def block(inputs: int, outputs: int) -> ResidualBlock:
            return ResidualBlock(inputs, outputs, config.time_dim, config.groups)

        def attend(level: int) -> nn.Module:
            wanted = config.attention[level]
            return Attention(channels[level], config.groups) if wanted else nn.Identity()

        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        last = len(channels) - 1
        for level, width in enumerate(channels):
            before = channels[max(level - 1, 0)]
            halve = nn.Conv2d(width, width, 3, stride=2, padding=1)
            self.down.append(
                nn.ModuleDict(
                    {
                        "blocks": nn.ModuleList([block(before, width), block(width, width)]),
                        "attend": attend(level),
                        "resize": halve if level < last else nn.Identity(),
                    }
                )
            )
        self.middle = block(channels[-1], channels[-1])
        self.middle_attend = Attention(channels[-1], config.groups)
        for level, width in reversed(list(enumerate(channels))):
            above = channels[max(level - 1, 0)]
            double = nn.Sequential(
                nn.Upsample(scale_factor=2), nn.Conv2d(width, above, 3, padding=1)
            )
            self.up.append(
                nn.ModuleDict(
                    {
                        "blocks": nn.ModuleList([block(2 * width, width) for _ in range(2)]),
                        "attend": attend(level),
                        "resize": double if level > 0 else nn.Identity(),
                    }
                )
            )
        self.last_block = block(2 * channels[0], channels[0])
        self.last_norm = nn.GroupNorm(config.groups, channels[0])
        self.last = zeroed(nn.Conv2d(channels[0], config.out_channels * patch**2, 3, padding=1))

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Apply the network; ``t`` is (N,), whole or fractional numbers."""
        config = self.config
        divisor = config.patch * 2 ** (len(config.channels) - 1)
        if x.shape[2] % divisor or x.shape[3] % divisor:
            raise ValueError(
                f"height and width must be divisible by {divisor}, not {tuple(x.shape[2:])}"
            )
        time = self.time(time_embedding(t, config.time_dim // 4).to(x.dtype))
        x = start = self.first(F.pixel_unshuffle(x, config.patch))
        kept = []
        for level in self.down:
            for block in level["blocks"]:
                x = block(x, time)
                kept.append(x)
            x = level["attend"](x)
            x = level["resize"](x)
        x = self.middle_attend(self.middle(x, time))
        for level in self.up:
            for block in level["blocks"]:
                x = block(torch.cat([x, kept.pop()], dim=1), time)
            x = level["attend"](x)
            x = level["resize"](x)
        x = self.last_block(torch.cat([x, start], dim=1), time)
        x = self.last(F.silu(self.last_norm(x)))
        return F.pixel_shuffle(x, config.patch)


def zeroed(layer: nn.Conv2d) -> nn.Conv2d:
    """Return the layer with weights and biases set to zero."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
