"""The shared blocks: range, shapes, and the networks against plain functional calls."""

import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from course_lib.models.blocks import ConvDecoder, ConvEncoder, from_network, to_network


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_to_network_maps_black_grey_and_white():
    assert to_network(torch.tensor([0.0, 0.5, 1.0])).tolist() == [-1.0, 0.0, 1.0]


def test_from_network_leads_back():
    assert from_network(torch.tensor([-1.0, 0.0, 1.0])).tolist() == [0.0, 0.5, 1.0]
    images = torch.rand(5, generator=seeded())
    assert torch.allclose(from_network(to_network(images)), images, atol=1e-7)


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
