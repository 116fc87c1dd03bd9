"""How far the truth is from an enlargement, pixel by pixel: what makes residuals comparable.

Chapter: *SRDiff*. In a sky next to nothing is missing, in leaves a lot. A small head on the
encoder's features predicts the mean absolute residual of each place, so that the diffusion
can work on residuals of about the same size everywhere. Kendall and Gal (2017),
arXiv:1703.04977, fit a spread by its likelihood in the same way.
"""

import torch
import torch.nn.functional as F
from torch import nn

from ..models.unet import zeroed

START = 0.05  # of pictures in [-1, 1]; what is predicted before training
SMALLEST = 0.002  # a quarter of a level of 8 bits: less cannot be told from rounding
LARGEST = 0.15  # more is missing nowhere on average, but an exponential may well say so


class SpreadHead(nn.Module):
    """Predict mean absolute residuals (N, 1, H, W) from features (N, channels, h, w)."""

    def __init__(self, channels: int, *, hidden: int, scale: int):
        super().__init__()
        self.scale = scale
        self.conv1 = nn.Conv2d(channels, hidden, 3, padding=1)
        self.conv2 = zeroed(nn.Conv2d(hidden, 1, 3, padding=1))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return what is expected: positive, smooth, the same for all colours."""
        logarithm = self.conv2(F.silu(self.conv1(features))).float()
        spread = START * F.interpolate(logarithm, scale_factor=self.scale, mode="bilinear").exp()
        return spread.clamp(SMALLEST, LARGEST)


def spread_loss(residual: torch.Tensor, spread: torch.Tensor) -> torch.Tensor:
    """Return :eq:`srdiff-spread` for residuals (N, 3, H, W): a scalar.

    It is the mean negative log-likelihood of Laplace's density with mean 0, without log 2,
    and least where the spread is the mean absolute residual.
    """
    return (residual.abs() / spread + spread.log()).mean()
