"""How sharp an image is, without asking whether it is right.

Chapter: *The super-resolution problem*. A regression model's images are smoother than real
ones, noisy images rougher; both show here, where PSNR is blind to it. Images are RGB, float
(N, 3, H, W) in [0, 1]; what is measured is their luma.
"""

import torch

from .errors import MetricsError
from .fidelity import check_images, luma


def mean_gradient(images: torch.Tensor) -> torch.Tensor:
    """Return the mean absolute difference of neighbouring pixels, (N,): :eq:`sr-gradient`.

    It is the mean of two means, across and down, each over all pairs of neighbours. Raises
    ``MetricsError`` for anything but RGB images in [0, 1] of at least 2 x 2 pixels.
    """
    check_images(images)
    if min(images.shape[2:]) < 2:
        raise MetricsError(f"images of shape {tuple(images.shape)} have pixels without neighbours")
    y = luma(images)
    return (y.diff(dim=3).abs().mean((1, 2, 3)) + y.diff(dim=2).abs().mean((1, 2, 3))) / 2


def gradient_ratio(sr: torch.Tensor, hr: torch.Tensor) -> torch.Tensor:
    """Return how many times the mean gradient of ``hr`` that of ``sr`` is, (N,).

    Below 1 ``sr`` is smoother, above 1 rougher. Where ``hr`` is of one colour, the ratio is
    infinite, or NaN if ``sr`` is too.
    """
    return mean_gradient(sr) / mean_gradient(hr)


def radial_spectrum(images: torch.Tensor, bins: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return frequencies (bins,) and the power of the luma at them (N, bins), float64.

    Frequencies are in cycles per pixel, the centres of rings of equal width in (0, 1/2]; the
    corners of the spectrum beyond 1/2 are left out. The mean is taken off and a Hann window
    laid over the image, as else its edges would leak into all frequencies. The power is that of
    a unit of area, so that white noise has its variance at every frequency, whatever the size.
    Raises ``MetricsError`` for more ``bins`` than half the shorter side, whose rings would
    be empty.
    """
    y = luma(images)[:, 0]
    height, width = y.shape[1:]
    if not 1 <= bins <= min(height, width) // 2:
        raise MetricsError(
            f"{height} x {width} pixels have a spectrum of 1 to {min(height, width) // 2} bins, "
            f"not {bins}"
        )
    window = torch.outer(*(torch.hann_window(side, dtype=y.dtype) for side in (height, width)))
    mean = (window * y).sum((1, 2), keepdim=True) / window.sum()
    power = torch.fft.fft2(window * (y - mean)).abs().square() / window.square().sum()
    down, across = (torch.fft.fftfreq(side, dtype=y.dtype) for side in (height, width))
    radius = torch.hypot(down[:, None], across[None, :])
    ring = (radius * 2 * bins - 1e-9).ceil().long() - 1  # -1 for the mean, which is in no ring
    inside = (ring >= 0) & (ring < bins)
    count = torch.bincount(ring[inside], minlength=bins)
    total = y.new_zeros(len(y), bins).index_add_(1, ring[inside], power[:, inside])
    return (torch.arange(bins, dtype=y.dtype) + 0.5) / (2 * bins), total / count
