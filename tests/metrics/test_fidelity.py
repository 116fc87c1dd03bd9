"""Luma, PSNR and SSIM: against numbers by hand, scikit-image and what must hold."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from course_lib.metrics import MetricsError, luma, psnr, ssim

seeds = st.integers(0, 10**6)
sides = st.integers(11, 24)
channels = pytest.mark.parametrize("channel", ["y", "rgb"])


def pair(seed: int, height: int = 16, width: int = 19, count: int = 2) -> list[torch.Tensor]:
    """Smooth-ish images and noisy copies of them, in [0, 1]."""
    rng = np.random.default_rng(seed)
    hr = rng.random((count, 3, height, width)).cumsum(3) % 1
    sr = (hr + rng.uniform(0.01, 0.3) * rng.normal(size=hr.shape)).clip(0, 1)
    return [torch.from_numpy(images) for images in (sr, hr)]


def grey(value: float, side: int = 12) -> torch.Tensor:
    return torch.full((1, 3, side, side), value, dtype=torch.float64)


def as_array(image: torch.Tensor, channel: str) -> np.ndarray:
    """What scikit-image makes of the image, (H, W) or (H, W, 3), peak 1."""
    pixels = image.permute(1, 2, 0).numpy()
    return rgb2ycbcr(pixels)[..., 0] / 255 if channel == "y" else pixels


@pytest.mark.equation("sr-luma")
def test_luma_of_known_colours():
    """MATLAB's documented values: black 16, white 235; the three primaries by their factors."""
    colours = torch.tensor([[0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1.0]])
    found = luma(colours[:, :, None, None])
    assert found.shape == (5, 1, 1, 1)
    assert found.dtype == torch.float64
    expected = [16, 235, 81.481, 144.553, 40.966]
    assert (255 * found).flatten().tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.equation("sr-luma")
@given(seed=seeds)
def test_luma_against_scikit_image(seed):
    image = pair(seed)[0][:1]
    assert torch.allclose(luma(image)[0, 0], torch.from_numpy(as_array(image[0], "y")), atol=1e-12)


@pytest.mark.equation("sr-psnr")
def test_psnr_by_hand():
    """A constant error of 0.1 in all channels is 20 dB; then one wrong number among six."""
    assert psnr(grey(0.6), grey(0.5), channel="rgb").item() == pytest.approx(20, abs=1e-12)
    in_luma = 20 + 20 * math.log10(255 / 219)
    assert psnr(grey(0.6), grey(0.5)).item() == pytest.approx(in_luma, abs=1e-12)
    hr = torch.zeros(1, 3, 1, 2)
    sr = hr.clone()
    sr[0, 0, 0, 1] = 0.5  # a squared error of 1/4 in one of six numbers
    assert psnr(sr, hr, channel="rgb").item() == pytest.approx(10 * math.log10(24), abs=1e-12)
    error = 65.481 / 255 / 2
    assert psnr(sr, hr).item() == pytest.approx(-10 * math.log10(error**2 / 2), abs=1e-12)


@channels
@pytest.mark.equation("sr-psnr")
@given(seed=seeds, border=st.integers(0, 5))
def test_psnr_against_scikit_image(channel, seed, border):
    sr, hr = pair(seed)
    found = psnr(sr, hr, border=border, channel=channel)
    inner = (slice(border, 16 - border), slice(border, 19 - border))
    expected = [
        peak_signal_noise_ratio(
            as_array(b, channel)[inner], as_array(a, channel)[inner], data_range=1
        )
        for a, b in zip(sr, hr, strict=True)
    ]
    assert found.dtype == torch.float64
    assert found.tolist() == pytest.approx(expected, abs=1e-9)


@channels
@pytest.mark.equation("sr-ssim")
@given(seed=seeds, height=sides, width=sides)
def test_ssim_against_scikit_image(channel, seed, height, width):
    sr, hr = pair(seed, height, width)
    expected = [
        structural_similarity(
            as_array(b, channel),
            as_array(a, channel),
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1,
            channel_axis=None if channel == "y" else 2,
        )
        for a, b in zip(sr, hr, strict=True)
    ]
    assert ssim(sr, hr, channel=channel).tolist() == pytest.approx(expected, abs=1e-9)


