"""One protocol by which all upscalers of the course are measured.

Chapter: *SRDiff*. The protocol is ``SR_PROTOCOL``, in words.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from ..data.degradation import crop_to_multiple, downscale, quantize
from ..data.photographs import SUFFIXES
from ..data.reading import read_image, to_tensor
from .consistency import lr_psnr
from .errors import MetricsError
from .fidelity import WINDOW, check_images, psnr, ssim
from .perceptual import PerceptualDistance
from .sharpness import gradient_ratio

if TYPE_CHECKING:
    from ..upscaling import Upscaler

SR_SAMPLES = 8
SR_PROTOCOL = (
    "Each image is cropped to multiples of the scale and shrunk by MATLAB's bicubic convention "
    "with antialiasing; the small image and what is made of it are rounded to the 256 levels of "
    "a file before anything is measured. 'psnr_y' and 'ssim_y' (Wang et al., 2004) are of the "
    "luma of BT.601, with a border of as many pixels as the scale left out; 'psnr_rgb' is of the "
    "three colours with the same border. 'lr_psnr' is the PSNR in RGB, without a border, of the "
    "result made small again against the small image: by the rounding even the original has no "
    "more than about 59 dB. 'gradient_ratio' is the mean absolute gradient of the result's luma "
    "over that of the original: below 1 it is too smooth, above 1 too rough. 'distance' is the "
    "perceptual distance that is named, where there is one. A model that draws its answer draws "
    "several for each image, with the same seeds for every image; these numbers are then means "
    "over the samples, 'psnr_y_of_mean' is the PSNR of the luma of the samples' mean, and "
    "'diversity' their standard deviation (with the number of samples less one), averaged over "
    "pixels and colours, where white is 1. All numbers are means over the images, of decibels as "
    "of the others. They can be compared with numbers from the same images alone."
)


def measure_upscaler(
    upscaler: "Upscaler",
    images: Iterable[tuple[str, Image.Image | torch.Tensor]],
    *,
    samples: int = SR_SAMPLES,
    seed: int = 0,
    steps: int | None = None,
    sampler: str | None = None,
    temperature: float | None = None,
    distance: PerceptualDistance | None = None,
    on_image: Callable[[str, dict[str, float]], None] | None = None,
) -> dict[str, Any]:
    """Shrink images, enlarge them again and compare with the originals, as in ``SR_PROTOCOL``.

    ``images`` are pairs of a name and an original, a PIL image or a tensor (1, 3, H, W) in
    [0, 1]. They are taken one after another, and so are the ``samples`` of an upscaler that
    draws its answer, with ``seed``, ``seed + 1`` and so on; others answer once. ``steps``,
    ``sampler`` and ``temperature`` are those of
    :meth:`~course_lib.upscaling.interface.Upscaler.upscale`. ``on_image`` is told the name and
    the numbers of every image.

    Returns ``mean``, the numbers of the protocol; ``images``, the same for each, with its
    ``name``; and how they came about: ``upscaler``, ``scale``, ``samples``, ``seed``, ``steps``
    and ``distance``. Raises ``MetricsError`` for no images, and for one that cannot be
    measured.
    """
    if samples < 1:
        raise MetricsError(f"samples must be at least 1, not {samples}")
    drawn = samples if upscaler.random else 1
    options = {"steps": steps, "sampler": sampler, "temperature": temperature}
    rows: list[dict[str, Any]] = []
    for name, original in images:
        hr = _original(name, original, upscaler.scale)
        lr = quantize(downscale(hr, upscaler.scale))
        sampled = (
            quantize(upscaler.upscale(lr, seed=seed + number, **options).image)
            for number in range(drawn)
        )
        numbers = _numbers(sampled, lr, hr, distance)
        rows.append({"name": name, **numbers})
        if on_image:
            on_image(name, numbers)
    if not rows:
        raise MetricsError("there are no images to measure with")
    return {
        "upscaler": upscaler.name,
        "scale": upscaler.scale,
        "samples": drawn,
        "seed": seed,
        "steps": upscaler.steps_for(steps, sampler) if upscaler.samplers else None,
        "distance": distance.name if distance else None,
        "mean": {
            key: sum(row[key] for row in rows) / len(rows) for key in rows[0] if key != "name"
        },
        "images": rows,
    }


def originals(folder: Path) -> Iterator[tuple[str, Image.Image]]:
    """Read the images of a folder one after another, by name, for :func:`measure_upscaler`.

    Subfolders are left out: sets of test images keep small versions in some. Raises
    ``MetricsError`` where there are none, and
    :class:`~course_lib.data.reading.ImageError` for one that cannot be read.
    """
    if not folder.is_dir():
        raise MetricsError(f"there is no folder {folder}")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise MetricsError(f"{folder} holds no images ({', '.join(SUFFIXES)})")
    return ((path.name, read_image(path).rgb) for path in paths)


def _original(name: str, image: Image.Image | torch.Tensor, scale: int) -> torch.Tensor:
    """Return the original (1, 3, H, W) with sides that are multiples of the scale."""
    hr = to_tensor(image.convert("RGB")) if isinstance(image, Image.Image) else image
    check_images(hr)
    least = -(-(WINDOW + 2 * scale) // scale) * scale
    if len(hr) != 1 or min(hr.shape[2:]) < least:
        raise MetricsError(
            f"{name} cannot be measured: it has shape {tuple(hr.shape)}, but one image of at "
            f"least {least} x {least} pixels is needed for a scale of {scale}"
        )
    return crop_to_multiple(hr.float(), scale)


def _numbers(
    samples: Iterable[torch.Tensor],
    lr: torch.Tensor,
    hr: torch.Tensor,
    distance: PerceptualDistance | None,
) -> dict[str, float]:
    """Measure the samples of one image; no two of them are kept."""
    scale = hr.shape[2] // lr.shape[2]
    sums: dict[str, float] = {}
    count, mean, spread = 0, torch.zeros_like(hr), torch.zeros_like(hr)
    for sr in samples:
        measured = {
            "psnr_y": psnr(sr, hr, border=scale),
            "ssim_y": ssim(sr, hr, border=scale),
            "psnr_rgb": psnr(sr, hr, border=scale, channel="rgb"),
            "lr_psnr": lr_psnr(sr, lr, scale),
            "gradient_ratio": gradient_ratio(sr, hr),
        }
        if distance:
            measured["distance"] = distance(sr, hr)
        for key, value in measured.items():
            sums[key] = sums.get(key, 0.0) + value.item()
        count += 1
        before = sr - mean
        mean += before / count
        spread += before * (sr - mean)  # Welford: sums of squares would lose small differences
    numbers = {key: total / count for key, total in sums.items()}
    if count > 1:
        numbers["psnr_y_of_mean"] = psnr(quantize(mean), hr, border=scale).item()
        numbers["diversity"] = (spread / (count - 1)).sqrt().mean().item()
    return numbers
