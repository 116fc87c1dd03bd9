"""The two repairs of colours."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib import data, metrics
from course_lib.upscaling.latent import COLOR_FIXES, adain, coarse, wavelet


@pytest.mark.equation("latent-wavelet")
def test_the_coarse_part_is_a_chain_of_blurs():
    """Against one convolution with the product of the kernels' transfer functions."""
    torch.manual_seed(0)
    image = torch.rand(1, 3, 32, 32)
    blurred = coarse(image, levels=2)
    frequency = 2 * torch.pi * torch.fft.fftfreq(32, dtype=torch.float64)
    line = torch.ones(32, dtype=torch.float64)
    for level in range(2):
        line = line * (1 + torch.cos(2**level * frequency)) / 2
    spectrum = torch.fft.fft2(image.double()) * torch.outer(line, line)
    periodic = torch.fft.ifft2(spectrum).real
    assert torch.allclose(blurred[..., 4:-4, 4:-4].double(), periodic[..., 4:-4, 4:-4], atol=1e-6)


@given(st.integers(0, 2**31), st.floats(-0.2, 0.2))
@settings(max_examples=10, deadline=None)
def test_a_shift_of_all_colours_is_undone(seed, shift):
    generator = torch.Generator().manual_seed(seed)
    hr = 0.3 + 0.4 * torch.rand(1, 3, 24, 24, generator=generator)
    lr = data.downscale(hr, 4)
    for repair in (wavelet, adain):
        assert torch.allclose(repair(hr + shift, lr), repair(hr, lr), atol=1e-5)


def test_the_wavelet_repair_brings_consistency_and_keeps_detail():
    hr = data.example("stones")
    lr = data.downscale(hr, 4)
    shifted = (hr * 0.9 + torch.tensor([0.08, 0.0, 0.04]).view(1, 3, 1, 1)).clamp(0, 1)
    mended = wavelet(shifted, lr)
    assert metrics.lr_psnr(mended, lr, 4).item() > metrics.lr_psnr(shifted, lr, 4).item() + 6
    assert 0.8 < metrics.gradient_ratio(mended, hr).item() < 1.1


@pytest.mark.equation("latent-adain")
def test_adain_gives_mean_and_deviation():
    torch.manual_seed(0)
    lr = 0.4 + 0.2 * torch.rand(1, 3, 8, 8)
    sr = 0.5 + 0.1 * torch.rand(1, 3, 32, 32)
    made, reference = adain(sr, lr), data.upscale(lr, 4)
    assert torch.allclose(made.mean((2, 3)), reference.mean((2, 3)), atol=1e-4)
    assert torch.allclose(made.std((2, 3)), reference.std((2, 3)), atol=1e-3)


def test_none_changes_nothing():
    sr = torch.rand(1, 3, 8, 8)
    assert torch.equal(COLOR_FIXES["none"](sr, torch.rand(1, 3, 2, 2)), sr)


def test_back_projection_makes_the_result_shrink_to_its_input():
    hr = data.example("stones")
    lr = data.downscale(hr, 4)
    shifted = (hr * 0.9 + 0.03).clamp(0, 1)
    mended = COLOR_FIXES["back-projection"](shifted, lr)
    assert metrics.lr_psnr(mended, lr, 4).item() > 40
    assert metrics.lr_psnr(mended, lr, 4).item() > metrics.lr_psnr(wavelet(shifted, lr), lr, 4)
