"""Gradients and spectra: of ramps, stripes, waves and noise, which are known."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms.functional import gaussian_blur

from course_lib.metrics import MetricsError, gradient_ratio, luma, mean_gradient, radial_spectrum

STUDIO = 219 / 255  # how much smaller differences of luma are than those of grey


def grey(plane: torch.Tensor) -> torch.Tensor:
    return plane.double().expand(1, 3, *plane.shape)


def noise(side: int = 64, *, count: int = 1, seed: int = 0, std: float = 0.1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    plane = torch.randn(count, 1, side, side, generator=generator, dtype=torch.float64)
    return (0.5 + std * plane).clamp(0, 1).expand(-1, 3, -1, -1)


def wave(down: float, across: float, height: int, width: int) -> torch.Tensor:
    """A cosine of amplitude 1/4 about 1/2, of frequencies in cycles per pixel."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return grey(0.5 + 0.25 * torch.cos(2 * math.pi * (down * y.double() + across * x.double())))


@pytest.mark.equation("sr-gradient")
def test_gradient_by_hand():
    """Steps across are 0.1 and 0.3 in the one row, 0.2 and 0 in the other; down 0.4 and so on."""
    plane = torch.tensor([[0.1, 0.2, 0.5], [0.5, 0.7, 0.7]])
    across = (0.1 + 0.3 + 0.2 + 0.0) / 4
    down = (0.4 + 0.5 + 0.2) / 3
    found = mean_gradient(grey(plane.double()))
    assert found.item() == pytest.approx(STUDIO * (across + down) / 2, rel=1e-6)


@pytest.mark.equation("sr-gradient")
def test_gradient_of_a_ramp_and_of_a_checkerboard():
    ramp = torch.linspace(0, 1, 11).double().expand(7, 11)
    assert mean_gradient(grey(ramp)).item() == pytest.approx(STUDIO * 0.1 / 2, rel=1e-6)
    board = (torch.arange(6)[:, None] + torch.arange(8)) % 2
    assert mean_gradient(grey(board)).item() == pytest.approx(STUDIO, rel=1e-6)
    assert mean_gradient(grey(torch.full((4, 4), 0.3))).item() == 0


@given(seed=st.integers(0, 10**6))
def test_gradient_does_not_mind_turning_and_grows_with_contrast(seed):
    images = noise(9, count=2, seed=seed)
    found = mean_gradient(images)
    assert found.shape == (2,)
    assert torch.allclose(found, mean_gradient(images.transpose(2, 3)))
    assert torch.allclose(found, mean_gradient(images.flip(2)))
    assert torch.allclose(found / 2, mean_gradient(0.25 + images / 2))


def test_ratio_tells_smooth_from_rough():
    hr = noise(32)
    smooth = gaussian_blur(hr, 5, 1.0)
    assert gradient_ratio(hr, hr).item() == 1
    assert gradient_ratio(smooth, hr).item() < 0.5
    assert gradient_ratio(hr, smooth).item() == pytest.approx(1 / gradient_ratio(smooth, hr).item())
    flat = torch.full_like(hr, 0.5)
    assert gradient_ratio(hr, flat).item() == math.inf
    assert gradient_ratio(flat, flat).isnan().all()


@pytest.mark.parametrize(("height", "width"), [(64, 64), (64, 96), (65, 81)])
@pytest.mark.parametrize(
    ("down", "across"), [(0.0, 0.25), (0.125, 0.0), (0.1875, 0.25), (0.3, 0.3), (0.47, 0)]
)
def test_a_wave_is_found_at_its_frequency(down, across, height, width):
    """Hann's window spreads it over three neighbouring frequencies, and so at most three rings."""
    bins = 16
    frequencies, power = radial_spectrum(wave(down, across, height, width), bins)
    frequency = math.hypot(down, across)
    assert abs(frequencies[power.argmax()] - frequency) <= 1 / bins / 2
    near = (frequencies - frequency).abs() < 1.5 / bins / 2 + 1.5 / min(height, width)
    energy = (power * frequencies)[0]  # a ring has places in proportion to its radius
    share = energy[near].sum() / energy.sum()
    assert share > 0.999


def test_power_of_a_wave_is_its_variance():
    """Summed over all frequencies, power / pixels is the variance: here the ring holds all of it.

    A wave along one axis is at two points of the plane, and leaks to neighbours of these.
    """
    side, bins = 64, 4
    _, power = radial_spectrum(wave(0, 0.1875, side, side), bins)
    down, across = torch.meshgrid(*[torch.fft.fftfreq(side)] * 2, indexing="ij")
    radius = torch.hypot(down, across)
    places = ((radius > 0.125) & (radius <= 0.25)).sum()
    variance = (0.25 * STUDIO) ** 2 / 2
    assert power[0, 1].item() * places.item() / side**2 == pytest.approx(variance, rel=1e-3)


def test_white_noise_has_its_variance_at_every_frequency():
    images = noise(128, count=4)
    frequencies, power = radial_spectrum(images, 16)
    assert frequencies.tolist() == [(i + 0.5) / 32 for i in range(16)]
    assert power.shape == (4, 16)
    variance = luma(images).var().item()
    assert power.mean(0)[1:].tolist() == pytest.approx([variance] * 15, rel=0.15)
    assert power[:, 4:].mean().item() == pytest.approx(variance, rel=0.02)
    small = radial_spectrum(noise(32, count=64), 4)[1].mean(0)
    assert small.tolist() == pytest.approx([variance] * 4, rel=0.1)


def test_blur_takes_from_high_frequencies_what_it_should():
    """A Gaussian of standard deviation s multiplies the power by exp(-(2 pi f s)^2)."""
    images, std = noise(128, count=4, std=0.05), 0.8
    blurred = gaussian_blur(images, 9, std).clamp(0, 1)
    frequencies, before = radial_spectrum(images, 16)
    _, after = radial_spectrum(blurred, 16)
    expected = torch.exp(-((2 * math.pi * frequencies * std) ** 2))
    assert torch.allclose((after.mean(0) / before.mean(0))[:12], expected[:12], rtol=0.1)


def test_brightness_is_no_frequency():
    flat = grey(torch.full((20, 30), 0.7))
    assert radial_spectrum(flat, 10)[1].max() < 1e-25
    images = noise(32, std=0.05)
    assert torch.allclose(radial_spectrum(images, 8)[1], radial_spectrum(images + 0.2, 8)[1])


@given(height=st.integers(2, 33), width=st.integers(2, 33))
def test_no_ring_is_empty(height, width):
    most = min(height, width) // 2
    images = noise(33)[..., :height, :width]
    for bins in {1, most}:
        frequencies, power = radial_spectrum(images, bins)
        assert frequencies.shape == (bins,)
        assert power.isfinite().all()
    for bins in (0, most + 1):
        with pytest.raises(MetricsError, match=f"a spectrum of 1 to {most} bins, not {bins}"):
            radial_spectrum(images, bins)


def test_what_cannot_be_measured_is_refused():
    for measure in (mean_gradient, lambda images: radial_spectrum(images, 2)):
        with pytest.raises(MetricsError, match="RGB"):
            measure(torch.zeros(1, 1, 8, 8))
        with pytest.raises(MetricsError, match=r"in \[0, 1\]"):
            measure(torch.full((1, 3, 8, 8), 2.0))
    with pytest.raises(MetricsError, match="pixels without neighbours"):
        mean_gradient(torch.zeros(1, 3, 1, 8))
