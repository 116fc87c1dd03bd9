"""The shared blocks: range, shapes, and the networks against plain functional calls."""

import pytest
import scipy.stats
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from course_lib.models.blocks import ConvDecoder, ConvEncoder, standard_normal, to_network


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_to_network_maps_black_grey_and_white():
    assert to_network(torch.tensor([0.0, 0.5, 1.0])).tolist() == [-1.0, 0.0, 1.0]


@given(
    n=st.integers(1, 3),
    channels=st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4)),
    features=st.integers(1, 5),
    image_channels=st.sampled_from([1, 2, 3]),
)
def test_shapes(n, channels, features, image_channels):
    images = torch.zeros(n, image_channels, 28, 28)
    vectors = ConvEncoder(image_channels, channels, features)(images)
    assert vectors.shape == (n, features)
    assert ConvDecoder(features, channels, image_channels)(vectors).shape == images.shape


def test_sides_are_28_14_7_4_and_back():
    sides = []

    def note(module, inputs, output):
        sides.append(output.shape[-1])

    encoder, decoder = ConvEncoder(1, (2, 3, 4), 5), ConvDecoder(5, (2, 3, 4), 1)
    for module in (*encoder, *decoder):
        if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            module.register_forward_hook(note)
    decoder(encoder(torch.zeros(1, 1, 28, 28)))
    assert sides == [14, 7, 4, 7, 14, 28]


def test_encoder_and_decoder_against_functional_calls():
    """The same weights through torch.nn.functional, written out by hand."""
    encoder, decoder = ConvEncoder(1, (2, 3, 4), 5), ConvDecoder(5, (2, 3, 4), 1)
    images = torch.rand(2, 1, 28, 28, generator=seeded())
    weights = list(encoder.parameters())
    hidden = images
    for weight, bias in zip(weights[0:6:2], weights[1:6:2], strict=True):
        hidden = F.silu(F.conv2d(hidden, weight, bias, stride=2, padding=1))
    codes = hidden.reshape(2, 64) @ weights[6].T + weights[7]
    assert torch.allclose(encoder(images), codes, atol=1e-6)

    weights = list(decoder.parameters())
    hidden = F.silu(codes @ weights[0].T + weights[1]).reshape(2, 4, 4, 4)
    hidden = F.silu(F.conv_transpose2d(hidden, weights[2], weights[3], stride=2, padding=1))
    hidden = F.silu(F.conv_transpose2d(hidden, weights[4], weights[5], stride=2, padding=1))
    hidden = F.conv_transpose2d(hidden, weights[6], weights[7], stride=2, padding=1)
    assert torch.allclose(decoder(codes), hidden, atol=1e-6)


def test_standard_normal_is_standard_normal():
    like = torch.zeros(1, dtype=torch.float64)
    draws = standard_normal(4000, 5, like=like, generator=seeded(3))
    assert draws.dtype == torch.float64
    assert scipy.stats.kstest(draws.flatten().numpy(), "norm").pvalue > 0.01
    correlation = torch.corrcoef(draws.T) - torch.eye(5)
    assert correlation.abs().max() < 4 / 4000**0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_standard_normal_depends_on_the_generator_alone(dtype):
    like = torch.zeros(1, dtype=dtype)
    before = torch.get_rng_state()
    first = standard_normal(3, 4, like=like, generator=seeded(1))
    again = standard_normal(3, 4, like=like, generator=seeded(1))
    other = standard_normal(3, 4, like=like, generator=seeded(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == (3, 4)


def test_standard_normal_without_generator_follows_the_global_seed():
    like = torch.zeros(1)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        first = standard_normal(3, like=like, generator=None)
        torch.manual_seed(5)
        assert torch.equal(first, torch.randn(3))
