"""Large images in pieces: overlapping tiles, blended so that no seam is to be seen.

Chapter: *SRDiff*. Memory for the networks depends on the tile alone, time grows with the
number of tiles.
"""

import math
from dataclasses import dataclass

import torch

from ..noise import seeded, standard_normal

ALIGNMENT = 4  # tiles start at multiples, so that strided convolutions see the same grid
BLOCK = 64


@dataclass(frozen=True)
class Tile:
    """A rectangle of a low-resolution image, in pixels."""

    top: int
    left: int
    height: int
    width: int

    def cut(self, images: torch.Tensor, scale: int = 1) -> torch.Tensor:
        """Return this part of images (N, C, H, W) that are ``scale`` times larger."""
        rows = slice(scale * self.top, scale * (self.top + self.height))
        columns = slice(scale * self.left, scale * (self.left + self.width))
        return images[..., rows, columns]


def starts(side: int, tile: int, overlap: int) -> list[int]:
    """Return where tiles begin along a side, so that neighbours share ``overlap`` or more.

    Raises ``ValueError`` unless tile and overlap are multiples of 4 and the overlap is at
    most half of the tile.
    """
    if tile < 1 or overlap < 0 or tile % ALIGNMENT or overlap % ALIGNMENT or 2 * overlap > tile:
        raise ValueError(
            f"tile and overlap must be multiples of {ALIGNMENT}, and the overlap at most half "
            f"of the tile; not {tile} and {overlap}"
        )
    if side <= tile:
        return [0]
    last = math.ceil((side - tile) / ALIGNMENT) * ALIGNMENT
    count = math.ceil(last / (tile - overlap)) + 1
    return [last * i // (count - 1) // ALIGNMENT * ALIGNMENT for i in range(count)]


def tiles(height: int, width: int, *, tile: int, overlap: int) -> list[Tile]:
    """Return tiles of at most ``tile`` x ``tile`` pixels that cover an image, row by row."""
    return [
        Tile(top, left, min(tile, height - top), min(tile, width - left))
        for top in starts(height, tile, overlap)
        for left in starts(width, tile, overlap)
    ]


def feather(length: int, ramp: int, *, rises: bool, falls: bool) -> torch.Tensor:
    """Return blending weights (length,) for one side of a tile.

    They rise from 0 to 1 and fall again within ``ramp`` pixels of those ends where there is
    a neighbour, so that two tiles that share ``ramp`` pixels have weights that sum to 1. The
    outer quarter of the ramp is 0, since there a network sees least of what is around, and
    the inner quarter is 1.
    """
    place = torch.arange(length, dtype=torch.float32) + 0.5
    weights = torch.ones(length)
    for there, distance in ((rises, place), (falls, length - place)):
        if there and ramp:
            weights = torch.minimum(weights, (2 * distance / ramp - 0.5).clamp(0, 1))
    return weights


class Canvas:
    """A large image (N, 3, H, W) to which tiles are added: :eq:`srdiff-tiles`."""

    def __init__(self, n: int, height: int, width: int, *, scale: int, overlap: int):
        self.size, self.scale, self.overlap = (height, width), scale, overlap
        self.total = torch.zeros(n, 3, scale * height, scale * width)
        self.weight = torch.zeros(scale * height, scale * width)

    def add(self, tile: Tile, images: torch.Tensor) -> None:
        """Add the enlargement (N, 3, h, w) of a tile with feathered edges."""
        height, width = self.size
        ramp = self.scale * self.overlap
        down = feather(
            images.shape[2], ramp, rises=tile.top > 0, falls=tile.top + tile.height < height
        )
        across = feather(
            images.shape[3], ramp, rises=tile.left > 0, falls=tile.left + tile.width < width
        )
        weight = down[:, None] * across
        tile.cut(self.total, self.scale).add_(images.cpu() * weight)
        tile.cut(self.weight, self.scale).add_(weight)

    def result(self) -> torch.Tensor:
        """Return the weighted mean of the tiles (which takes the canvas with it)."""
        return self.total.div_(self.weight)


class NoiseField:
    """Standard normal noise for an image of any size, the same in whatever pieces it is read.

    It is drawn block by block, each from a seed of its own made from ``seed``, the number of
    the draw and the block's place, so that no more of it need be kept than is in use.
    """

    def __init__(self, seed: int, channels: int = 3):
        self.seed, self.channels = seed, channels

    def read(self, draw: int, top: int, left: int, height: int, width: int) -> torch.Tensor:
        """Return the noise (1, channels, height, width) of a rectangle in draw ``draw``."""
        rows = range(top // BLOCK, (top + height - 1) // BLOCK + 1)
        columns = range(left // BLOCK, (left + width - 1) // BLOCK + 1)
        blocks = [
            torch.cat([self._block(draw, row, column) for column in columns], dim=3) for row in rows
        ]
        field = torch.cat(blocks, dim=2)
        top, left = top - rows.start * BLOCK, left - columns.start * BLOCK
        return field[..., top : top + height, left : left + width]

    def _block(self, *place: int) -> torch.Tensor:
        generator = seeded(self.seed, *place)
        return standard_normal(
            1, self.channels, BLOCK, BLOCK, like=torch.empty(()), generator=generator
        )
