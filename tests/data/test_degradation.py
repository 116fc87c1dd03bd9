"""Resizing, by hand and against Pillow, PyTorch and reference arrays; noise and JPEG."""

import math
import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from course_lib.data import (
    bicubic_kernel,
    crop_to_multiple,
    degrade,
    downscale,
    matlab_uint8,
    quantize,
    resize,
    resize_weights,
    to_image,
    to_tensor,
    upscale,
)

GOLDEN = Path(__file__).parents[1] / "upscaling" / "data" / "srdiff_tiny.npz"
sides = st.integers(1, 40)


def pictures(*shape, seed=0, dtype=torch.float64):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def photograph(height=96, width=128):
    """Smooth shapes with sharp edges, as 8-bit levels."""
    y, x = torch.meshgrid(torch.arange(height) / 7, torch.arange(width) / 9, indexing="ij")
    waves = torch.stack([(x + y).sin(), (x * y / 5).cos(), ((x - 6).hypot(y - 5) < 4) * 1.5 - 1])
    return quantize((waves / 2 + 0.5)[None].double())


# The kernel and its weights


@pytest.mark.equation("sr-kernel")
def test_kernel_by_hand():
    x = torch.tensor([0, 0.5, 1, 1.5, 2, 2.5, 1e9], dtype=torch.float64)
    values = torch.tensor([1, 9 / 16, 0, -1 / 16, 0, 0, 0], dtype=torch.float64)
    assert torch.equal(bicubic_kernel(x), values)
    assert torch.equal(bicubic_kernel(-x), values)
    # (a + 2) / 8 - (a + 3) / 4 + 1 and a (27 / 8 - 45 / 4 + 12 - 4) for a = -3/4.
    assert bicubic_kernel(x[1::2], a=-0.75).tolist() == [19 / 32, -3 / 32, 0]


@pytest.mark.equation("sr-kernel")
@given(st.floats(-1, 0), st.floats(0, 1))
def test_kernel_is_smooth_and_its_translates_sum_to_one(a, offset):
    x = offset - torch.arange(-3, 4, dtype=torch.float64)
    assert bicubic_kernel(x, a).sum().item() == pytest.approx(1)
    for knot, slope in ((1, a), (2, 0)):
        at = torch.tensor(float(knot), dtype=torch.float64)
        left = (bicubic_kernel(at, a) - bicubic_kernel(at - 1e-6, a)) / 1e-6
        right = (bicubic_kernel(at + 1e-6, a) - bicubic_kernel(at, a)) / 1e-6
        assert left.item() == pytest.approx(slope, abs=1e-4)
        assert right.item() == pytest.approx(slope, abs=1e-4)


@pytest.mark.equation("sr-antialias")
def test_weights_of_halving_by_hand():
    """Centres lie between two pixels; the kernel reaches 4 pixels to either side."""
    odd = torch.tensor([0.25, 0.75, 1.25, 1.75], dtype=torch.float64)
    half = bicubic_kernel(odd) / 2  # 111, 29, -9, -3 of 256
    assert (half * 256).tolist() == [111, 29, -9, -3]
    row = resize_weights(12, 6)[3]
    expected = torch.cat([torch.zeros(3), half.flip(0), half, torch.zeros(1)])
    assert torch.equal(row, expected)


@pytest.mark.equation("sr-antialias")
def test_weights_at_the_edge_are_mirrored():
    """The taps at -3, -2 and -1 fall on 2, 1 and 0."""
    row = resize_weights(12, 6)[0] * 256
    assert row.tolist() == [111 + 29, 111 - 9, 29 - 3, -9, -3, *[0] * 7]
    assert torch.equal(resize_weights(12, 6)[5].flip(0) * 256, row)


@pytest.mark.equation("sr-antialias")
def test_weights_of_doubling_by_hand():
    """Centres lie a quarter beside a pixel; nothing is stretched."""
    # Distances of 1.25, 0.25, 0.75 and 1.75.
    assert (resize_weights(6, 12)[5] * 128).tolist() == [0, -9, 111, 29, -3, 0]


@pytest.mark.equation("sr-antialias")
def test_a_line_of_one_pixel_is_repeated():
    assert resize_weights(1, 5).tolist() == [pytest.approx([1])] * 5
    assert resize_weights(2, 1).tolist() == [[0.5, 0.5]]


