"""The classifier of Fashion-MNIST in whose features generated images are measured.

Chapter: *Comparison*. Heusel et al. (2017), arXiv:1706.08500, measure in the features of an
Inception network, which has learnt from photographs; ours has learnt from the very kind of
images that the models of this course draw.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

MEAN, STD = 0.286, 0.353  # of the pixels of Fashion-MNIST's training images
SHIFT = 2  # pixels, the largest shift that training images undergo


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig:
    """``channels`` are those of the four convolutions, ``feature_dim`` is the features' number."""

    channels: tuple[int, int, int, int] = (32, 40, 48, 64)
    feature_dim: int = 64
    classes: int = 10


class Classifier(nn.Module):
    """Images (N, 1, 28, 28) in [0, 1] to the logits of ten classes.

    Four convolutions, then a linear layer to the features, and another to the logits. The
    norms are group norms: unlike batch norms they carry no running averages, so that what
    is averaged and rounded for shipping is the weights alone.
    """

    def __init__(self, config: ClassifierConfig | None = None):
        super().__init__()
        self.config = config = config or ClassifierConfig()
        first, second, third, fourth = config.channels
        self.trunk = nn.Sequential(
            *_convolution(1, first),
            nn.MaxPool2d(2),  # 14 x 14
            *_convolution(first, second),
            nn.MaxPool2d(2),  # 7 x 7
            *_convolution(second, third),
            *_convolution(third, fourth),
            nn.AvgPool2d(2, ceil_mode=True),  # 4 x 4
            nn.Flatten(),
            nn.Linear(fourth * 4 * 4, config.feature_dim),
            nn.SiLU(),
        )
        self.head = nn.Linear(config.feature_dim, config.classes)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Return the penultimate features (N, feature_dim), after their nonlinearity.

        That is all that the logits are made of: before it, features would also differ by
        large negative values, which the nonlinearity takes away and no class depends on.
        They are skewed, not Gaussian; a Fréchet distance compares their means and covariances.
        """
        return self.trunk((images - MEAN) / STD)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits (N, classes)."""
        return self.head(self.features(images))

    def loss(
        self,
        batch: tuple[torch.Tensor, torch.Tensor],
        *,
        generator: torch.Generator | None = None,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return the cross-entropy in nats, mean over the batch, of shifted images.

        ``batch`` is (images, labels) with labels (N,), int64, as ``TensorDataset`` gives it.
        """
        images, labels = batch
        logits = self(shifted(images, generator=generator))
        accuracy = (logits.detach().argmax(1) == labels).float().mean()
        return F.cross_entropy(logits, labels), {"accuracy": accuracy}


def shifted(images: torch.Tensor, *, generator: torch.Generator | None = None) -> torch.Tensor:
    """Move every image (N, 1, H, W) by up to ``SHIFT`` pixels down and across, black coming in."""
    count, _, height, width = images.shape
    device = generator.device if generator is not None else images.device
    offsets = torch.randint(0, 2 * SHIFT + 1, (2, count, 1), generator=generator, device=device)
    down, across = offsets.to(images.device)
    rows = down + torch.arange(height, device=images.device)
    columns = across + torch.arange(width, device=images.device)
    which = torch.arange(count, device=images.device)[:, None, None]
    padded = F.pad(images[:, 0], (SHIFT, SHIFT, SHIFT, SHIFT))
    return padded[which, rows[:, :, None], columns[:, None, :]][:, None]


def _convolution(channels: int, out_channels: int) -> list[nn.Module]:
    return [
        nn.Conv2d(channels, out_channels, 3, padding=1),
        nn.GroupNorm(8, out_channels),
        nn.SiLU(),
    ]
