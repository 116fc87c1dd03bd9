"""Consistency with the small image: of the true image, of others like it, and of wrong ones."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from course_lib.data.degradation import downscale
from course_lib.metrics import MetricsError, lr_psnr, psnr


def images(side: int = 16, *, count: int = 2, seed: int = 0) -> torch.Tensor:
    """Noise about grey, of which no kernel makes anything outside [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, 3, side, side, generator=generator, dtype=torch.float64)
    return (0.5 + 0.1 * noise).clamp(0.1, 0.9)


@pytest.mark.equation("sr-consistency")
@pytest.mark.parametrize("scale", [2, 4])
def test_it_is_the_psnr_of_the_small_images(scale):
    hr, sr = images(), images(seed=1)
    lr = downscale(hr, scale)
    assert torch.equal(lr_psnr(sr, lr, scale), psnr(downscale(sr, scale), lr, channel="rgb"))
    assert lr_psnr(sr, lr, scale).shape == (2,)


@pytest.mark.equation("sr-consistency")
@given(shift=st.floats(0.001, 0.2), scale=st.sampled_from([2, 3, 4]))
def test_a_shift_of_brightness_by_hand(shift, scale):
    """The kernel's weights sum to one, so that a shift stays what it is."""
    hr = torch.full((1, 3, 12, 24), 0.4, dtype=torch.float64)
    found = lr_psnr(hr + shift, downscale(hr, scale), scale).item()
    assert found == pytest.approx(-20 * math.log10(shift), abs=1e-6)


def test_the_true_image_is_consistent_and_noise_hardly_less_so():
    """What only the fine detail holds is lost on the way down: that is the whole problem."""
    hr = images(64)
    lr = downscale(hr, 4)
    assert lr_psnr(hr, lr, 4).tolist() == [math.inf] * 2
    board = ((torch.arange(64)[:, None] + torch.arange(64)) % 2).double() * 0.1 - 0.05
    assert (lr_psnr(hr + board, lr, 4) > 60).all()
    assert (psnr(hr + board, hr) < 30).all()
    assert (lr_psnr(hr + 0.05, lr, 4) < 30).all()


def test_rounding_the_small_image_costs_what_the_docstring_says():
    hr = images(256)
    lr = downscale(hr, 4).mul(255).round().div(255)
    assert lr_psnr(hr, lr, 4).tolist() == pytest.approx([58.9] * 2, abs=0.3)


def test_what_overshoots_at_edges_is_clamped():
    """Sharp edges between black and white: the true image stays consistent with its file."""
    hr = torch.zeros(1, 3, 32, 32)
    hr[..., 14:] = 1
    small = downscale(hr, 4)
    assert lr_psnr(hr, small.clamp(0, 1), 4).item() > 100


def test_shapes_that_do_not_fit_are_refused():
    lr = torch.zeros(1, 3, 4, 5)
    message = r"upscaled by 4, has shape \(1, 3, 16, 20\), not \(1, 3, 16, 16\)"
    with pytest.raises(MetricsError, match=message):
        lr_psnr(torch.zeros(1, 3, 16, 16), lr, 4)
    with pytest.raises(MetricsError, match=r"shape \(1, 3, 16, 20\), not \(2, 3, 16, 20\)"):
        lr_psnr(torch.zeros(2, 3, 16, 20), lr, 4)
    with pytest.raises(MetricsError, match=r"in \[0, 1\]"):
        lr_psnr(torch.zeros(1, 3, 16, 20) - 1, lr, 4)
    with pytest.raises(MetricsError, match="RGB"):
        lr_psnr(torch.zeros(1, 3, 16, 20), lr[:, :1], 4)
