"""The U-Net against the same weights written out by hand, and its properties."""

import dataclasses
import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from course_lib.models import UNet, UNetConfig
from course_lib.models.unet import Attention, ResidualBlock, time_embedding

SMALL = UNetConfig(channels=(8, 16), attention=(False, True), time_dim=16, groups=4)
CONFIGS = {
    "small": SMALL,
    "one level": UNetConfig(channels=(8,), attention=(True,), time_dim=16),
    "three levels": UNetConfig(
        channels=(8, 8, 24), attention=(True, False, False), time_dim=24, patch=1
    ),
    "coloured": dataclasses.replace(SMALL, in_channels=6, out_channels=3, patch=4),
    "default": UNetConfig(),
}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some_pictures(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=seeded(seed))


@torch.no_grad()
def awake(module: nn.Module, seed: int = 0) -> nn.Module:
    """Give random values to all weights, also to those that start at zero or at one."""
    generator = seeded(seed)
    for name, values in module.named_parameters():
        values.copy_(0.3 * torch.randn(values.shape, generator=generator))
        if "norm" in name and name.endswith("weight"):
            values.add_(1)
    return module.requires_grad_(False)


# Time


@pytest.mark.equation("ddpm-time")
@pytest.mark.parametrize("dim", [2, 6, 32])
def test_time_embedding_by_hand(dim):
    """First all sines, then all cosines, of t / 10000^(2 k / dim)."""
    times = [0, 1, 7, 499, 999]
    expected = [
        [
            f(t / 10_000 ** (2 * k / dim))
            for f, k in itertools.product((math.sin, math.cos), range(dim // 2))
        ]
        for t in times
    ]
    embedded = time_embedding(torch.tensor(times), dim)
    assert embedded.shape == (5, dim)
    assert torch.allclose(embedded, torch.tensor(expected), atol=1e-4)


@pytest.mark.equation("ddpm-time")
def test_time_may_be_fractional():
    embedded = time_embedding(torch.tensor([2.5]), 4)
    expected = [math.sin(2.5), math.sin(0.025), math.cos(2.5), math.cos(0.025)]
    assert embedded.tolist()[0] == pytest.approx(expected, abs=1e-6)


@pytest.mark.equation("ddpm-time")
def test_time_embedding_tells_all_thousand_steps_apart():
    """Neighbours by the fast waves, and those that fall together there by the slow ones."""
    dim = UNetConfig().time_dim // 4
    embedded = time_embedding(torch.arange(1000), dim)
    distances = torch.cdist(embedded, embedded) + 100 * torch.eye(1000)
    assert distances.min() > 0.5


@pytest.mark.equation("ddpm-time")
@given(st.integers(0, 900), st.integers(0, 900), st.integers(0, 99))
def test_likeness_of_two_times_depends_on_what_lies_between_them(first, second, apart):
    def likeness(t: int) -> float:
        a, b = time_embedding(torch.tensor([t, t + apart]), 16).double()
        return (a @ b).item()

    assert likeness(first) == pytest.approx(likeness(second), abs=1e-3)


# Attention


@pytest.mark.equation("ddpm-attention")
def test_attention_against_brute_force():
    """Place by place and channel by channel: softmax(q k / sqrt(C)) over all places."""
    attention = awake(Attention(4, 2)).double()
    x = some_pictures(2, 4, 3, 2).double()
    weight, bias = attention.qkv.weight[:, :, 0, 0], attention.qkv.bias
    expected = x.clone()
    for n in range(2):
        normed = group_norm(x[n : n + 1], 2, attention.norm)[0].flatten(1)  # (4, 6)
        qkv = [weight @ normed[:, place] + bias for place in range(6)]
        q, k, v = ([vector[4 * part : 4 * part + 4] for vector in qkv] for part in range(3))
        for here in range(6):
            scores = [math.exp(sum(q[here] * k[there]).item() / 2) for there in range(6)]
            mixed = sum(s * v[there] for there, s in enumerate(scores)) / sum(scores)
            result = attention.out.weight[:, :, 0, 0] @ mixed + attention.out.bias
            expected[n, :, here // 2, here % 2] += result
    assert torch.allclose(attention(x), expected, rtol=1e-9)


@pytest.mark.equation("ddpm-attention")
def test_attention_does_not_know_places():
    """A permutation of the places is one of the results."""
    attention, x = awake(Attention(8, 4)).double(), some_pictures(2, 8, 3, 4).double()
    order = torch.randperm(12, generator=seeded(1))

    def permuted(y: torch.Tensor) -> torch.Tensor:
        return y.flatten(2)[:, :, order].view_as(y)

    assert torch.allclose(attention(permuted(x)), permuted(attention(x)), rtol=1e-9)
    assert not torch.allclose(permuted(attention(x)), attention(x))


@pytest.mark.equation("ddpm-attention")
def test_attention_sees_every_place():
    attention, x = awake(Attention(8, 4)).double(), some_pictures(1, 8, 3, 3).double()
    jacobian = torch.autograd.functional.jacobian(attention, x)[0].sum((0, 3)).abs().amax(2)
    assert (jacobian > 0).all()


@pytest.mark.parametrize("part", [Attention(8, 4), Attention(16, 2)])
def test_attention_starts_as_its_shortcut(part):
    x = some_pictures(2, part.norm.num_channels, 3, 3)
    assert torch.equal(part(x), x)


# Blocks


def group_norm(x: torch.Tensor, groups: int, norm: nn.GroupNorm) -> torch.Tensor:
    """Every group of channels of every picture to mean 0 and variance 1, then scaled."""
    n, c, h, w = x.shape
    parts = x.reshape(n, groups, -1)
    centered = parts - parts.mean(2, keepdim=True)
    normed = centered / (centered.square().mean(2, keepdim=True) + 1e-5).sqrt()
    return normed.view(n, c, h, w) * norm.weight.view(-1, 1, 1) + norm.bias.view(-1, 1, 1)


def silu(x: torch.Tensor) -> torch.Tensor:
    return x / (1 + torch.exp(-x))


def block_by_hand(block: ResidualBlock, x, time, groups: int) -> torch.Tensor:
    h = silu(group_norm(x, groups, block.norm1))
    h = F.conv2d(h, block.conv1.weight, block.conv1.bias, padding=1)
    shift = silu(time) @ block.time.weight.T + block.time.bias
    h = silu(group_norm(h + shift[:, :, None, None], groups, block.norm2))
    h = F.conv2d(h, block.conv2.weight, block.conv2.bias, padding=1)
    if x.shape[1] != h.shape[1]:
        x = F.conv2d(x, block.shortcut.weight, block.shortcut.bias)
    return x + h


def attention_by_hand(attention: Attention, x, groups: int) -> torch.Tensor:
    normed = group_norm(x, groups, attention.norm)
    qkv = F.conv2d(normed, attention.qkv.weight, attention.qkv.bias)
    q, k, v = (part.flatten(2).transpose(1, 2) for part in qkv.chunk(3, dim=1))
    mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape)
    return x + F.conv2d(mixed, attention.out.weight, attention.out.bias)


@pytest.mark.parametrize(("inputs", "outputs"), [(8, 8), (8, 12), (12, 4)])
def test_residual_block_by_hand(inputs, outputs):
    block = awake(ResidualBlock(inputs, outputs, 6, 4)).double()
    x, time = some_pictures(3, inputs, 5, 4).double(), some_pictures(3, 6, seed=1).double()
    assert torch.allclose(block(x, time), block_by_hand(block, x, time, 4), rtol=1e-9)


def test_residual_block_starts_as_its_shortcut():
    x, time = some_pictures(2, 8, 4, 4), some_pictures(2, 6)
    assert torch.equal(ResidualBlock(8, 8, 6, 4)(x, time), x)
    wider = ResidualBlock(8, 16, 6, 4)
    assert torch.equal(wider(x, time), wider.shortcut(x))


# The network


def by_hand(network: UNet, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """The configuration ``SMALL`` layer by layer, with the skips by name."""
    config = network.config
    assert config == SMALL

    def block(module, *inputs):
        return block_by_hand(module, torch.cat(inputs, 1), time, config.groups)

    def convolution(module, y, stride=1):
        return F.conv2d(y, module.weight, module.bias, stride=stride, padding=1)

    angles = [[i / 10_000 ** (k / 2) for k in range(2)] for i in t.tolist()]
    angles = torch.tensor(angles)
    first, _, second = network.time
    time = torch.cat([angles.sin(), angles.cos()], 1) @ first.weight.T + first.bias
    time = silu(time) @ second.weight.T + second.bias

    n, c, h, w = x.shape
    folded = x.view(n, c, h // 2, 2, w // 2, 2).permute(0, 1, 3, 5, 2, 4)
    start = convolution(network.first, folded.reshape(n, 4 * c, h // 2, w // 2))
    high, low = network.down
    high_1 = block(high["blocks"][0], start)
    high_2 = block(high["blocks"][1], high_1)
    low_1 = block(low["blocks"][0], convolution(high["resize"], high_2, stride=2))
    low_2 = block(low["blocks"][1], low_1)
    y = attention_by_hand(low["attend"], low_2, config.groups)

    y = block(network.middle, y)
    y = attention_by_hand(network.middle_attend, y, config.groups)

    low, high = network.up
    y = block(low["blocks"][0], y, low_2)
    y = block(low["blocks"][1], y, low_1)
    y = attention_by_hand(low["attend"], y, config.groups)
    y = convolution(low["resize"][1], y.repeat_interleave(2, 2).repeat_interleave(2, 3))
    y = block(high["blocks"][0], y, high_2)
    y = block(high["blocks"][1], y, high_1)

    y = block(network.last_block, y, start)
    y = convolution(network.last, silu(group_norm(y, config.groups, network.last_norm)))
    unfolded = y.view(n, c, 2, 2, h // 2, w // 2).permute(0, 1, 4, 2, 5, 3)
    return unfolded.reshape(n, c, h, w)


def test_network_by_hand():
    network, x = awake(UNet(SMALL)), some_pictures(3, 1, 8, 12)
    t = torch.tensor([0, 17, 999])
    assert torch.allclose(network(x, t), by_hand(network, x, t), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", CONFIGS)
def test_shapes(name):
    config = CONFIGS[name]
    side = config.patch * 2 ** (len(config.channels) - 1)
    for height, width in ((2 * side, 2 * side), (side, 3 * side)):
        x = some_pictures(2, config.in_channels, height, width)
        output = UNet(config)(x, torch.tensor([0, 5]))
        assert output.shape == (2, config.out_channels, height, width)


def number_of_weights(config: UNetConfig) -> int:
    """Counted from the description of the network."""

    def convolution(inputs: int, outputs: int, kernel: int = 3) -> int:
        return inputs * outputs * kernel**2 + outputs

    def block(inputs: int, outputs: int) -> int:
        norms, time = 2 * (inputs + outputs), (config.time_dim + 1) * outputs
        shortcut = convolution(inputs, outputs, 1) if inputs != outputs else 0
        return (
            norms + time + convolution(inputs, outputs) + convolution(outputs, outputs) + shortcut
        )

    def attention(width: int) -> int:
        return 2 * width + convolution(width, 3 * width, 1) + convolution(width, width, 1)

    channels, d, pixels = config.channels, config.time_dim, config.patch**2
    total = (d // 4 + 1) * d + (d + 1) * d
    total += convolution(config.in_channels * pixels, channels[0])
    for before, width, attends in zip(
        (channels[0], *channels[:-1]), channels, config.attention, strict=True
    ):
        total += block(before, width) + block(width, width)  # down
        total += 2 * block(2 * width, width)  # up
        total += 2 * attends * attention(width)
    for upper, lower in itertools.pairwise(channels):
        total += convolution(upper, upper) + convolution(lower, upper)
    total += block(channels[-1], channels[-1]) + attention(channels[-1])
    total += block(2 * channels[0], channels[0]) + 2 * channels[0]
    return total + convolution(channels[0], config.out_channels * pixels)


@pytest.mark.parametrize("name", CONFIGS)
def test_number_of_weights(name):
    config = CONFIGS[name]
    assert sum(p.numel() for p in UNet(config).parameters()) == number_of_weights(config)


@pytest.mark.parametrize("attention", list(itertools.product([False, True], repeat=2)))
def test_attention_is_where_it_was_asked_for(attention):
    network = UNet(dataclasses.replace(SMALL, attention=attention))
    for level, wanted in enumerate(attention):
        kind = Attention if wanted else nn.Identity
        assert type(network.down[level]["attend"]) is kind
        assert type(network.up[1 - level]["attend"]) is kind
    assert isinstance(network.middle_attend, Attention)


@pytest.mark.parametrize("name", CONFIGS)
def test_network_starts_at_zero(name):
    """So that the first loss is that of no prediction, and training starts gently."""
    config = CONFIGS[name]
    side = config.patch * 2 ** (len(config.channels) - 1)
    x = some_pictures(2, config.in_channels, side, side)
    assert (UNet(config)(x, torch.tensor([3, 900])) == 0).all()


def test_time_matters():
    network, x = awake(UNet(SMALL)), some_pictures(1, 1, 8, 8)
    outputs = network(x.expand(4, 1, 8, 8), torch.tensor([0, 1, 500, 999]))
    for a, b in itertools.combinations(outputs, 2):
        assert (a - b).abs().max() > 1e-3
    whole, fractional = torch.tensor([5]), torch.tensor([5.0])
    assert torch.equal(network(x, whole), network(x, fractional))


def test_every_picture_is_treated_for_itself():
    """With its own time, and no norm over the batch; in training as in evaluation."""
    network, x = awake(UNet(SMALL)), some_pictures(3, 1, 8, 8)
    t = torch.tensor([1, 50, 999])
    together = network.train()(x, t)
    for n in range(3):
        alone = network.eval()(x[n : n + 1], t[n : n + 1])
        assert torch.allclose(together[n], alone[0], rtol=1e-4, atol=1e-5)


def test_skips_carry_what_the_bottleneck_loses(monkeypatch):
    """With nothing passing at the bottom, every pixel still reaches the output."""
    network, t = awake(UNet(SMALL)), torch.tensor([3])
    monkeypatch.setattr(network.middle_attend, "forward", torch.zeros_like)
    x = some_pictures(1, 1, 8, 8).requires_grad_()
    jacobian = torch.autograd.functional.jacobian(lambda y: network(y, t).flatten(), x)
    assert (jacobian.flatten(1).abs().amax(0) > 1e-4).all()


def test_bottleneck_is_used(monkeypatch):
    network, x, t = awake(UNet(SMALL)), some_pictures(1, 1, 8, 8), torch.tensor([3])
    whole = network(x, t)
    monkeypatch.setattr(network.middle_attend, "forward", torch.zeros_like)
    assert not torch.allclose(network(x, t), whole, atol=1e-3)


def test_patches_are_folded_into_channels_and_back():
    """Pixel (2 i + a, 2 j + b) is channel 2 a + b at place (i, j), in and out."""
    network, seen = UNet(SMALL), {}
    network.first.register_forward_hook(lambda m, inputs, output: seen.update(folded=inputs[0]))
    made = some_pictures(1, 4, 2, 4, seed=1)
    network.last.register_forward_hook(lambda m, inputs, output: made)
    x = some_pictures(1, 1, 4, 8)
    output = network(x, torch.tensor([0]))
    for i, j, a, b in itertools.product(range(2), range(4), range(2), range(2)):
        assert seen["folded"][0, 2 * a + b, i, j] == x[0, 0, 2 * i + a, 2 * j + b]
        assert output[0, 0, 2 * i + a, 2 * j + b] == made[0, 2 * a + b, i, j]


def test_network_knows_no_places():
    """On a torus (every convolution wraps around) it moves along with its input.

    By whole steps of its coarsest grid. Only its padding tells a picture's border.
    """
    network, x, t = awake(UNet(SMALL)), some_pictures(1, 1, 16, 8), torch.tensor([4])
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.padding_mode = "circular"
    moved = network(x.roll((4, -4), (2, 3)), t)
    assert torch.allclose(moved, network(x, t).roll((4, -4), (2, 3)), rtol=1e-3, atol=1e-4)


def test_gradients_reach_all_weights_within_three_steps():
    """In the first step only the last layer's: the others are behind zeros."""
    network = UNet(SMALL)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    x, wanted = some_pictures(4, 1, 8, 8), some_pictures(4, 1, 8, 8, seed=1)
    reached = []
    for _ in range(4):
        optimizer.zero_grad()
        (network(x, torch.arange(4)) - wanted).square().mean().backward()
        reached.append({n for n, p in network.named_parameters() if p.grad.abs().max() > 0})
        optimizer.step()
    assert reached[0] == {"last.weight", "last.bias"}
    assert reached[3] == {name for name, _ in network.named_parameters()}


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-5), (torch.bfloat16, 0.05)])
def test_network_works_in_other_precisions(dtype, tolerance):
    network, x, t = awake(UNet(SMALL)), some_pictures(2, 1, 8, 8), torch.tensor([3, 900])
    expected = network(x, t)
    output = network.to(dtype)(x.to(dtype), t)
    assert output.dtype == dtype
    assert (output.float() - expected).norm() < tolerance * expected.norm()


def test_weights_fit_exactly_or_not_at_all():
    state = awake(UNet(SMALL)).state_dict()
    network, x, t = UNet(SMALL), some_pictures(1, 1, 8, 8), torch.tensor([3])
    network.load_state_dict(state)
    assert torch.equal(network(x, t), awake(UNet(SMALL))(x, t))
    assert state.keys() == {name for name, _ in network.named_parameters()}  # no buffers
    with pytest.raises(RuntimeError, match="Missing key"):
        network.load_state_dict({k: v for k, v in state.items() if k != "last.bias"})
    with pytest.raises(RuntimeError, match="Unexpected key"):
        network.load_state_dict(state | {"extra": torch.zeros(1)})
    with pytest.raises(RuntimeError, match="size mismatch"):
        UNet(dataclasses.replace(SMALL, channels=(8, 24))).load_state_dict(state)


# What is refused


@pytest.mark.parametrize(("height", "width"), [(8, 10), (6, 8), (7, 7)])
def test_pictures_that_cannot_be_halved_are_refused(height, width):
    message = rf"height and width must be divisible by 4, not \({height}, {width}\)"
    with pytest.raises(ValueError, match=message):
        UNet(SMALL)(torch.zeros(1, 1, height, width), torch.tensor([0]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"attention": (True,)},
            "attention needs one entry for each of the 2 resolutions, not 1",
        ),
        ({"channels": (8, 20)}, r"channels \[20\] are not divisible into 8 groups"),
        ({"groups": 5}, r"channels \[32, 64\] are not divisible into 5 groups"),
        ({"time_dim": 30}, "time_dim must be divisible by 8, but is 30"),
        ({"time_dim": 12}, "time_dim must be divisible by 8, but is 12"),
    ],
)
def test_impossible_configs_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        UNetConfig(**options)


def test_default_config_is_used_and_frozen():
    network = UNet()
    assert network.config == UNetConfig(
        in_channels=1,
        out_channels=1,
        channels=(32, 64),
        attention=(False, True),
        patch=2,
        time_dim=128,
        groups=8,
    )
    with pytest.raises(dataclasses.FrozenInstanceError):
        network.config.patch = 1
