"""The regression model: a bicubic enlargement and what a network adds to it."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from course_lib.models.blocks import from_network, to_network
from course_lib.training.loop import TrainConfig, fit
from course_lib.upscaling import RegressionConfig, ResidualSR


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def tiny(*, trained: bool = True, **options) -> ResidualSR:
    """A model of few weights; 'trained' moves those that start at zero."""
    config = {"channels": 8, "blocks": 1, "inner_channels": 8, "inner_blocks": 2}
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = ResidualSR(RegressionConfig(**(config | options))).eval()
        if trained:
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(0.05 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(6, 8), (5, 7), (1, 1), (1, 9)])
def test_before_training_it_is_bicubic(scale, size):
    lr = images(2, 3, *size)
    sr = ResidualSR(RegressionConfig(scale=scale))(lr)
    bicubic = F.interpolate(lr, scale_factor=scale, mode="bicubic")
    assert_close(sr, bicubic, rtol=0, atol=1e-6)


def test_it_keeps_to_the_budget():
    assert sum(p.numel() for p in ResidualSR().parameters()) <= 1_600_000


@given(height=st.integers(1, 13), width=st.integers(1, 13), scale=st.integers(1, 4))
def test_any_size_is_enlarged_and_described(height, width, scale):
    """The condition of SRDiff is at the low resolution, also where sides are odd."""
    model = tiny(scale=scale)
    sr, features = model.forward_with_condition(images(2, 3, height, width))
    assert sr.shape == (2, 3, scale * height, scale * width)
    assert features.shape == (2, model.condition_channels, height, width)
    assert sr.isfinite().all()


def test_odd_sides_are_extended_by_their_last_pixels():
    model, lr = tiny(), images(1, 3, 7, 9)
    extended = torch.cat([lr, lr[:, :, -1:]], dim=2)
    extended = torch.cat([extended, extended[..., -1:]], dim=3)
    _, features = model.forward_with_condition(lr)
    _, of_extended = model.forward_with_condition(extended)
    assert_close(features, of_extended[:, :, :7, :9])


def test_forward_takes_images_and_the_condition_networks_pictures():
    model, lr = tiny(), images(2, 3, 6, 6)
    sr, _ = model.forward_with_condition(to_network(lr))
    assert_close(model(lr), from_network(sr))


def test_every_parameter_takes_part():
    model = tiny()
    model.loss((images(2, 3, 6, 6), images(2, 3, 24, 24, seed=1)))[0].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.equation("sr-regression")
def test_the_loss_is_the_mean_absolute_error():
    model, lr, hr = tiny(), images(3, 3, 5, 6), images(3, 3, 20, 24, seed=1)
    loss, logs = model.loss((lr, hr))
    differences = [
        abs(a - b) for a, b in zip(model(lr).flatten().tolist(), hr.flatten().tolist(), strict=True)
    ]
    assert loss.item() == pytest.approx(sum(differences) / len(differences), rel=1e-4)
    assert logs == {}


@pytest.mark.equation("sr-regression")
def test_of_many_answers_it_learns_the_one_in_the_middle(tmp_path):
    """The absolute error is least for the median: half of what would fit, and no sharp one."""
    lr = torch.full((300, 3, 2, 2), 0.5)
    levels = torch.tensor([0.1, 0.6, 0.7]).repeat(100)
    hr = levels.view(-1, 1, 1, 1).expand(300, 3, 4, 4).contiguous()
    config = TrainConfig(steps=60, batch_size=60, learning_rate=2e-2, save_seconds=1e9)
    data = torch.utils.data.TensorDataset(lr, hr)
    trained = fit(tiny(scale=2), data, config, folder=tmp_path, identity={}, quiet=True)
    assert trained(lr[:1]).mean().item() == pytest.approx(0.6, abs=0.05)


def test_what_is_far_away_does_not_matter():
    """Without normalisation a pixel depends on its surroundings alone: tiles are possible."""
    model, lr = tiny(), images(1, 3, 8, 160)
    changed = lr.clone()
    changed[..., :40] = images(1, 3, 8, 40, seed=3)
    far = (model(lr) - model(changed))[..., 4 * 80 :]
    near = (model(lr) - model(changed))[..., 4 * 36 : 4 * 40]
    assert_close(far, torch.zeros_like(far), rtol=0, atol=1e-6)
    assert near.abs().max() > 0.1


def test_a_grown_network_computes_the_same_and_its_new_blocks_learn():
    small = tiny(channels=8, blocks=1, inner_blocks=2)
    config = replace(small.config, blocks=2, inner_blocks=5)
    grown = ResidualSR.grown(small, config)
    assert grown.config == config
    lr, hr = images(2, 3, 9, 7), images(2, 3, 36, 28, seed=1)
    assert torch.equal(grown(lr), small(lr))
    before = {name: value.clone() for name, value in grown.named_parameters()}
    data = torch.utils.data.TensorDataset(lr, hr)
    fit(grown, data, TrainConfig(steps=3, batch_size=2, ema=0.0), quiet=True)
    moved = {name for name, value in grown.named_parameters() if (value != before[name]).any()}
    assert {"before.1.conv2.weight", "inner.4.conv2.weight", "after.1.conv2.weight"} <= moved


@pytest.mark.parametrize("options", [{"blocks": 0}, {"inner_blocks": 1}, {"channels": 9}])
def test_a_network_neither_shrinks_nor_widens(options):
    small = tiny()
    with pytest.raises(ValueError, match="cannot grow"):
        ResidualSR.grown(small, replace(small.config, **options))
