"""Does the upscaled image, made small again, give the image that it came from?

Chapter: *The super-resolution problem*. Many sharp images share one small image; a good
upscaler may choose among them, but has to choose one of them.
"""

import torch

from ..data.degradation import downscale
from .errors import MetricsError
from .fidelity import check_images, psnr


def lr_psnr(sr: torch.Tensor, lr: torch.Tensor, scale: int) -> torch.Tensor:
    """Return the RGB PSNR of ``downscale(sr)`` against ``lr`` in dB, (N,): :eq:`sr-consistency`.

    ``sr`` is (N, 3, scale h, scale w) and ``lr`` (N, 3, h, w), RGB in [0, 1]; ``lr`` has to be
    made by the same :func:`~course_lib.data.degradation.downscale`, which clips to [0, 1].
    Neither is rounded here: an ``lr`` that was rounded to 256 levels keeps even the true image
    at about 59 dB. Raises ``MetricsError`` where the shapes do not fit.
    """
    check_images(sr)
    check_images(lr)
    expected = (*lr.shape[:2], *(scale * side for side in lr.shape[2:]))
    if tuple(sr.shape) != expected:
        raise MetricsError(
            f"an image of shape {tuple(lr.shape)}, upscaled by {scale}, has shape {expected}, "
            f"not {tuple(sr.shape)}"
        )
    return psnr(downscale(sr, scale), lr, channel="rgb")
