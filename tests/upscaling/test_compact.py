"""The denoiser of the embedded SRDiff."""

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from course_lib.upscaling.compact import CompactUNet, ModulatedBlock


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def tiny(*, trained: bool = True, **options) -> CompactUNet:
    """A network of few weights; 'trained' moves those that start at zero."""
    config = {"hidden": 8, "multipliers": (1, 2, 2), "fold": 4, "time_dim": 16}
    with torch.random.fork_rng():
        torch.manual_seed(2)
        network = CompactUNet(5, **(config | options)).eval()
        if trained:
            with torch.no_grad():
                for parameter in network.parameters():
                    parameter.add_(0.05 * torch.randn_like(parameter))
    return network


def test_it_starts_at_zero():
    network = tiny(trained=False)
    x, t = noise(2, 3, 32, 16), torch.tensor([3, 90])
    projected = network.project(noise(2, 5, 8, 4, seed=1))
    assert not network(x, t, projected).any()


def test_a_block_starts_as_the_identity():
    x, time = noise(2, 6, 4, 4), noise(2, 16, seed=1)
    assert torch.equal(ModulatedBlock(6, 16)(x, time), x)


@pytest.mark.parametrize(
    ("multipliers", "fold", "multiple"),
    [((1,), 4, 4), ((1, 2), 4, 8), ((1, 2, 2), 4, 16), ((1, 1), 2, 4), ((1,), 1, 1)],
)
def test_sides_are_multiples(multipliers, fold, multiple):
    network = tiny(multipliers=multipliers, fold=fold)
    assert network.multiple == multiple
    for height, width in ((multiple, 2 * multiple), (3 * multiple, multiple)):
        projected = network.project(noise(1, 5, height // fold, width // fold))
        x = noise(1, 3, height, width)
        assert network(x, torch.tensor([4]), projected).shape == x.shape


def test_every_side_that_is_not_a_multiple_fails():
    network = tiny()
    with pytest.raises(RuntimeError):
        network(noise(1, 3, 24, 16), torch.tensor([4]), network.project(noise(1, 5, 6, 4)))


def test_time_matters_for_each_image_by_itself():
    network = tiny()
    x, projected = noise(1, 3, 16, 16), network.project(noise(1, 5, 4, 4))
    early, late = (network(x, torch.tensor([t]), projected) for t in (3, 90))
    assert (early - late).abs().max() > 1e-3
    both = network(x.expand(2, -1, -1, -1), torch.tensor([3, 90]), projected.expand(2, -1, -1, -1))
    assert_close(both, torch.cat([early, late]))


def test_every_parameter_takes_part():
    network = tiny()
    predicted = network(
        noise(2, 3, 32, 32), torch.tensor([5, 60]), network.project(noise(2, 5, 8, 8))
    )
    predicted.square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.equation("srdiff-condition")
def test_the_condition_is_added_to_the_first_features():
    """Projected once for all steps, it is what every step would have computed itself."""
    network, condition = tiny(), noise(2, 5, 4, 4, seed=1)
    x, t = noise(2, 3, 16, 16), torch.tensor([3, 90])
    projected = network.project(condition)
    seen = []
    hook = network.down[0][0].register_forward_hook(lambda _, given, __: seen.append(given[0]))
    predicted = network(x, t, projected)
    hook.remove()
    folded = F.pixel_unshuffle(x, 4)
    together = F.conv2d(
        torch.cat([folded, condition], dim=1),
        torch.cat([network.first.weight, network.condition.weight], dim=1),
        network.first.bias + network.condition.bias,
        padding=1,
    )
    assert_close(seen[0], together)
    assert_close(network(x, t, network.project(condition)), predicted, rtol=0, atol=0)
    other = network(x, t, network.project(condition.flip(1)))
    assert (other - predicted).abs().max() > 1e-3


@pytest.mark.equation("srdiff-gain")
def test_it_predicts_a_gain_times_the_state_plus_a_correction():
    network = tiny()
    x, t = noise(1, 3, 16, 16), torch.tensor([40])
    projected = network.project(noise(1, 5, 4, 4, seed=1))
    seen = []
    hook = network.last.register_forward_hook(lambda _, __, result: seen.append(result))
    predicted = network(x, t, projected)
    hook.remove()
    gain, correction = (F.pixel_shuffle(part, 4) for part in seen[0].split(48, dim=1))
    assert_close(predicted, gain * x + correction)


def test_what_is_far_away_does_not_matter():
    """No normalisation: a tile's inside is what the whole image would give there."""
    network = tiny()
    x, condition, t = noise(1, 3, 16, 1280), noise(1, 5, 4, 320, seed=1), torch.tensor([40])
    whole = network(x, t, network.project(condition))
    part = network(x[..., :960], t, network.project(condition[..., :240]))
    assert_close(part[..., :640], whole[..., :640], rtol=0, atol=1e-6)
    assert (part - whole[..., :960]).abs().max() > 1e-4


def test_tiles_that_start_at_multiples_see_the_same_grid():
    network = tiny()
    x, condition, t = noise(1, 3, 16, 1280), noise(1, 5, 4, 320, seed=1), torch.tensor([40])
    whole = network(x, t, network.project(condition))
    cut = 20 * network.multiple
    part = network(x[..., cut:], t, network.project(condition[..., cut // 4 :]))
    assert_close(part[..., 320:], whole[..., cut + 320 :], rtol=0, atol=1e-6)
