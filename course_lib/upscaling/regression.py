"""The regression model: one network, one answer, the mean of all that would fit.

Chapter: *The super-resolution problem*. A residual network in the manner of Lim et al. (2017),
arXiv:1707.02921 (EDSR: no normalisation, pixel shuffle at the end), of which half the work is
done at half the resolution, where it is four times cheaper and sees twice as far. It is also
the encoder of the embedded SRDiff.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import nn

from ..models.blocks import from_network, to_network
from ..models.unet import zeroed


@dataclass(frozen=True, kw_only=True)
class RegressionConfig:
    """``blocks`` residual blocks of ``channels`` on either side of ``inner_blocks`` of
    ``inner_channels``, which work at half the low resolution."""

    scale: int = 4
    channels: int = 48
    blocks: int = 3
    inner_channels: int = 96
    inner_blocks: int = 6


class ResidualConvolutions(nn.Module):
    """Two convolutions around a ReLU, added to their input; starts as the identity."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = zeroed(nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C, H, W) to the same shape."""
        return x + self.conv2(F.relu(self.conv1(x)))


class ResidualSR(nn.Module):
    """Map low-resolution images (N, 3, H, W) in [0, 1] to (N, 3, scale H, scale W).

    The network adds to a bicubic enlargement, so that before training it is one.
    """

    def __init__(self, config: RegressionConfig | None = None):
        super().__init__()
        self.config = config = config or RegressionConfig()
        channels, inner = config.channels, config.inner_channels

        def blocks(count: int, width: int) -> nn.Sequential:
            return nn.Sequential(*[ResidualConvolutions(width) for _ in range(count)])

        self.first = nn.Conv2d(3, channels, 3, padding=1)
        self.before = blocks(config.blocks, channels)
        self.shrink = nn.Conv2d(channels, inner, 3, stride=2, padding=1)
        self.inner = blocks(config.inner_blocks, inner)
        self.grow = zeroed(nn.Conv2d(inner, 4 * channels, 1))
        self.after = blocks(config.blocks, channels)
        self.last = zeroed(nn.Conv2d(channels, 3 * config.scale**2, 3, padding=1))

    @classmethod
    def grown(cls, smaller: "ResidualSR", config: RegressionConfig) -> "ResidualSR":
        """Return a deeper network that at first computes the same as ``smaller``.

        The blocks that it has more are identities until they are trained. Raises
        ``ValueError`` unless it differs in its numbers of blocks alone, and has no fewer.
        """
        old, counts = smaller.config, ("blocks", "inner_blocks")
        more = {name: getattr(config, name) for name in counts}
        if replace(old, **more) != config or any(more[n] < getattr(old, n) for n in counts):
            raise ValueError(f"a network of {old} cannot grow into one of {config}")
        model = cls(config)
        model.load_state_dict(model.state_dict() | smaller.state_dict())
        return model

    @property
    def condition_channels(self) -> int:
        """How many channels the condition of :meth:`forward_with_condition` has."""
        return self.config.channels

    def forward_with_condition(self, lr: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Map ``lr`` in [-1, 1] to its enlargement in [-1, 1] and to the features behind it.

        The features (N, channels, H, W) are at the low resolution. Sides that are odd are
        extended by their last row or column on the way.
        """
        height, width = lr.shape[2:]
        padded = F.pad(lr, (0, width % 2, 0, height % 2), mode="replicate")
        h = self.before(self.first(padded))
        h = h + F.pixel_shuffle(self.grow(self.inner(self.shrink(h))), 2)
        features = self.after(h)[:, :, :height, :width]
        enlarged = F.interpolate(lr, scale_factor=self.config.scale, mode="bicubic")
        return enlarged + F.pixel_shuffle(self.last(features), self.config.scale), features

    def forward(self, lr: torch.Tensor) -> torch.Tensor:
        """Return the enlargement, not clipped."""
        return from_network(self.forward_with_condition(to_network(lr))[0])

    def loss(
        self,
        batch: tuple[torch.Tensor, torch.Tensor],
        *,
        generator: torch.Generator | None = None,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return :eq:`sr-regression`, the mean absolute error of a batch (lr, hr)."""
        lr, hr = batch
        return (self(lr) - hr).abs().mean(), {}
