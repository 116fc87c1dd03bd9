"""What a run leaves: the pictures as PNG files, their spread and their measures.

Nothing here needs Streamlit. A session keeps one :class:`Result`: of 8 samples of a picture
of 256 x 256 pixels, or of 2 of 512 x 512, which is at most 25 MB and mostly a third of that.
"""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO

import numpy as np
import torch
from PIL import Image

from course_lib import data, metrics
from course_lib.upscaling import Upscaler, load
from course_lib.upscaling.latent import Conditioning
from jobs import Report
from pictures import Prepared, Source, png

MOST_SAMPLES = 8
MOST_PIXELS = MOST_SAMPLES * 256 * 256  # low-resolution pixels of all samples together
# Five colours of the map 'viridis', from the lowest value to the highest.
VIRIDIS = np.array([(68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37)])


@dataclass(frozen=True)
class Settings:
    """Everything that a result depends on; two results of the same settings are the same.

    ``picture`` tells the picture and what was taken of it; ``described`` is it in words.
    ``weights`` names those of a model that can have several; ``told`` is what a model was told
    besides the picture. What a model does not have is None.
    """

    picture: tuple
    described: str
    truth: bool
    model: str
    weights: str | None = None
    sampler: str | None = None
    steps: int | None = None
    seed: int | None = None
    samples: int = 1
    told: Conditioning | None = None


@dataclass(frozen=True)
class Spread:
    """How much samples differ: the standard deviation at each pixel, in levels of 0 to 255.

    ``map`` is a PNG in which the brightest colour stands for ``top`` levels or more.
    """

    map: bytes
    mean: float
    top: float


@dataclass(frozen=True)
class Scores:
    """How near a picture is to its original: PSNR of Y in dB, SSIM of Y, LR consistency in dB.

    ``ssim`` is None where the picture is smaller than its window.
    """

    psnr: float
    ssim: float | None
    lr_psnr: float


@dataclass(frozen=True)
class Result:
    """The pictures of a run as PNG files, all of the same ``size``, and what was measured.

    ``border`` is how many pixels at each side were not measured.
    """

    settings: Settings
    size: tuple[int, int]
    seconds: float
    before: bytes
    original: bytes | None
    samples: tuple[bytes, ...]
    spread: Spread | None
    scores: tuple[Scores, ...]
    border: int


def samples_allowed(limit: int) -> int:
    """Return how many samples a result of ``limit`` x ``limit`` pixels may have."""
    return min(MOST_SAMPLES, MOST_PIXELS // limit**2)


def complete(settings: Settings, source: Source, prepared: Prepared) -> Settings:
    """Return the settings with the picture that they are for."""
    taken = "a part of " if prepared.box else ""
    return replace(
        settings,
        picture=(source.key, prepared.box, prepared.lr.size),
        described=f"{taken}{source.name}",
        truth=prepared.hr is not None,
    )


def run(upscaler: Upscaler, settings: Settings, prepared: Prepared, report: Report) -> Result:
    """Enlarge a picture bicubically and by a model, and compare the two."""
    upscaled = upscaler.upscale(
        prepared.lr,
        sampler=settings.sampler,
        steps=settings.steps,
        seed=settings.seed,
        samples=settings.samples,
        progress=report,
        **(vars(settings.told) if settings.told else {}),
    )
    before = load("bicubic", scale=upscaler.scale).upscale(prepared.lr).image
    pictures = upscaled.images

    def file(image: Image.Image) -> bytes:
        return png(
            data.with_alpha(image, prepared.alpha, upscaler.scale) if prepared.alpha else image
        )

    return Result(
        settings,
        before.size,
        upscaled.seconds,
        file(before),
        png(prepared.hr) if prepared.hr else None,
        tuple(file(picture) for picture in pictures),
        spread_of(pictures) if len(pictures) > 1 else None,
        tuple(scores_of(prepared, before, pictures, upscaler.scale)),
        border_for(before.size, upscaler.scale),
    )


def spread_of(pictures: Sequence[Image.Image]) -> Spread:
    """Return how much pictures of one size differ, averaged over the colours."""
    total, squares = sums(pictures)
    count = len(pictures)
    variance = (squares - total * total / count).clip(min=0) / (count - 1)
    deviation = np.sqrt(variance).mean(axis=2)
    top = max(1.0, float(np.percentile(deviation, 99.5)))
    place = (deviation / top).clip(max=1) * (len(VIRIDIS) - 1)
    colours = [np.interp(place, range(len(VIRIDIS)), channel) for channel in VIRIDIS.T]
    image = Image.fromarray(np.stack(colours, axis=2).round().astype(np.uint8))
    return Spread(png(image), float(deviation.mean()), top)


def sums(pictures: Sequence[Image.Image]) -> tuple[np.ndarray, np.ndarray]:
    """Return the sums of the levels and of their squares, float32 (H, W, 3), both exact."""
    total = squares = 0
    for picture in pictures:  # one at a time: all of them as numbers would take 100 MB
        levels = np.asarray(picture, np.float32)
        total, squares = total + levels, squares + levels * levels
    return total, squares


def scores_of(
    prepared: Prepared, before: Image.Image, pictures: Sequence[Image.Image], scale: int
) -> list[Scores]:
    """Measure bicubic, the first sample and, of several, their mean; nothing without original."""
    if prepared.hr is None:
        return []
    measured = [data.to_tensor(picture) for picture in (before, pictures[0])]
    if len(pictures) > 1:
        mean = torch.from_numpy(sums(pictures)[0] / len(pictures) / 255)
        measured.append(mean.clamp(0, 1).permute(2, 0, 1)[None])
    hr, lr = data.to_tensor(prepared.hr), data.to_tensor(prepared.lr)
    return [score(sr, hr, lr, scale) for sr in measured]


def border_for(size: tuple[int, int], scale: int) -> int:
    """Return how wide a border is not measured: ``scale``, or 0 where little would be left."""
    return scale if min(size) > 2 * scale else 0


def score(sr: torch.Tensor, hr: torch.Tensor, lr: torch.Tensor, scale: int) -> Scores:
    """Measure one picture (1, 3, H, W) in [0, 1], without its border (:func:`border_for`)."""
    border = border_for(sr.shape[2:], scale)
    try:
        ssim = metrics.ssim(sr, hr, border=border).item()
    except metrics.MetricsError:  # fewer pixels than its window has
        ssim = None
    return Scores(
        metrics.psnr(sr, hr, border=border).item(),
        ssim,
        metrics.lr_psnr(sr, lr, scale).item(),
    )


def archive(names: Sequence[str], files: Sequence[bytes]) -> bytes:
    """Return a zip of files, which are PNG and not made smaller by it."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as packed:
        for name, content in zip(names, files, strict=True):
            packed.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()
