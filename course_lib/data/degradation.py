"""How a low-resolution image comes about: bicubic resizing as in MATLAB, noise, JPEG.

Chapter: *The super-resolution problem*. Sources: Keys (1981), "Cubic convolution
interpolation for digital image processing", for the kernel; the conventions of MATLAB's
imresize, by which the field makes its low-resolution images, for the rest: pixel centres at
half-integers, the kernel stretched when an image shrinks, the image mirrored at its edges.

Images are floating point (N, C, H, W) in [0, 1]; all but JPEG is differentiable.
"""

import math
from functools import lru_cache
from io import BytesIO

import numpy as np
import torch
from PIL import Image

from ..noise import standard_normal

_BLOCK = 32  # rows of a result computed by one matrix product


def bicubic_kernel(x: torch.Tensor, a: float = -0.5) -> torch.Tensor:
    """Return Keys' cubic kernel at distances ``x``, in pixels, of any shape: :eq:`sr-kernel`.

    It is 1 at 0, and 0 at all other whole numbers and beyond 2. ``a`` is its slope at 1; with
    -1/2 it reproduces quadratic functions. OpenCV and PyTorch without antialiasing take -3/4.
    """
    x = x.abs()
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = a * (((x - 5) * x + 8) * x - 4)
    return torch.where(x <= 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


def resize_weights(inputs: int, outputs: int, antialias: bool = True) -> torch.Tensor:
    """Return what each input pixel adds to each output pixel of a line: :eq:`sr-antialias`.

    The result is float64 (outputs, inputs) with rows that sum to 1. ``antialias`` stretches
    the kernel by the factor when the line shrinks, so that every pixel counts. The line is
    mirrored at its ends, the last pixel repeated.
    """
    weights = torch.zeros(outputs, inputs, dtype=torch.float64)
    places, values = _taps(inputs, outputs, antialias)
    return weights.scatter_add_(1, places, values)


def resize(
    images: torch.Tensor, height: int, width: int, *, antialias: bool = True
) -> torch.Tensor:
    """Resize images (N, C, H, W) of any range to (N, C, height, width), one side at a time.

    The side that shrinks most comes first, as in MATLAB. The result has the images' type and
    is not clipped: a cubic kernel overshoots at edges. Weights are :func:`resize_weights`.
    """
    _check_images(images)
    _check_count("height", height)
    _check_count("width", width)
    # Half precision would lose the weights' last bits.
    result = images.float() if images.dtype in (torch.float16, torch.bfloat16) else images
    for dimension, size in _in_order(images, height, width):
        result = _resize_side(result, dimension, size, antialias)
    return result.to(images.dtype)


def downscale(hr: torch.Tensor, scale: int, *, clip: bool = True) -> torch.Tensor:
    """Shrink images by a whole factor with antialiasing, by default clipped to [0, 1].

    Raises ``ValueError`` unless both sides are multiples of ``scale``.
    """
    _check_images(hr)
    _check_count("scale", scale)
    height, width = hr.shape[2:]
    if height % scale or width % scale:
        raise ValueError(
            f"sides of {height} and {width} are not multiples of {scale}: "
            f"crop first, with crop_to_multiple(images, {scale})"
        )
    lr = resize(hr, height // scale, width // scale)
    return lr.clamp(0, 1) if clip else lr


def upscale(lr: torch.Tensor, scale: int, *, clip: bool = False) -> torch.Tensor:
    """Enlarge images by a whole factor, bicubically; clipped to [0, 1] only where asked."""
    _check_images(lr)
    _check_count("scale", scale)
    sr = resize(lr, scale * lr.shape[2], scale * lr.shape[3])
    return sr.clamp(0, 1) if clip else sr


def crop_to_multiple(images: torch.Tensor, scale: int) -> torch.Tensor:
    """Cut rows below and columns to the right until both sides are multiples of ``scale``."""
    _check_images(images)
    _check_count("scale", scale)
    height, width = (side - side % scale for side in images.shape[2:])
    if not (height and width):
        raise ValueError(
            f"images of {images.shape[2]} x {images.shape[3]} are too small: "
            f"both sides must be at least {scale}"
        )
    return images[:, :, :height, :width]


def quantize(images: torch.Tensor) -> torch.Tensor:
    """Clip to [0, 1] and round to the 256 levels of an 8-bit file; the gradient is 0."""
    _check_images(images)
    return images.clamp(0, 1).mul(255).round().div(255)


def matlab_uint8(levels: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Resize 8-bit images as MATLAB does, rounding to 8 bits after each side.

    ``levels`` is uint8 (N, C, H, W), as is the result. This is how the authors of SRDiff make
    their low-resolution images. They enlarge these without rounding, and as if white were
    256: ``upscale(lr_levels.double() / 256, 4)``.
    """
    if levels.dtype != torch.uint8:
        raise ValueError(f"expected are 8-bit levels (torch.uint8), not {levels.dtype}")
    result = levels.double()
    _check_images(result)
    _check_count("height", height)
    _check_count("width", width)
    for dimension, size in _in_order(levels, height, width):
        result = _resize_side(result, dimension, size, antialias=True)
        result = (result + 0.5).floor().clamp(0, 255)
    return result.to(torch.uint8)


def degrade(
    hr: torch.Tensor,
    *,
    scale: int = 4,
    noise: float = 0.0,
    jpeg: int | None = None,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Make low-resolution images: shrink, add noise, compress: :eq:`sr-degradation`.

    ``noise`` is the standard deviation of Gaussian noise, in the images' unit; ``jpeg`` a
    quality from 1 to 95 or None, for images of one channel or three. The result (N, C, H/scale,
    W/scale) is clipped to [0, 1]; only JPEG rounds it to 8 bits, and gives no gradient.
    """
    if not (math.isfinite(noise) and noise >= 0):
        raise ValueError(f"noise is a standard deviation of at least 0, not {noise!r}")
    if jpeg is not None and not (type(jpeg) is int and 1 <= jpeg <= 95):
        raise ValueError(f"jpeg is a quality from 1 to 95, or None, not {jpeg!r}")
    lr = downscale(hr, scale)
    if noise:
        lr = (lr + noise * standard_normal(*lr.shape, like=lr, generator=generator)).clamp(0, 1)
    if jpeg is not None:
        lr = _through_jpeg(lr, jpeg)
    return lr


def _through_jpeg(images: torch.Tensor, quality: int) -> torch.Tensor:
    """Write and read images by Pillow, with its default halved colour resolution (4:2:0)."""
    channels = images.shape[1]
    if channels not in (1, 3):
        raise ValueError(f"JPEG takes one channel or three, not {channels}")
    levels = images.detach().clamp(0, 1).mul(255).round().to(torch.uint8).cpu()
    result = torch.empty_like(levels)
    for before, after in zip(levels, result, strict=True):
        picture = before[0] if channels == 1 else before.permute(1, 2, 0)
        file = BytesIO()
        Image.fromarray(picture.numpy()).save(file, "JPEG", quality=quality)
        picture = torch.from_numpy(np.array(Image.open(file, formats=("JPEG",))))
        after.copy_(picture if channels == 1 else picture.permute(2, 0, 1))
    return result.to(images).div(255)


def _taps(inputs: int, outputs: int, antialias: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Return which input pixels an output pixel sees, and their weights: both (outputs, taps)."""
    _check_count("inputs", inputs)
    _check_count("outputs", outputs)
    step = inputs / outputs
    stretch = max(step, 1.0) if antialias else 1.0
    centre = (torch.arange(outputs, dtype=torch.float64)[:, None] + 0.5) * step - 0.5
    first = (centre - 2 * stretch).floor()
    places = first + torch.arange(math.ceil(4 * stretch) + 2)
    values = bicubic_kernel((centre - places) / stretch)
    values = values / values.sum(1, keepdim=True)
    # 0 1 2 goes on as 2 1 0 0 1 2 2 1 0 on either side.
    places = places.long() % (2 * inputs)
    return torch.minimum(places, 2 * inputs - 1 - places), values


@lru_cache(maxsize=64)
def _blocks(inputs: int, outputs: int, antialias: bool) -> tuple[tuple[int, int, np.ndarray], ...]:
    """Cut :func:`resize_weights` into blocks of rows, without the columns that are 0.

    Each is (first column, last column + 1, weights). They are kept as arrays because a tensor
    made in inference mode would be of no use in training.
    """
    blocks = []
    for places, values in zip(
        *(part.split(_BLOCK) for part in _taps(inputs, outputs, antialias)), strict=True
    ):
        seen = places[values != 0]
        start, stop = int(seen.min()), int(seen.max()) + 1
        weights = torch.zeros(len(places), stop - start, dtype=torch.float64)
        places = (places - start).clamp(0, stop - start - 1)  # what is clamped has weight 0
        blocks.append((start, stop, weights.scatter_add_(1, places, values).numpy()))
    return tuple(blocks)


def _resize_side(images: torch.Tensor, dimension: int, size: int, antialias: bool) -> torch.Tensor:
    """Multiply by the weights along one dimension, 2 (height) or 3 (width)."""
    before = images.shape[dimension]
    if before == size:
        return images
    parts = []
    for start, stop, block in _blocks(before, size, antialias):
        weights = torch.from_numpy(block).to(images.dtype).to(images.device)
        part = images.narrow(dimension, start, stop - start)
        parts.append(weights @ part if dimension == 2 else part @ weights.T)
    return torch.cat(parts, dimension)


def _in_order(images: torch.Tensor, height: int, width: int) -> list[tuple[int, int]]:
    """Return (dimension, new size) for both sides, the one with the smaller factor first."""
    sides = [(2, height), (3, width)]
    return sorted(sides, key=lambda side: side[1] / images.shape[side[0]])


def _check_images(images: torch.Tensor) -> None:
    if images.ndim != 4 or 0 in images.shape[2:]:
        raise ValueError(f"images are (N, C, H, W) with pixels, not {tuple(images.shape)}")
    if not images.is_floating_point():
        raise ValueError(f"images are floating point in [0, 1], not {images.dtype}")


def _check_count(name: str, value: int) -> None:
    if type(value) is not int or value < 1:
        raise ValueError(f"{name} is a whole number of at least 1, not {value!r}")
