"""Tiles cover every image, blend without a seam, and read one field of noise."""

import itertools

import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from course_lib.upscaling.tiling import (
    ALIGNMENT,
    BLOCK,
    Canvas,
    NoiseField,
    Tile,
    feather,
    starts,
    tiles,
)


@st.composite
def cuts(draw) -> tuple[int, int]:
    """A tile and an overlap that go together."""
    tile = draw(st.integers(1, 24))
    return ALIGNMENT * tile, ALIGNMENT * draw(st.integers(0, tile // 2))


# The places of the tiles


@given(side=st.integers(1, 400), cut=cuts())
def test_starts_cover_a_side_and_are_aligned(side, cut):
    tile, overlap = cut
    found = starts(side, tile, overlap)
    ends = [min(start + tile, side) for start in found]
    assert found[0] == 0
    assert ends[-1] == side
    assert all(start % ALIGNMENT == 0 and start < side for start in found)
    for end, following in zip(ends[:-1], found[1:], strict=True):
        assert end - following >= overlap
    assert found == sorted(set(found))


@given(side=st.integers(1, 400), cut=cuts())
def test_no_tile_is_superfluous(side, cut):
    """One tile fewer could not share that much."""
    tile, overlap = cut
    count = len(starts(side, tile, overlap))
    if count > 1:
        assert (count - 1) * (tile - overlap) + overlap < side + ALIGNMENT


@pytest.mark.parametrize(
    ("tile", "overlap"), [(0, 0), (-4, 0), (62, 8), (64, 6), (64, -4), (64, 36), (64, 64)]
)
def test_cuts_that_do_not_go_together_are_refused(tile, overlap):
    with pytest.raises(ValueError, match=f"not {tile} and {overlap}"):
        starts(100, tile, overlap)


@given(height=st.integers(1, 150), width=st.integers(1, 150), cut=cuts())
def test_tiles_lie_in_the_image_row_by_row(height, width, cut):
    tile, overlap = cut
    found = tiles(height, width, tile=tile, overlap=overlap)
    assert found == sorted(found, key=lambda t: (t.top, t.left))
    seen = torch.zeros(height, width)
    for part in found:
        assert 1 <= part.height <= tile
        assert 1 <= part.width <= tile
        assert part.top + part.height <= height
        assert part.left + part.width <= width
        part.cut(seen[None, None]).add_(1)
    assert seen.min() >= 1


def test_cut_takes_the_same_place_at_both_sizes():
    lr = torch.rand(2, 3, 9, 12)
    hr = lr.repeat_interleave(4, 2).repeat_interleave(4, 3)
    tile = Tile(top=4, left=8, height=5, width=3)
    assert torch.equal(tile.cut(hr, 4)[..., ::4, ::4], tile.cut(lr))
    assert tile.cut(lr).shape == (2, 3, 5, 3)


# The blending


@given(ramp=st.integers(1, 40).map(lambda n: 4 * n), more=st.integers(0, 50))
def test_two_tiles_that_share_the_ramp_share_one(ramp, more):
    length = ramp + more
    falls = feather(length, ramp, rises=False, falls=True)
    rises = feather(length, ramp, rises=True, falls=False)
    assert_close(falls[-ramp:] + rises[:ramp], torch.ones(ramp))
    assert torch.equal(falls, rises.flip(0))
    assert not rises[: ramp // 4].any()
    assert (rises[3 * ramp // 4 :] == 1).all()


def test_the_feather_has_no_step():
    """One pixel further never changes the weight by more than the slope of the ramp."""
    weights = feather(300, 128, rises=True, falls=True)
    assert weights.diff().abs().max() <= 2 / 128 + 1e-6
    assert torch.equal(feather(9, 128, rises=False, falls=False), torch.ones(9))


def test_without_an_overlap_tiles_lie_side_by_side():
    assert torch.equal(feather(8, 0, rises=True, falls=True), torch.ones(8))


@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    cut=cuts(),
    scale=st.integers(1, 4),
)
def test_tiles_of_an_image_blend_to_the_image(height, width, cut, scale):
    """The weights of no pixel are all 0, and the mean of equals is what they are."""
    tile, overlap = cut
    whole = torch.rand(
        1, 3, scale * height, scale * width, generator=torch.Generator().manual_seed(0)
    )
    canvas = Canvas(1, height, width, scale=scale, overlap=overlap)
    for part in tiles(height, width, tile=tile, overlap=overlap):
        canvas.add(part, part.cut(whole, scale))
    assert canvas.weight.min() > 0
    assert_close(canvas.result(), whole, rtol=0, atol=1e-6)


@pytest.mark.equation("srdiff-tiles")
def test_blending_is_the_weighted_mean():
    """Pixel by pixel, from the weights' definition."""
    height, width, tile, overlap, scale = 10, 25, 16, 8, 2
    generator = torch.Generator().manual_seed(1)
    parts = tiles(height, width, tile=tile, overlap=overlap)
    pictures = [
        torch.rand(2, 3, scale * p.height, scale * p.width, generator=generator) for p in parts
    ]
    canvas = Canvas(2, height, width, scale=scale, overlap=overlap)
    for part, picture in zip(parts, pictures, strict=True):
        canvas.add(part, picture)
    result = canvas.result()
    ramp = scale * overlap

    def weight(x: int, start: int, length: int, side: int) -> float:
        before, after = x - start + 0.5, start + length - x - 0.5
        w = 1.0
        if start > 0:
            w = min(w, max(0.0, 2 * before / ramp - 0.5))
        if start + length < side:
            w = min(w, max(0.0, 2 * after / ramp - 0.5))
        return w

    for y, x in itertools.product(range(0, scale * height, 3), range(scale * width)):
        total, weights = torch.zeros(2, 3), 0.0
        for part, picture in zip(parts, pictures, strict=True):
            top, left, h, w = (scale * v for v in (part.top, part.left, part.height, part.width))
            if top <= y < top + h and left <= x < left + w:
                here = weight(y, top, h, scale * height) * weight(x, left, w, scale * width)
                total += here * picture[:, :, y - top, x - left]
                weights += here
        assert_close(result[:, :, y, x], total / weights, rtol=0, atol=1e-5)


def test_a_step_between_tiles_becomes_a_slope():
    """Where two tiles disagree by one, the picture changes by little from pixel to pixel."""
    height, width, tile, overlap = 8, 160, 96, 32
    left, right = tiles(height, width, tile=tile, overlap=overlap)
    assert left.width - right.left == overlap  # the least that they ever share
    canvas = Canvas(1, height, width, scale=4, overlap=overlap)
    canvas.add(left, torch.zeros(1, 3, 32, 4 * left.width))
    canvas.add(right, torch.ones(1, 3, 32, 4 * right.width))
    line = canvas.result()[0, 0, 0]
    assert line[0] == 0
    assert line[-1] == 1
    assert line.diff().min() >= 0
    assert line.diff().max() <= 1 / 60


# The field of noise


@given(
    top=st.integers(0, 150),
    left=st.integers(0, 150),
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    draw=st.integers(0, 3),
)
def test_noise_is_the_same_in_whatever_pieces_it_is_read(top, left, height, width, draw):
    field = NoiseField(5)
    whole = field.read(draw, 0, 0, 240, 240)
    piece = field.read(draw, top, left, height, width)
    assert piece.shape == (1, 3, height, width)
    assert torch.equal(piece, whole[..., top : top + height, left : left + width])


def test_noise_is_standard_normal():
    noise = NoiseField(0).read(0, 0, 0, 4 * BLOCK, 4 * BLOCK)[0]
    assert scipy.stats.kstest(noise.flatten().numpy(), "norm").pvalue > 0.01
    assert noise.mean().abs() < 4 / noise.numel() ** 0.5
    assert (noise.std() - 1).abs() < 4 / (2 * noise.numel()) ** 0.5


def test_blocks_draws_channels_and_seeds_are_independent():
    fields = [NoiseField(0).read(draw, 0, 0, 2 * BLOCK, 2 * BLOCK)[0] for draw in (0, 1, 2)]
    fields += [NoiseField(seed).read(0, 0, 0, 2 * BLOCK, 2 * BLOCK)[0] for seed in (1, 2)]
    blocks = torch.stack(
        [
            field[:, row : row + BLOCK, column : column + BLOCK].flatten(1)
            for field in fields
            for row in (0, BLOCK)
            for column in (0, BLOCK)
        ]
    ).flatten(0, 1)
    correlation = torch.corrcoef(blocks) - torch.eye(len(blocks))
    assert correlation.abs().max() < 5.5 / BLOCK


def test_noise_depends_on_the_seed_alone():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        before = torch.get_rng_state()
        first = NoiseField(9).read(1, 0, 60, 10, 10)
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, NoiseField(9).read(1, 0, 60, 10, 10))
