"""How near an upscaled image is to the original, pixel by pixel and window by window.

Chapter: *The super-resolution problem*. Sources: ITU-R BT.601 for the luma; Wang et al.
(2004), doi:10.1109/TIP.2003.819861, for SSIM. Images are RGB, float (N, 3, H, W) in [0, 1].
All is computed on the CPU in double precision.

A number means little without its protocol: which channel, how wide a border is left out, and
how the small image was made. Papers mostly take the luma and leave out ``scale`` pixels.
"""

import torch
import torch.nn.functional as F

from .errors import MetricsError

CHANNELS = ("y", "rgb")
WINDOW, SIGMA = 11, 1.5  # pixels
K1, K2 = 0.01, 0.03


def luma(images: torch.Tensor) -> torch.Tensor:
    """Return the luma Y of BT.601, (N, 1, H, W), float64: :eq:`sr-luma`.

    It is that of the studio range, as in MATLAB's ``rgb2ycbcr``: black is 16 / 255, white
    235 / 255. Differences of Y are therefore smaller by 219 / 255 than those of a grey
    image, which alone is worth 1.32 dB. Unlike on 8-bit images in MATLAB, nothing is rounded.
    Raises ``MetricsError`` for anything but RGB images in [0, 1].
    """
    check_images(images)
    red, green, blue = images.detach().to("cpu", torch.float64).unbind(1)
    return ((16 + 65.481 * red + 128.553 * green + 24.966 * blue) / 255)[:, None]


def psnr(
    sr: torch.Tensor, hr: torch.Tensor, *, border: int = 0, channel: str = "y"
) -> torch.Tensor:
    """Return the peak signal-to-noise ratio in dB, (N,), float64: :eq:`sr-psnr`.

    The peak is 1 for either ``channel``, 'y' (:func:`luma`) or 'rgb' (the mean squared error
    over all three). ``border`` pixels at every side are left out. Equal images have an
    infinite ratio. Raises ``MetricsError`` for shapes that differ, anything but RGB images
    in [0, 1], an unknown channel, or a border that leaves nothing.
    """
    sr, hr = _compared(sr, hr, border, channel)
    return -10 * (sr - hr).square().mean((1, 2, 3)).log10()


def ssim(
    sr: torch.Tensor, hr: torch.Tensor, *, border: int = 0, channel: str = "y"
) -> torch.Tensor:
    """Return the structural similarity, at most 1, (N,), float64: :eq:`sr-ssim`.

    As Wang et al. (2004) have it: means, variances and covariance are weighted by a Gaussian
    window of 11 x 11 pixels with standard deviation 1.5, K1 = 0.01, K2 = 0.03 and a dynamic
    range of 1, and the mean is taken over the windows that lie wholly within the image.
    Images are not shrunk beforehand. With ``channel='rgb'`` it is the mean over the three.
    ``border`` and errors are as in :func:`psnr`; a side shorter than the window is one too.
    """
    sr, hr = _compared(sr, hr, border, channel)
    if min(sr.shape[2:]) < WINDOW:
        raise MetricsError(
            f"SSIM needs at least {WINDOW} x {WINDOW} pixels within the border, but there are "
            f"{sr.shape[2]} x {sr.shape[3]}"
        )
    mean_a, mean_b = _windowed(sr), _windowed(hr)
    variance_a = _windowed(sr * sr) - mean_a.square()
    variance_b = _windowed(hr * hr) - mean_b.square()
    covariance = _windowed(sr * hr) - mean_a * mean_b
    c1, c2 = K1**2, K2**2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a.square() + mean_b.square() + c1)
    structure = (2 * covariance + c2) / (variance_a + variance_b + c2)
    return (luminance * structure).mean((1, 2, 3))


def check_images(images: torch.Tensor) -> None:
    """Raise ``MetricsError`` unless these are RGB images (N, 3, H, W), float, in [0, 1]."""
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise MetricsError(
            "images must be floating-point RGB of shape (N, 3, H, W), but these are "
            f"{images.dtype} of shape {tuple(images.shape)}"
        )
    if not images.numel():
        raise MetricsError(f"images of shape {tuple(images.shape)} hold no pixels")
    if not (images.min() >= 0 and images.max() <= 1):  # so written, it refuses NaN too
        raise MetricsError(
            f"images must be in [0, 1], but these reach from {images.min():.8g} to "
            f"{images.max():.8g}: clamp them, or divide 8-bit values by 255"
        )


def check_pair(sr: torch.Tensor, hr: torch.Tensor) -> None:
    """Raise ``MetricsError`` unless both are images as above, and of one shape."""
    check_images(sr)
    check_images(hr)
    if sr.shape != hr.shape:
        raise MetricsError(
            f"images of shapes {tuple(sr.shape)} and {tuple(hr.shape)} cannot be compared"
        )


def _compared(
    sr: torch.Tensor, hr: torch.Tensor, border: int, channel: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the channels to compare, without the border, in double precision."""
    check_pair(sr, hr)
    if channel not in CHANNELS:
        raise MetricsError(f"unknown channel {channel!r}; known: {', '.join(CHANNELS)}")
    height, width = sr.shape[2:]
    if not 0 <= border < min(height, width) / 2:
        raise MetricsError(
            f"a border of {border} pixels cannot be taken off {height} x {width} pixels"
        )
    inner = (..., slice(border, height - border), slice(border, width - border))
    if channel == "y":
        return luma(sr)[inner], luma(hr)[inner]
    return tuple(images.detach().to("cpu", torch.float64)[inner] for images in (sr, hr))


def _windowed(values: torch.Tensor) -> torch.Tensor:
    """Return the mean of every whole window, (N, C, H - 10, W - 10), by rows, then columns."""
    offsets = torch.arange(WINDOW, dtype=values.dtype) - WINDOW // 2
    weights = torch.exp(-(offsets**2) / (2 * SIGMA**2))
    weights = weights / weights.sum()
    single = values.flatten(0, 1)[:, None]
    rows = F.conv2d(single, weights.view(1, 1, 1, -1))
    return F.conv2d(rows, weights.view(1, 1, -1, 1)).unflatten(0, values.shape[:2])[:, :, 0]