@pytest.mark.equation("sr-ssim")
def test_ssim_by_hand():
    """Without variance only the luminances count; one window is a weighted sum."""
    a, b, c1 = 0.25, 0.75, 1e-4
    expected = (2 * a * b + c1) / (a * a + b * b + c1)
    found = ssim(grey(a), grey(b), channel="rgb").item()
    assert found == pytest.approx(expected, abs=1e-9)

    sr, hr = (images[:, :1, :11, :11].expand(-1, 3, -1, -1) for images in pair(3))
    bell = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    weights = np.outer(bell, bell) / bell.sum() ** 2
    x, y = sr[0, 0].numpy(), hr[0, 0].numpy()
    mx, my = (weights * x).sum(), (weights * y).sum()
    vx, vy = (weights * (x - mx) ** 2).sum(), (weights * (y - my) ** 2).sum()
    cov = (weights * (x - mx) * (y - my)).sum()
    expected = (2 * mx * my + c1) * (2 * cov + 9e-4)
    expected /= (mx**2 + my**2 + c1) * (vx + vy + 9e-4)
    assert ssim(sr, hr, channel="rgb")[0].item() == pytest.approx(expected, abs=1e-12)


@channels
def test_equal_images(channel):
    sr, _ = pair(1)
    assert psnr(sr, sr, channel=channel).tolist() == [math.inf] * 2
    assert ssim(sr, sr, channel=channel).tolist() == pytest.approx([1, 1], abs=1e-12)


@channels
@pytest.mark.parametrize("measure", [psnr, ssim])
@given(seed=seeds)
def test_what_must_hold(measure, channel, seed):
    """Symmetric, each image by itself, and the same for a mirrored or turned pair."""
    sr, hr = pair(seed, count=3)
    found = measure(sr, hr, channel=channel)
    assert torch.allclose(found, measure(hr, sr, channel=channel), rtol=1e-12)
    singles = [measure(sr[i : i + 1], hr[i : i + 1], channel=channel) for i in range(3)]
    assert torch.allclose(found, torch.cat(singles), rtol=1e-12)
    turned = measure(sr.transpose(2, 3), hr.transpose(2, 3), channel=channel)
    assert torch.allclose(found, turned, rtol=1e-10)
    assert torch.allclose(found, measure(sr.flip(3), hr.flip(3), channel=channel), rtol=1e-10)


@pytest.mark.parametrize("measure", [psnr, ssim])
def test_what_is_wrong_in_the_border_does_not_count(measure):
    sr, hr = pair(5, 24, 24)
    inner = measure(sr, hr, border=4)
    sr[..., :4, :] = sr[..., -4:] = 0
    assert torch.equal(measure(sr, hr, border=4), inner)
    assert not torch.allclose(measure(sr, hr, border=3), inner)


def test_single_precision_images_are_measured_in_double():
    sr, hr = (images.float().requires_grad_() for images in pair(6))
    found = psnr(sr, hr)
    assert found.dtype == torch.float64
    assert not found.requires_grad
    assert torch.equal(found, psnr(sr.double(), hr.double()))


GOOD = grey(0.5, 16)


@pytest.mark.parametrize("measure", [psnr, ssim])
@pytest.mark.parametrize(
    ("other", "message"),
    [
        (GOOD[0], r"floating-point RGB of shape \(N, 3, H, W\)"),
        (GOOD[:, :1], r"of shape \(1, 1, 16, 16\)"),
        ((255 * GOOD).byte(), "torch.uint8"),
        (255 * GOOD, "reach from 127.5 to 127.5: clamp them, or divide 8-bit values"),
        (GOOD - 0.6, r"must be in \[0, 1\]"),
        (GOOD * math.nan, "nan"),
        (GOOD[:0], "hold no pixels"),
        (GOOD[..., :15], r"\(1, 3, 16, 1[56]\) and \(1, 3, 16, 1[56]\) cannot be compared"),
        (GOOD.expand(2, -1, -1, -1), "cannot be compared"),
    ],
)
def test_what_cannot_be_measured_is_refused(measure, other, message):
    for images in ((other, GOOD), (GOOD, other)):
        with pytest.raises(MetricsError, match=message):
            measure(*images)


def test_options_that_make_no_sense_are_refused():
    with pytest.raises(MetricsError, match="unknown channel 'Y'; known: y, rgb"):
        psnr(GOOD, GOOD, channel="Y")
    for border in (-1, 8):
        with pytest.raises(MetricsError, match=f"border of {border} pixels cannot be taken off 16"):
            psnr(GOOD, GOOD, border=border)
    assert psnr(GOOD, GOOD, border=7).item() == math.inf
    with pytest.raises(MetricsError, match=r"at least 11 x 11 pixels .* there are 10 x 10"):
        ssim(GOOD, GOOD, border=3)
    assert ssim(GOOD, GOOD, border=2).item() == pytest.approx(1)
