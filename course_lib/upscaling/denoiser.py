"""The U-Net of SRDiff: a noisy residual, a time and the encoder's features in, a noise out.

Chapter: *SRDiff*. Source: Li et al. (2022), arXiv:2104.14951, section 3.3 and the released
configuration: every 3x3 convolution follows a reflection padding, nothing is normalised, and
there is no way up from below the first level's skip, so that it has none. The names of the
modules are those of the authors' files.
"""

import math

import torch
from torch import nn


def time_embedding(t: torch.Tensor, dim: int) -> torch.Tensor:
    """Return sines and cosines of ``t`` (N,) at dim/2 frequencies, (N, dim), from 1 to 1e-4.

    That of the DDPM chapter stops one step before 1e-4: it divides the exponent by dim/2,
    this one by dim/2 - 1.
    """
    half = dim // 2
    steps = torch.arange(half, device=t.device, dtype=torch.float32)
    frequencies = torch.exp(-math.log(10_000) / (half - 1) * steps)
    angles = t.float()[:, None] * frequencies[None]
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class Block(nn.Module):
    """A 3x3 convolution over a reflected border, and Mish."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.block = nn.Sequential(
            nn.ReflectionPad2d(1), nn.Conv2d(in_channels, out_channels, 3), nn.Mish()
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, in, H, W) to (N, out, H, W)."""
        return self.block(x)


class ResidualBlock(nn.Module):
    """Two blocks, the time added between them, and a shortcut around both."""

    def __init__(self, in_channels: int, out_channels: int, time_dim: int):
        super().__init__()
        self.mlp = nn.Sequential(nn.Mish(), nn.Linear(time_dim, out_channels))
        self.block1 = Block(in_channels, out_channels)
        self.block2 = Block(out_channels, out_channels)
        self.res_conv = (
            nn.Conv2d(in_channels, out_channels, 1)
            if in_channels != out_channels
            else nn.Identity()
        )

    def forward(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        """Map (N, in, H, W) and (N, time_dim) to (N, out, H, W)."""
        h = self.block1(x) + self.mlp(time)[:, :, None, None]
        return self.block2(h) + self.res_conv(x)


class Downsample(nn.Module):
    """Half the width and height, by a strided convolution over a reflected border."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3, stride=2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C, H, W) to (N, C, H/2, W/2)."""
        return self.conv(x)


class Upsample(nn.Module):
    """Twice the width and height, by a transposed convolution."""

    def __init__(self, channels: int):
        super().__init__()
        # A sequence of one, because it is one in the authors' files.
        self.conv = nn.Sequential(nn.ConvTranspose2d(channels, channels, 4, stride=2, padding=1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C, H, W) to (N, C, 2H, 2W)."""
        return self.conv(x)


class ConditionalUNet(nn.Module):
    """``multipliers`` times ``hidden`` are the channels of each level, half as wide each.

    The sides of the pictures must be divisible by ``multiple``, and at least twice as large:
    a border of one cannot be reflected into a picture of one pixel.
    """

    def __init__(
        self,
        condition_channels: int,
        hidden: int = 64,
        multipliers: tuple[int, ...] = (1, 2, 3, 4),
        scale: int = 4,
    ):
        super().__init__()
        if hidden < 4 or hidden % 2:
            raise ValueError(f"hidden must be even and at least 4, not {hidden}")
        if not multipliers or multipliers[0] != 1:
            raise ValueError(f"multipliers must begin with 1, but are {multipliers}")
        if scale % 2:
            raise ValueError(f"scale must be even, not {scale}")
        self.hidden = hidden
        self.multiple = 2 ** (len(multipliers) - 1)
        channels = [hidden * multiplier for multiplier in multipliers]
        self.cond_proj = nn.ConvTranspose2d(
            condition_channels, hidden, 2 * scale, stride=scale, padding=scale // 2
        )
        self.mlp = nn.Sequential(
            nn.Linear(hidden, 4 * hidden), nn.Mish(), nn.Linear(4 * hidden, hidden)
        )
        self.downs, self.ups = nn.ModuleList(), nn.ModuleList()
        for level, (before, here) in enumerate(zip([3, *channels[:-1]], channels, strict=True)):
            last = level == len(channels) - 1
            self.downs.append(
                nn.ModuleList(
                    [
                        ResidualBlock(before, here, hidden),
                        ResidualBlock(here, here, hidden),
                        nn.Identity() if last else Downsample(here),
                    ]
                )
            )
        self.mid_block1 = ResidualBlock(channels[-1], channels[-1], hidden)
        self.mid_block2 = ResidualBlock(channels[-1], channels[-1], hidden)
        for level in reversed(range(1, len(channels))):
            here, above = channels[level], channels[level - 1]
            self.ups.append(
                nn.ModuleList(
                    [
                        ResidualBlock(2 * here, above, hidden),
                        ResidualBlock(above, above, hidden),
                        Upsample(above),
                    ]
                )
            )
        self.final_conv = nn.Sequential(Block(hidden, hidden), nn.Conv2d(hidden, 3, 1))

    def project(self, condition: torch.Tensor) -> torch.Tensor:
        """Bring features (N, C, h, w) to (N, hidden, H, W): once for an image, not a step."""
        return self.cond_proj(condition)

    def forward(self, x_t: torch.Tensor, t: torch.Tensor, projected: torch.Tensor) -> torch.Tensor:
        """Map states (N, 3, H, W), steps (N,) and the projected condition to (N, 3, H, W).

        The condition is added after the first level's blocks: :eq:`srdiff-condition`. Raises
        ``ValueError`` for sides that the levels cannot halve.
        """
        height, width = x_t.shape[-2:]
        least = 2 * self.multiple
        if height % self.multiple or width % self.multiple or min(height, width) < least:
            raise ValueError(
                f"height and width must be divisible by {self.multiple} and at least {least}, "
                f"but are {height} x {width}"
            )
        time = self.mlp(time_embedding(t, self.hidden).to(x_t.dtype))
        x, skips = x_t, []
        for level, (first, second, down) in enumerate(self.downs):
            x = second(first(x, time), time)
            if level == 0:
                x = x + projected
            else:
                skips.append(x)
            x = down(x)
        x = self.mid_block2(self.mid_block1(x, time), time)
        for first, second, up in self.ups:
            x = torch.cat([x, skips.pop()], dim=1)
            x = up(second(first(x, time), time))
        return self.final_conv(x)