@pytest.mark.equation("sr-antialias")
@given(sides, sides, st.booleans())
def test_rows_of_weights_sum_to_one(inputs, outputs, antialias):
    weights = resize_weights(inputs, outputs, antialias)
    assert weights.shape == (outputs, inputs)
    assert weights.dtype == torch.float64
    assert torch.allclose(weights.sum(1), torch.ones(outputs).double())
    assert torch.allclose(weights, weights.flip(0, 1), atol=1e-12)


def test_every_pixel_counts_only_with_antialiasing():
    assert (resize_weights(64, 8).abs().sum(0) > 1e-3).all()
    assert (resize_weights(64, 8, antialias=False).abs().sum(0) == 0).sum() == 32


# Resizing


@given(sides, sides, sides, sides, st.booleans())
def test_resizing_is_two_matrix_products(height, width, new_height, new_width, antialias):
    """However it is computed."""
    images = pictures(2, 3, height, width)
    rows = resize_weights(height, new_height, antialias)
    columns = resize_weights(width, new_width, antialias)
    expected = rows @ images @ columns.T
    result = resize(images, new_height, new_width, antialias=antialias)
    assert torch.allclose(result, expected, atol=1e-12)


@pytest.mark.parametrize(("inputs", "outputs"), [(400, 100), (100, 400), (301, 97), (97, 301)])
def test_long_sides_are_two_matrix_products_too(inputs, outputs):
    images = pictures(1, 1, inputs, 3)
    expected = resize_weights(inputs, outputs) @ images
    assert torch.allclose(resize(images, outputs, 3), expected, atol=1e-12)


@given(sides, sides, sides, sides, st.floats(-2, 2))
def test_constant_images_stay(height, width, new_height, new_width, level):
    result = resize(torch.full((1, 2, height, width), level).double(), new_height, new_width)
    assert torch.allclose(result, torch.full_like(result, level), atol=1e-12)


@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from([2, 3, 4]), st.booleans())
def test_resizing_is_linear_and_knows_no_direction(height, width, scale, shrink):
    if shrink:
        height, width = height * scale, width * scale

    def function(images):
        return downscale(images, scale, clip=False) if shrink else upscale(images, scale)

    x, y = pictures(1, 1, height, width, seed=1), pictures(1, 1, height, width, seed=2)
    assert torch.allclose(function(2 * x - 3 * y), 2 * function(x) - 3 * function(y), atol=1e-12)
    for side in (2, 3):
        assert torch.allclose(function(x.flip(side)), function(x).flip(side), atol=1e-12)
    assert torch.allclose(function(x.mT), function(x).mT, atol=1e-12)


def test_ramps_and_parabolas_are_enlarged_exactly():
    """Inside: Keys' kernel with a = -1/2 reproduces polynomials up to the second degree."""
    x = torch.arange(12).double()
    fine = (torch.arange(48) + 0.5) / 4 - 0.5
    line = 0.3 * x**2 - x + 2
    enlarged = upscale(line.view(1, 1, 1, 12), 4)[0, 0, 0]
    expected = 0.3 * fine**2 - fine + 2
    assert torch.allclose(enlarged[8:-8], expected[8:-8].double(), atol=1e-5)
    assert not torch.allclose(enlarged[:4], expected[:4].double(), atol=0.1)


@given(sides, sides)
def test_the_same_size_changes_nothing(height, width):
    images = pictures(1, 3, height, width)
    assert torch.equal(resize(images, height, width), images)
    assert torch.allclose(resize_weights(height, height), torch.eye(height).double(), atol=1e-12)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("shrink", [True, False])
