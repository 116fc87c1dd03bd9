"""The U-Net of SRDiff."""

import pytest
import torch
from torch.testing import assert_close

from course_lib.models import unet
from course_lib.upscaling import SRDiffConfig
from course_lib.upscaling.denoiser import ConditionalUNet, time_embedding
from course_lib.upscaling.srdiff import build_denoiser


def small(multipliers: tuple[int, ...] = (1, 2), **options) -> ConditionalUNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ConditionalUNet(5, hidden=4, multipliers=multipliers, **options).eval()


def seeded(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_projected_condition_is_that_of_the_authors(golden, golden_srdiff):
    projected = golden_srdiff.denoise_fn.project(golden["cond_cat"])
    assert_close(projected, golden["cond_proj"], atol=1e-5, rtol=0)


def test_time_embedding_is_that_of_the_authors(golden, golden_srdiff):
    embedding = time_embedding(golden["t_list"], 8)
    assert_close(embedding, golden["time_emb"], atol=1e-6, rtol=0)
    assert_close(golden_srdiff.denoise_fn.mlp(embedding), golden["time_mlp"], atol=1e-5, rtol=0)


def test_time_embedding_is_not_that_of_ddpm():
    t = torch.tensor([50])
    assert (time_embedding(t, 64) - unet.time_embedding(t, 64)).abs().max() > 0.1


def test_frequencies_run_from_one_to_one_in_ten_thousand():
    embedding = time_embedding(torch.tensor([1]), 10)
    assert_close(embedding[0, 0], torch.tensor(1.0).sin())
    assert_close(embedding[0, 4], torch.tensor(1e-4).sin())


def test_predicted_noise_is_that_of_the_authors(golden, golden_srdiff):
    steps = golden["t_list"]
    x_t = golden["x_t"].expand(len(steps), -1, -1, -1)
    projected = golden["cond_proj"].expand(len(steps), -1, -1, -1)
    assert_close(golden_srdiff.denoise_fn(x_t, steps, projected), golden["eps"], atol=1e-5, rtol=0)


def test_size_of_the_official_network():
    network = build_denoiser(SRDiffConfig.official("div2k"), 96)
    assert round(sum(p.numel() for p in network.parameters()) / 1e6, 2) == 11.76


@pytest.mark.equation("srdiff-condition")
def test_the_condition_is_added_after_the_first_level():
    """What goes down from the first level is its blocks' output plus the condition."""
    network, seen = small(), {}
    _, second, down = network.downs[0]
    second.register_forward_hook(lambda *call: seen.update(output=call[-1]))
    down.register_forward_pre_hook(lambda module, inputs: seen.update(below=inputs[0]))
    projected = network.project(seeded(2, 5, 2, 3))
    assert projected.shape == (2, 4, 8, 12)
    network(seeded(2, 3, 8, 12), torch.tensor([0, 7]), projected)
    assert_close(seen["below"], seen["output"] + projected, rtol=0, atol=0)


@pytest.mark.equation("srdiff-condition")
def test_the_projection_is_a_transposed_convolution():
    """One feature of one pixel reaches 2 scale x 2 scale pixels, and their bias the others."""
    network = small(scale=2)
    condition = torch.zeros(1, 5, 3, 3)
    condition[0, 2, 1, 1] = 1
    projected = network.project(condition) - network.cond_proj.bias.view(1, -1, 1, 1)
    assert_close(projected[0, :, 1:5, 1:5], network.cond_proj.weight[2])
    projected[0, :, 1:5, 1:5] = 0
    assert_close(projected, torch.zeros_like(projected))


@pytest.mark.parametrize("multipliers", [(1,), (1, 3), (1, 2, 2, 4)])
def test_the_prediction_is_as_large_as_the_state(multipliers):
    network = small(multipliers)
    height, width = 2 * network.multiple, 3 * network.multiple
    projected = torch.zeros(2, 4, height, width)
    out = network(seeded(2, 3, height, width), torch.tensor([0, 99]), projected)
    assert out.shape == (2, 3, height, width)


def test_images_of_a_batch_are_independent():
    network = small()
    x, projected, t = seeded(2, 3, 8, 8), seeded(2, 4, 8, 8), torch.tensor([3, 60])
    alone = network(x[1:], t[1:], projected[1:])
    assert_close(network(x, t, projected)[1:], alone, atol=1e-6, rtol=1e-5)


def test_every_weight_can_learn():
    network = small()
    projected = network.project(seeded(1, 5, 2, 2))
    network(seeded(1, 3, 8, 8), torch.tensor([5]), projected).square().sum().backward()
    still = [
        name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum()
    ]
    assert not still


@pytest.mark.parametrize(("height", "width"), [(8, 10), (9, 8), (4, 8), (8, 4)])
def test_sides_that_cannot_be_halved(height, width):
    with pytest.raises(ValueError, match=rf"divisible by 4 and at least 8, .* {height} x {width}"):
        small((1, 2, 2))(
            torch.zeros(1, 3, height, width),
            torch.tensor([0]),
            torch.zeros(1, 4, height, width),
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": 7}, "hidden must be even"),
        ({"hidden": 2}, "at least 4"),
        ({"multipliers": ()}, "begin with 1"),
        ({"multipliers": (2, 4)}, "begin with 1"),
        ({"scale": 3}, "scale must be even"),
    ],
)
def test_impossible_networks(options, message):
    with pytest.raises(ValueError, match=message):
        ConditionalUNet(5, **options)
