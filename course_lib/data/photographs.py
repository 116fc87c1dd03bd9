"""Photographs to train super-resolution on: pairs of patches, low and high resolution."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from .small import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
HELD_OUT_EVERY = 10


def photographs(folder: str | Path, *, split: str = "train") -> list[Path]:
    """Return the photographs of a folder and its subfolders, sorted by name.

    Every tenth is held out: it belongs to ``split='test'``, the others to 'train'. Raises
    :class:`~course_lib.data.small.DataError` where there are too few for both.
    """
    if split not in ("train", "test"):
        raise ValueError(f"unknown split {split!r}; known: train, test")
    folder = Path(folder)
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if len(found) < 2:
        raise DataError(
            f"{folder} holds {len(found)} photographs; at least 2 are needed, one to learn from "
            f"and one to measure on ({', '.join(SUFFIXES)})"
        )
    held_out = found[::-HELD_OUT_EVERY][::-1] if len(found) > HELD_OUT_EVERY else found[-1:]
    return held_out if split == "test" else [p for p in found if p not in held_out]


def opened(path: Path) -> Image.Image:
    """Return a photograph in mode RGB.

    Raises :class:`~course_lib.data.small.DataError` where its file is damaged or is none.
    """
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises for damaged files
        raise DataError(f"{path} cannot be read as a photograph ({error})") from error


def pair(image: Image.Image, scale: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return an image as uint8 (3, H, W), shrunk and whole, cropped to multiples of ``scale``.

    It is shrunk by Pillow's antialiased bicubic filter and rounded to 256 levels.
    """
    width, height = (side // scale for side in image.size)
    image = image.convert("RGB").crop((0, 0, width * scale, height * scale))
    shrunk = image.resize((width, height), Image.Resampling.BICUBIC)
    low, high = (
        torch.from_numpy(np.array(each)).permute(2, 0, 1).contiguous() for each in (shrunk, image)
    )
    return low, high


class PhotoPatches:
    """Training pairs (lr, hr) of patches, float32 in [0, 1], for the training loop.

    ``patches[indices]`` returns lr (N, 3, size, size) and hr (N, 3, scale size, scale size).
    Each photograph is used at its own size and at half of it, which is sharper pixel by
    pixel; patches start at every eighth low-resolution pixel; the ``keep`` share with most
    detail is kept, since a flat patch teaches little; each occurs in its eight
    orientations. Raises :class:`~course_lib.data.small.DataError` where no photograph is
    large enough, and where one cannot be read.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        scale: int = 4,
        size: int = 32,
        keep: float = 0.6,
        stride: int = 8,
        zooms: tuple[float, ...] = (1.0, 0.5),
    ):
        self.scale, self.size = scale, size
        self.pairs: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.sources: list[Path] = []  # the photograph of each pair
        places, details = [], []
        for path in paths:
            photograph = opened(path)
            for zoom in zooms:
                sides = tuple(round(side * zoom) for side in photograph.size)
                if min(sides) < scale * size:
                    continue
                low, high = pair(photograph.resize(sides, Image.Resampling.BICUBIC), scale)
                found = detail(high, window=scale * size, stride=scale * stride)
                rows, columns = found.shape
                grid = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)) * stride
                number = torch.full((len(grid), 1), len(self.pairs))
                places.append(torch.cat([number, grid], dim=1))
                details.append(found.flatten())
                self.pairs.append((low, high))
                self.sources.append(path)
        if not self.pairs:
            side = scale * size
            raise DataError(f"none of the {len(paths)} photographs has {side} x {side} pixels")
        order = torch.cat(details).argsort(descending=True, stable=True)
        self.places = torch.cat(places)[order[: max(1, round(keep * len(order)))]]

    def __len__(self) -> int:
        return 8 * len(self.places)

    def __getitem__(self, indices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        lows, highs = zip(*[self._patch(*divmod(int(i), 8)) for i in indices], strict=True)
        return tuple(
            torch.stack(patches).float().div_(255).contiguous(memory_format=torch.channels_last)
            for patches in (lows, highs)
        )

    def _patch(self, place: int, orientation: int) -> list[torch.Tensor]:
        number, row, column = self.places[place].tolist()
        patches = []
        for image, factor in zip(self.pairs[number], (1, self.scale), strict=True):
            top, left, side = factor * row, factor * column, factor * self.size
            patch = image[:, top : top + side, left : left + side]
            if orientation >= 4:
                patch = patch.transpose(1, 2)
            patches.append(torch.rot90(patch, orientation % 4, (1, 2)))
        return patches


def detail(image: torch.Tensor, *, window: int, stride: int) -> torch.Tensor:
    """Return how much fine detail the windows of a uint8 image (3, H, W) hold.

    It is the mean squared difference of the image's grey values from their mean over 5 x 5
    pixels, for windows that start at every ``stride``-th pixel.
    """
    grey = image.float().mean(0, keepdim=True) / 255
    smooth = F.avg_pool2d(grey, 5, stride=1, padding=2, count_include_pad=False)
    return F.avg_pool2d((grey - smooth).square(), window, stride=stride)[0]


def licences(folder: str | Path) -> str:
    """Return the licences that a folder's SOURCES.csv names, or that none are named."""
    sources = Path(folder) / "SOURCES.csv"
    if not sources.is_file():
        return "as stated by the photographs' owners"
    with sources.open(newline="", encoding="utf-8") as file:
        return ", ".join(sorted({row["licence"] for row in csv.DictReader(file)}))
