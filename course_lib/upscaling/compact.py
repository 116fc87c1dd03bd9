"""The denoiser of the embedded SRDiff: a U-Net that works at the low resolution.

Chapter: *SRDiff*. It differs from the paper's U-Net so that a laptop's processor can run it:
each block of fold x fold pixels is folded into channels before the first convolution, the
condition enters at the start, the time scales and shifts the features (Perez et al., 2018,
arXiv:1709.07871), and the way up adds what the way down kept instead of stacking it. What it
predicts is the residual itself, as a gain times the state plus a correction: where nothing can
be missing, a gain of 0 suffices, and no noise has to find its way through the network. Like
the paper's it has no normalisation, so what it makes of a pixel depends on its surroundings
only and an image can be worked on in tiles.
"""

import itertools

import torch
import torch.nn.functional as F
from torch import nn

from ..models.unet import time_embedding, zeroed


class ModulatedBlock(nn.Module):
    """Two convolutions added to their input; the time scales and shifts what is between."""

    def __init__(self, channels: int, time_dim: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.time = nn.Linear(time_dim, 2 * channels)
        self.conv2 = zeroed(nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        """Map (N, C, H, W) and (N, time_dim) to (N, C, H, W)."""
        scale, shift = self.time(time)[:, :, None, None].chunk(2, dim=1)
        return x + self.conv2(F.silu(self.conv1(x) * (1 + scale) + shift))


class CompactUNet(nn.Module):
    """Predict x_0 (N, 3, H, W) from a state (N, 3, H, W), times (N,) and a projected condition.

    ``hidden`` times each of ``multipliers`` are the channels of the resolutions, the first of
    which is the low resolution; each has two blocks on the way down and two on the way up.
    H and W must be divisible by ``multiple``.
    """

    def __init__(
        self,
        condition_channels: int,
        *,
        hidden: int,
        multipliers: tuple[int, ...],
        fold: int,
        time_dim: int = 64,
    ):
        super().__init__()
        widths = [hidden * multiplier for multiplier in multipliers]
        self.fold, self.time_dim = fold, time_dim
        self.multiple = fold * 2 ** (len(widths) - 1)
        self.condition = nn.Conv2d(condition_channels, hidden, 3, padding=1)
        self.first = nn.Conv2d(3 * fold**2, hidden, 3, padding=1)
        self.time = nn.Sequential(nn.Linear(time_dim, time_dim), nn.SiLU())

        def blocks(width: int) -> nn.ModuleList:
            return nn.ModuleList([ModulatedBlock(width, time_dim) for _ in range(2)])

        pairs = list(itertools.pairwise(widths))
        self.down = nn.ModuleList([blocks(width) for width in widths])
        self.shrink = nn.ModuleList([nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairs])
        self.grow = nn.ModuleList([nn.Conv2d(b, 4 * a, 1) for a, b in pairs])
        self.up = nn.ModuleList([blocks(width) for width in widths])
        self.last = zeroed(nn.Conv2d(hidden, 2 * 3 * fold**2, 3, padding=1))

    def project(self, condition: torch.Tensor) -> torch.Tensor:
        """Return the condition as the network adds it, once for all steps of an image."""
        return self.condition(condition)

    def forward(self, x_t: torch.Tensor, t: torch.Tensor, projected: torch.Tensor) -> torch.Tensor:
        """Apply the network: :eq:`srdiff-condition` at its start, :eq:`srdiff-gain` at its end."""
        time = self.time(time_embedding(t, self.time_dim).to(x_t.dtype))
        folded = F.pixel_unshuffle(x_t, self.fold)
        h = self.first(folded) + projected
        kept = []
        for level, blocks in enumerate(self.down):
            if level:
                h = self.shrink[level - 1](h)
            for block in blocks:
                h = block(h, time)
            kept.append(h)
        for level in reversed(range(len(self.up))):
            if level < len(self.up) - 1:
                h = kept[level] + F.pixel_shuffle(self.grow[level](h), 2)
            for block in self.up[level]:
                h = block(h, time)
        gain, correction = self.last(h).chunk(2, dim=1)
        return F.pixel_shuffle(gain * folded + correction, self.fold)
