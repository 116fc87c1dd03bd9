"""Colours that stay those of the small image: three repairs after the sampling.

Chapter: *Stable Diffusion upscaling*. An autoencoder and a few sampling steps shift colours a
little. ``wavelet`` keeps the fine detail of the result and takes the coarse part from the small
image; ``adain`` gives each colour its mean and deviation (Huang and Belongie, 2017,
arXiv:1703.06868). Both are used for that by Wang et al. (2024), arXiv:2305.07015, from whose five
levels the default here differs, since at two the coarse part is just what the small image tells.
``back-projection`` adds what the shrunk result lacks, as SRDiff does.
Images are (N, 3, H, W) in [0, 1].
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F

from ...data.degradation import upscale as bicubic
from ..srdiff import back_project

LEVELS = 2
ROUNDS = 2  # of back projection


def coarse(images: torch.Tensor, levels: int = LEVELS) -> torch.Tensor:
    """Return images blurred ``levels`` times, each time twice as widely: :eq:`latent-wavelet`.

    The kernel is (1, 2, 1)/4 in both directions, its taps 1, 2, 4, ... pixels apart; edges are
    repeated.
    """
    tap = torch.tensor([1.0, 2.0, 1.0], dtype=images.dtype, device=images.device) / 4
    kernel = torch.outer(tap, tap).expand(images.shape[1], 1, 3, 3)
    for level in range(levels):
        apart = 2**level
        padded = F.pad(images, (apart,) * 4, mode="replicate")
        images = F.conv2d(padded, kernel, dilation=apart, groups=images.shape[1])
    return images


def wavelet(sr: torch.Tensor, lr: torch.Tensor, levels: int = LEVELS) -> torch.Tensor:
    """Return the detail of ``sr`` on the coarse part of ``lr``, enlarged bicubically."""
    reference = bicubic(lr, sr.shape[2] // lr.shape[2])
    return (sr - coarse(sr, levels) + coarse(reference, levels)).clamp(0, 1)


def adain(sr: torch.Tensor, lr: torch.Tensor) -> torch.Tensor:
    """Return ``sr`` with the mean and the deviation that each colour has in ``lr``.

    The deviation is that of the enlarged ``lr``: :eq:`latent-adain`.
    """
    reference = bicubic(lr, sr.shape[2] // lr.shape[2])
    (mean, deviation), (wanted, wanted_deviation) = (
        (x.mean((2, 3), keepdim=True), x.std((2, 3), keepdim=True)) for x in (sr, reference)
    )
    return ((sr - mean) / (deviation + 1e-6) * wanted_deviation + wanted).clamp(0, 1)


COLOR_FIXES: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "none": lambda sr, lr: sr,
    "wavelet": wavelet,
    "adain": adain,
    "back-projection": lambda sr, lr: back_project(sr, lr, sr.shape[2] // lr.shape[2], ROUNDS),
}
