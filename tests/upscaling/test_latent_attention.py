"""What attention costs in memory: the formula against a layer that runs."""

import pytest
import torch

from course_lib.upscaling.latent.attention import PeakMemory, attention_bytes, measure_attention


@pytest.mark.equation("latent-attention-memory")
@pytest.mark.parametrize(("heads", "dtype", "size"), [(1, torch.float32, 4), (3, torch.float64, 8)])
def test_the_largest_array_of_a_plain_attention_is_its_scores(heads, dtype, size):
    from diffusers.models.attention_processor import Attention, AttnProcessor

    layer = Attention(4 * heads, heads=heads, dim_head=4, processor=AttnProcessor()).to(dtype)
    codes = torch.zeros(1, 12 * 20, 4 * heads, dtype=dtype)
    with torch.no_grad(), PeakMemory() as memory:
        layer(codes)
    assert memory.largest == attention_bytes(12, 20, heads=heads, bytes_per_number=size)


@pytest.mark.equation("latent-attention-memory")
def test_scores_and_softmax_are_there_at_once():
    for side in (24, 48):
        assert 2 < measure_attention(side) / attention_bytes(side, side) < 2.1
    assert 15 < measure_attention(48) / measure_attention(24) < 16  # twice the side


def test_the_fused_kernel_needs_memory_in_proportion_to_the_codes():
    assert measure_attention(48, fused=True) < attention_bytes(48, 48) / 20
    assert 3.9 < measure_attention(48, fused=True) / measure_attention(24, fused=True) < 4.1


def test_the_untiled_autoencoder_would_ask_for_256_gib():
    assert attention_bytes(512, 512) == 256 * 2**30


def test_peak_memory_counts_what_is_alive_and_no_views():
    given = torch.zeros(1000)
    with PeakMemory() as memory:
        first = given + 1  # 4,000 bytes
        first.add_(1)
        first.view(10, 100).t()
        del first
        second = torch.zeros(500)
        third = second * 2
    assert memory.largest == 4000
    assert memory.peak == 4000
    with PeakMemory() as memory:
        fourth = third + second
        fifth = fourth + third
    assert memory.peak == 4000
    assert memory.largest == 2000
    assert len(fifth) == 500