def test_inside_it_is_pytorchs_antialiased_bicubic(scale, shrink):
    """At the edges PyTorch drops the taps outside the image, where MATLAB mirrors it."""
    images = photograph(96, 132)
    size = (96 // scale, 132 // scale) if shrink else (96 * scale, 132 * scale)
    ours = resize(images, *size)
    theirs = F.interpolate(images, size=size, mode="bicubic", antialias=True)
    edge = 2 if shrink else 2 * scale
    inside = (..., slice(edge, -edge), slice(edge, -edge))
    assert torch.allclose(ours[inside], theirs[inside], atol=1e-5)
    assert (ours - theirs).abs().max() > 1e-3
    assert (ours - theirs).abs().max() < 0.06


@pytest.mark.parametrize("scale", [2, 4])
def test_inside_it_is_pillows_bicubic_to_a_level(scale):
    """Pillow rounds and clips between the two sides; this picture stays clear of both ends."""
    images = quantize(0.2 + 0.6 * photograph())
    picture = to_image(images)
    for size, edge in (((128 // scale, 96 // scale), 2), ((128 * scale, 96 * scale), 2 * scale)):
        theirs = to_tensor(picture.resize(size, Image.Resampling.BICUBIC)).double()
        ours = quantize(resize(images, size[1], size[0]))
        difference = ((ours - theirs).abs() * 255).round()
        assert difference[..., edge:-edge, edge:-edge].max() <= 1
        assert difference.max() <= 12


def test_without_antialiasing_it_is_another_thing():
    images = photograph()
    plain = resize(images, 24, 32, antialias=False)
    assert (plain - resize(images, 24, 32)).abs().max() > 0.1
    enlarged = upscale(images, 2)
    assert torch.equal(resize(images, 192, 256, antialias=False), enlarged)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_type_and_shape(dtype):
    images = pictures(2, 5, 12, 8).to(dtype)
    exact = resize(images.double(), 3, 10)
    result = resize(images, 3, 10)
    assert (result.dtype, result.shape) == (dtype, (2, 5, 3, 10))
    assert torch.allclose(result.double(), exact, rtol=torch.finfo(dtype).eps, atol=2e-7)
    assert resize(images[:0], 3, 10).shape == (0, 5, 3, 10)


def test_gradient_also_after_inference():
    """What inference mode leaves in the cache must serve training."""
    with torch.inference_mode():
        downscale(pictures(1, 1, 28, 28), 4)
    images = pictures(1, 1, 28, 28).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: upscale(downscale(x, 4, clip=False), 2), images)


def test_on_a_device_without_double_precision():
    images = torch.zeros(1, 3, 8, 8, device="meta")
    assert upscale(images, 4).shape == (1, 3, 32, 32)
    assert upscale(images, 4).device.type == "meta"


# Down and up by a factor


def test_clipping_is_a_choice():
    stripes = (torch.arange(64) // 16 % 2).double().expand(1, 1, 64, 64)
    free, clipped = downscale(stripes, 4, clip=False), downscale(stripes, 4)
    assert free.min() < -0.01
    assert free.max() > 1.01
    assert torch.equal(clipped, free.clamp(0, 1))
    assert upscale(stripes, 2).max() > 1.01
    assert torch.equal(upscale(stripes, 2, clip=True), upscale(stripes, 2).clamp(0, 1))


def test_pixel_centres_are_in_the_middle():
    """A bright patch stays where it is: nothing moves by a part of a pixel."""
    images = torch.zeros(1, 1, 32, 32).double()
    images[..., 12:16, 20:24] = 1
    small = downscale(images, 4, clip=False)
    assert (small == small.max()).nonzero().tolist() == [[0, 0, 3, 5]]
    large = upscale(small, 4)[0, 0]
    large = large / large.sum()
    at = torch.arange(32).double() + 0.5
    assert (large.sum(1) * at).sum().item() == pytest.approx(14, abs=1e-3)
    assert (large.sum(0) * at).sum().item() == pytest.approx(22, abs=1e-3)


def test_cropping():
    images = pictures(1, 1, 11, 9)
    assert torch.equal(crop_to_multiple(images, 4), images[:, :, :8, :8])
    assert torch.equal(crop_to_multiple(images, 1), images)
    assert downscale(crop_to_multiple(images, 3), 3).shape == (1, 1, 3, 3)
    with pytest.raises(ValueError, match=r"11 x 9 are too small: both sides must be at least 10"):
        crop_to_multiple(images, 10)


def test_quantizing_by_hand():
    levels = torch.tensor([-0.2, 0.0, 0.4 / 255, 0.6 / 255, 254.4 / 255, 1.0, 1.3])
    expected = torch.tensor([0, 0, 0, 1, 254, 255, 255]) / 255
    assert torch.equal(quantize(levels.view(1, 1, 1, -1)).flatten(), expected)


@given(st.integers(0, 1000))
def test_quantizing_twice_is_quantizing_once(seed):
    once = quantize(pictures(1, 3, 5, 7, seed=seed))
    assert torch.equal(quantize(once), once)


# 8 bits, as the authors of SRDiff have it


def test_rounding_after_each_side_by_hand():
    """The weights are 111, 29, -9 and -3 of 256 on either side, as above."""
    levels = torch.tensor([0] * 6 + [101] * 6, dtype=torch.uint8).expand(1, 1, 8, 12)
    # The share of the bright half: -3, 29 - 9 - 3, 256 - 17 and 256 + 3 of 256.
    assert matlab_uint8(levels, 4, 6)[0, 0].tolist() == [[0, 0, 7, 94, 102, 101]] * 4


def test_rounding_after_each_side_is_not_rounding_once():
    levels = (photograph(32, 32) * 255).to(torch.uint8)
    once = downscale(levels.double(), 4, clip=False)
    exact = (once + 0.5).floor().clamp(0, 255).to(torch.uint8)
    assert 0 < (matlab_uint8(levels, 8, 8) != exact).float().mean() < 0.5
    assert (matlab_uint8(levels, 8, 8).int() - exact.int()).abs().max() == 1


def test_the_side_that_shrinks_most_comes_first():
    levels = (photograph(32, 32) * 255).to(torch.uint8)
    width_first = matlab_uint8(matlab_uint8(levels, 32, 8), 16, 8)
    height_first = matlab_uint8(matlab_uint8(levels, 16, 32), 16, 8)
    assert not torch.equal(width_first, height_first)
    assert torch.equal(matlab_uint8(levels, 16, 8), width_first)
    assert torch.equal(matlab_uint8(levels.mT, 8, 16), width_first.mT)


def test_halves_are_rounded_up_and_levels_do_not_wrap():
    pair = torch.tensor([3, 2], dtype=torch.uint8).view(1, 1, 1, 2)
    assert matlab_uint8(pair, 1, 1).item() == 3
    stripes = (torch.arange(64) // 16 % 2 * 255).to(torch.uint8).expand(1, 1, 64, 64)
    free = downscale(stripes.double(), 4, clip=False)
    assert free.min() < -1
    assert free.max() > 256
    assert torch.equal(matlab_uint8(stripes, 16, 16).double(), (free + 0.5).floor().clamp(0, 255))


def test_reference_arrays_of_srdiff():
    """Low resolution from levels, each side rounded; its enlargement from lr / 256."""
    with np.load(GOLDEN) as golden:
        hr, lr, enlarged = (
            torch.from_numpy(golden[name]).permute(2, 0, 1)[None]
            for name in ("hr_uint8", "lr_uint8", "lr_up_float")
        )
        in_network = torch.from_numpy(golden["img_lr_up"])
    assert torch.equal(matlab_uint8(hr, 8, 8), lr)
    assert torch.allclose(upscale(lr.double() / 256, 4), enlarged, atol=1e-12)
    assert torch.allclose(2 * upscale(lr.float() / 256, 4) - 1, in_network, atol=1e-6)
    assert (upscale(lr.double() / 255, 4) - enlarged).abs().max() > 0.004


# The degradation


@pytest.mark.equation("sr-degradation")
def test_without_noise_and_jpeg_it_is_downscaling():
    hr = photograph()
    assert torch.equal(degrade(hr), downscale(hr, 4))
    assert torch.equal(degrade(hr, scale=2), downscale(hr, 2))


@pytest.mark.equation("sr-degradation")
def test_noise_has_the_deviation_asked_for_and_comes_from_the_generator():
    hr = torch.full((1, 3, 256, 256), 0.5)
    noisy = [degrade(hr, noise=0.1, generator=torch.Generator().manual_seed(3)) for _ in range(2)]
    assert torch.equal(*noisy)
    assert noisy[0].std().item() == pytest.approx(0.1, rel=0.03)
    assert noisy[0].mean().item() == pytest.approx(0.5, abs=0.003)
    independent = (noisy[0] - 0.5).flatten(2)
    correlation = torch.corrcoef(independent[0]) - torch.eye(3)
    assert correlation.abs().max() < 0.06
    strong = degrade(hr, noise=2.0, generator=torch.Generator().manual_seed(3))
    assert strong.min() == 0
    assert strong.max() == 1


@pytest.mark.equation("sr-degradation")
def test_jpeg_comes_last():
    """Downscaled and made noisy, written by Pillow and read again."""
    hr = photograph().float()
    before = degrade(hr, noise=0.05, generator=torch.Generator().manual_seed(1))
    after = degrade(hr, noise=0.05, jpeg=30, generator=torch.Generator().manual_seed(1))
    assert torch.equal(quantize(after), after)
    file = BytesIO()
    to_image(before).save(file, "JPEG", quality=30)
    assert torch.equal(after, to_tensor(Image.open(file)))


@pytest.mark.equation("sr-degradation")
def test_higher_quality_is_nearer():
    hr = photograph()[:, :1]
    lr = degrade(hr)
    errors = [(degrade(hr, jpeg=q) - lr).square().mean().item() for q in (1, 10, 50, 95)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-3 < errors[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_jpeg_keeps_type_and_shape_and_takes_grey(dtype):
    hr = pictures(3, 1, 32, 24, dtype=dtype)
    result = degrade(hr, jpeg=75)
    assert (result.dtype, result.shape) == (dtype, (3, 1, 8, 6))
    assert degrade(hr[:0], jpeg=75).shape == (0, 1, 8, 6)
    with pytest.raises(ValueError, match="one channel or three, not 2"):
        degrade(pictures(1, 2, 8, 8), jpeg=75)


def test_gradient_through_downscaling_and_noise():
    hr = (0.2 + 0.6 * pictures(1, 3, 8, 8)).requires_grad_()
    degrade(hr, noise=0.01, generator=torch.Generator().manual_seed(0)).sum().backward()
    assert hr.grad.sum().item() == pytest.approx(3 * 4)


# What is refused


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: downscale(x, 4), "sides of 10 and 8 are not multiples of 4: crop first, with "),
        (lambda x: downscale(x, 0), "scale is a whole number of at least 1, not 0"),
        (lambda x: upscale(x, 2.0), "scale is a whole number of at least 1, not 2.0"),
        (lambda x: upscale(x, True), "scale is a whole number of at least 1, not True"),
        (lambda x: resize(x, 0, 4), "height is a whole number of at least 1, not 0"),
        (lambda x: resize(x, 4, -1), "width is a whole number of at least 1, not -1"),
        (lambda x: resize(x[0], 4, 4), r"images are \(N, C, H, W\) with pixels, not \(3, 10, 8\)"),
        (lambda x: upscale(x[..., :0], 4), r"with pixels, not \(1, 3, 10, 0\)"),
        (lambda x: upscale(x.byte(), 4), r"floating point in \[0, 1\], not torch.uint8"),
        (lambda x: quantize(x.int()), r"floating point in \[0, 1\], not torch.int32"),
        (lambda x: matlab_uint8(x, 4, 4), r"8-bit levels \(torch.uint8\), not torch.float64"),
        (lambda x: degrade(x, scale=2, noise=-1), "deviation of at least 0, not -1"),
        (lambda x: degrade(x, scale=2, noise=math.nan), "deviation of at least 0, not nan"),
        (lambda x: degrade(x, scale=2, jpeg=0), "quality from 1 to 95, or None, not 0"),
        (lambda x: degrade(x, scale=2, jpeg=96), "quality from 1 to 95, or None, not 96"),
        (lambda x: degrade(x, scale=2, jpeg=75.0), "quality from 1 to 95, or None, not 75.0"),
        (lambda x: resize_weights(0, 4), "inputs is a whole number of at least 1, not 0"),
        (lambda x: resize_weights(4, 0), "outputs is a whole number of at least 1, not 0"),
    ],
)
def test_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(pictures(1, 3, 10, 8))


def test_the_advice_to_crop_works():
    images = pictures(1, 3, 10, 8)
    with pytest.raises(ValueError, match="crop first") as raised:
        downscale(images, 4)
    advice = re.search(r"with (.*)$", str(raised.value))[1]
    assert advice == "crop_to_multiple(images, 4)"
    assert downscale(crop_to_multiple(images, 4), 4).shape == (1, 3, 2, 2)
