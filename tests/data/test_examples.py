"""The photographs that ship."""

import itertools

import pytest
import torch

from course_lib import data


@pytest.mark.parametrize("name", data.EXAMPLES)
def test_an_example_is_a_photograph(name):
    image = data.example(name)
    assert image.shape == (1, 3, 256, 256)
    assert image.dtype == torch.float32
    levels = 255 * image
    assert torch.allclose(levels, levels.round(), atol=1e-4)
    assert 0 <= image.min() < 0.1
    assert 0.8 < image.max() <= 1
    assert image.std() > 0.1
    assert torch.equal(image, data.example(name))


def test_examples_are_different():
    for first, second in itertools.combinations(map(data.example, data.EXAMPLES), 2):
        assert (first - second).abs().mean() > 0.05


@pytest.mark.parametrize("name", ["Arches", "", "../example-arches", "lena"])
def test_unknown_examples_list_the_known(name):
    with pytest.raises(ValueError, match="known: arches, stones, bridge"):
        data.example(name)
