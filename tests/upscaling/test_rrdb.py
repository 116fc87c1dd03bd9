"""The encoder of SRDiff."""

import pytest
import torch
from torch.testing import assert_close

from course_lib.models.blocks import from_network
from course_lib.upscaling.rrdb import RRDB, RRDBConfig, RRDBEncoder


def small(blocks: int = 3, features: int = 4, scale: int = 4) -> RRDBEncoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return RRDBEncoder(RRDBConfig(blocks=blocks, features=features, scale=scale))


@pytest.fixture
def lr() -> torch.Tensor:
    return 2 * torch.rand(2, 3, 5, 6, generator=torch.Generator().manual_seed(1)) - 1


def test_image_and_condition_are_those_of_the_authors(golden, golden_srdiff):
    image, condition = golden_srdiff.rrdb(golden["img_lr"])
    assert_close(image, golden["rrdb_out"], atol=1e-5, rtol=0)
    assert_close(condition, golden["cond_cat"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_the_image_is_larger_by_the_scale(lr, scale):
    image, condition = small(scale=scale)(lr)
    assert image.shape == (2, 3, 5 * scale, 6 * scale)
    assert condition.shape == (2, 4, 5, 6)


@pytest.mark.parametrize(("blocks", "entries"), [(2, 1), (4, 1), (5, 2), (7, 2), (8, 3)])
def test_channels_of_the_condition(lr, blocks, entries):
    encoder = small(blocks)
    assert encoder(lr)[1].shape[1] == encoder.condition_channels == 4 * entries


def test_the_condition_is_every_third_output_from_the_third(lr):
    """Of eight blocks and the trunk: the third block, the sixth, and the trunk."""
    encoder, outputs = small(blocks=8), []
    for block in encoder.RRDB_trunk:
        block.register_forward_hook(lambda *call: outputs.append(call[-1]))
    _, condition = encoder(lr)
    trunk = encoder.conv_first(from_network(lr)) + encoder.trunk_conv(outputs[7])
    assert_close(condition, torch.cat([outputs[2], outputs[5], trunk], dim=1), rtol=0, atol=0)


def test_the_image_stays_in_range(lr):
    encoder = small()
    with torch.no_grad():
        encoder.conv_last.weight.mul_(1000)
    image, _ = encoder(lr)
    assert image.min() == -1
    assert image.max() == 1


def test_a_block_without_its_last_convolutions_is_the_identity():
    block, x = RRDB(4), torch.randn(1, 4, 5, 5)
    with torch.no_grad():
        for dense in (block.RDB1, block.RDB2, block.RDB3):
            dense.conv5.weight.zero_()
            dense.conv5.bias.zero_()
        assert_close(block(x), x + 0.2 * x, rtol=0, atol=1e-6)


def test_every_weight_can_learn(lr):
    encoder = small().double()
    image, condition = encoder(lr.double() / 4)
    (image.sum() + condition.sum()).backward()
    still = [name for name, p in encoder.named_parameters() if p.grad is None]
    assert not still


def test_encoders_share_a_name_for_what_they_do(lr):
    encoder = small()
    for one, other in zip(encoder.forward_with_condition(lr), encoder(lr), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("scale", [0, 1, 3, 6, -4])
def test_scales_that_are_no_power_of_two(scale):
    with pytest.raises(ValueError, match=f"power of two from 2, not {scale}"):
        RRDBEncoder(RRDBConfig(scale=scale))


def test_too_few_blocks_for_a_condition():
    with pytest.raises(ValueError, match="at least 2"):
        RRDBEncoder(RRDBConfig(blocks=1))
