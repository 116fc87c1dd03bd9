"""Between two noises on the sphere, and one image in another."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from course_lib.upscaling.manipulation import fuse, slerp

weights = st.floats(0, 1, allow_subnormal=False)
seeds = st.integers(0, 2**20)


def noises(seed: int, *shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(2, *shape, generator=generator, dtype=torch.float64))


def test_a_quarter_turn_by_hand():
    a, b = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    expected = torch.tensor([[2 * math.cos(math.pi / 6), 2 * math.sin(math.pi / 6)]])
    assert torch.allclose(slerp(a, b, 1 / 3), expected)


@pytest.mark.equation("srdiff-interpolation")
@given(seeds, weights)
def test_slerp_is_the_formula(seed, weight):
    a, b = noises(seed, 3, 2, 4, 4)
    found = slerp(a, b, weight)
    for number in range(3):
        x, y = a[number].flatten(), b[number].flatten()
        angle = torch.arccos(x @ y / (x.norm() * y.norm()))
        expected = (
            torch.sin((1 - weight) * angle) * x + torch.sin(weight * angle) * y
        ) / angle.sin()
        assert torch.allclose(found[number].flatten(), expected, atol=1e-9)


@given(seeds, weights)
def test_equal_lengths_are_kept(seed, weight):
    a, b = (x / x.flatten(1).norm(dim=1)[:, None] for x in noises(seed, 4, 10))
    assert torch.allclose(slerp(a, b, weight).norm(dim=1), torch.ones(4).double())


@given(seeds, weights)
def test_the_way_back_is_the_same(seed, weight):
    a, b = noises(seed, 2, 5)
    assert torch.allclose(slerp(a, b, weight), slerp(b, a, 1 - weight))


def test_the_ends_are_the_noises():
    a, b = noises(0, 2, 3, 8, 8)
    assert torch.equal(slerp(a, b, 0.0), a)
    assert torch.allclose(slerp(a, b, 1.0), b, atol=1e-14)


def test_between_independent_noises_there_is_noise():
    a, b = noises(1, 1, 3, 128, 128)
    between = slerp(a, b, 0.5)
    assert abs(between.std() - 1) < 0.01
    assert abs(((a + b) / 2).std() - math.sqrt(0.5)) < 0.01  # what a straight line makes


@pytest.mark.parametrize("gap", [0.0, 1e-12, 1e-6])
def test_nearly_equal_noises(gap):
    a, b = noises(2, 2, 6)
    found = slerp(a, a + gap * b, 0.25)
    assert torch.allclose(found, a + 0.25 * gap * b, atol=1e-9)


@pytest.mark.parametrize(
    ("a", "b", "weight", "complaint"),
    [
        (torch.ones(1, 2), torch.ones(1, 3), 0.5, "one shape"),
        (torch.ones(1, 2), torch.ones(1, 2), 1.1, "weight"),
        (torch.ones(1, 2), torch.ones(1, 2), math.nan, "weight"),
        (torch.ones(1, 2), -torch.ones(1, 2), 0.5, "opposite"),
        (torch.zeros(1, 2), torch.ones(1, 2), 0.5, "direction"),
    ],
)
def test_what_cannot_be_interpolated(a, b, weight, complaint):
    with pytest.raises(ValueError, match=complaint):
        slerp(a, b, weight)


@pytest.mark.equation("srdiff-fusion")
@given(seeds, st.sampled_from([1, 2]))
def test_fusion_is_the_formula(seed, masks):
    inside, outside = noises(seed, 2, 3, 5, 4)
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(masks, 1, 5, 4, generator=generator, dtype=torch.float64)
    found = fuse(inside, outside, mask)
    n, c, i, j = 1, 2, 3, 0
    share = mask[min(n, masks - 1), 0, i, j]
    expected = share * inside[n, c, i, j] + (1 - share) * outside[n, c, i, j]
    assert torch.isclose(found[n, c, i, j], expected)
    assert torch.allclose(fuse(inside, inside, mask), inside)
    assert torch.equal(fuse(inside, outside, torch.ones_like(mask)), inside)
    assert torch.equal(fuse(inside, outside, torch.zeros_like(mask)), outside)


@pytest.mark.parametrize(
    ("outside", "mask", "complaint"),
    [
        ((1, 3, 4, 5), (1, 1, 4, 4), "one shape"),
        ((1, 3, 4, 4), (1, 3, 4, 4), "mask must be of shape"),
        ((1, 3, 4, 4), (4, 4), "mask must be of shape"),
    ],
)
def test_what_cannot_be_fused(outside, mask, complaint):
    with pytest.raises(ValueError, match=complaint):
        fuse(torch.zeros(1, 3, 4, 4), torch.zeros(outside), torch.zeros(mask))


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_a_mask_of_other_numbers(value):
    image = torch.zeros(1, 3, 2, 2)
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        fuse(image, image, torch.full((1, 1, 2, 2), value))
