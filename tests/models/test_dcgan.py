"""The guidelines of DCGAN, layer by layer, and the statistics of its initialisation."""

import copy
import dataclasses
import math

import pytest
import scipy.stats
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from course_lib.models import DCGAN, GAN, DCGANConfig
from course_lib.models.dcgan import convolutional_critic, convolutional_generator, initialize

FLAGS = [(True, True), (True, False), (False, True), (False, False)]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tiny(**options) -> DCGAN:
    """A DCGAN with a few thousand weights, in double precision, the same every time."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return DCGAN(DCGANConfig(**({"latent_dim": 5, "width": 2} | options))).double()


def some_images(n: int = 6) -> torch.Tensor:
    return torch.rand(n, 1, 28, 28, generator=seeded(1), dtype=torch.float64)


def layers(network: nn.Module) -> list[nn.Module]:
    """What a network really consists of, in order: without containers, and what does nothing."""
    leaves = [m for m in network.modules() if not list(m.children())]
    return [m for m in leaves if not isinstance(m, nn.Identity)]


def kinds(network: nn.Module) -> list[str]:
    return [type(layer).__name__ for layer in layers(network)]


def convolutions(network: nn.Module) -> list[nn.Module]:
    return [m for m in layers(network) if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]


# Shapes


@given(
    width=st.integers(1, 6),
    latent_dim=st.integers(1, 7),
    n=st.integers(2, 4),
    flags=st.sampled_from(FLAGS),
)
def test_shapes(width, latent_dim, n, flags):
    strided, batch_norm = flags
    model = DCGAN(
        DCGANConfig(latent_dim=latent_dim, width=width, strided=strided, batch_norm=batch_norm)
    )
    samples = model.sample(n, generator=seeded())
    assert samples.shape == (n, 1, 28, 28)
    assert model.discriminator(samples).shape == (n,)


@pytest.mark.parametrize("strided", [True, False])
def test_a_batch_of_one_is_still_a_batch(strided):
    model = tiny(strided=strided).eval()
    samples = model.sample(1, generator=seeded())
    assert samples.shape == (1, 1, 28, 28)
    assert model.discriminator(samples).shape == (1,)


@pytest.mark.parametrize("strided", [True, False])
def test_sides_and_channels(strided):
    """Where the side halves, the channels double."""
    network = convolutional_generator(7, 3, strided=strided)
    critic = convolutional_critic(3, strided=strided)
    seen: list[tuple[int, int]] = []

    def note(module, inputs, output):
        seen.append((output.shape[1], output.shape[-1]))

    for module in (*network, *critic):
        if isinstance(module, nn.ReLU | nn.Tanh | nn.LeakyReLU):
            module.register_forward_hook(note)
    critic(network(torch.zeros(2, 7)))
    assert seen == [(12, 4), (6, 7), (3, 14), (1, 28), (3, 14), (6, 7), (12, 4)]


# The guidelines


def test_the_generator_follows_the_guidelines():
    """Fractionally strided convolutions, batch norms but at the output, ReLU, at last tanh."""
    network = convolutional_generator(7, 3)
    stage = ["ConvTranspose2d", "BatchNorm2d", "ReLU"]
    assert kinds(network) == ["Unflatten", *3 * stage, "ConvTranspose2d", "Tanh"]
    assert [c.stride for c in convolutions(network)] == [(1, 1), (2, 2), (2, 2), (2, 2)]
    assert [(c.in_channels, c.out_channels) for c in convolutions(network)] == [
        (7, 12),
        (12, 6),
        (6, 3),
        (3, 1),
    ]


def test_the_discriminator_follows_the_guidelines():
    """Strided convolutions, batch norms but at the input, leaky ReLU, no hidden linear layer."""
    network = convolutional_critic(3)
    stage = ["Conv2d", "BatchNorm2d", "LeakyReLU"]
    assert kinds(network) == ["Conv2d", "LeakyReLU", *2 * stage, "Conv2d", "Flatten"]
    assert [c.stride for c in convolutions(network)] == [(2, 2), (2, 2), (2, 2), (1, 1)]
    assert [(c.in_channels, c.out_channels) for c in convolutions(network)] == [
        (1, 3),
        (3, 6),
        (6, 12),
        (12, 1),
    ]


@pytest.mark.parametrize("batch_norm", [True, False])
def test_without_strides_there_are_pooling_and_upsampling(batch_norm):
    norm = ["BatchNorm2d"] if batch_norm else []
    generator = convolutional_generator(7, 3, strided=False, batch_norm=batch_norm)
    stage = ["Upsample", "Conv2d", *norm, "ReLU"]
    assert kinds(generator) == [
        *("Unflatten", "ConvTranspose2d", *norm, "ReLU"),
        *(2 * stage),
        *("Upsample", "Conv2d", "Tanh"),
    ]
    assert {m.mode for m in layers(generator) if isinstance(m, nn.Upsample)} == {"nearest"}

    critic = convolutional_critic(3, strided=False, batch_norm=batch_norm)
    stage = ["Conv2d", "MaxPool2d", *norm, "LeakyReLU"]
    assert kinds(critic) == ["Conv2d", "MaxPool2d", "LeakyReLU", *2 * stage, "Conv2d", "Flatten"]
    for network in (generator, critic):
        assert {c.stride for c in convolutions(network)} == {(1, 1)}


def test_without_batch_norm_there_is_none():
    """And everything else stays as it was."""
    for build, sizes in ((convolutional_generator, (7, 3)), (convolutional_critic, (3,))):
        bare, normed = kinds(build(*sizes, batch_norm=False)), kinds(build(*sizes))
        assert bare == [kind for kind in normed if kind != "BatchNorm2d"]
        assert len(bare) < len(normed)


@pytest.mark.parametrize("leak", [0.2, 0.01, 0.0])
def test_the_leak_is_the_discriminators_slope_everywhere(leak):
    model = tiny(leak=leak)
    slopes = [m.negative_slope for m in layers(model.discriminator) if hasattr(m, "negative_slope")]
    assert slopes == [leak] * 3
    assert not [m for m in layers(model.generator) if isinstance(m, nn.LeakyReLU)]


def test_each_flag_of_the_config_reaches_both_networks():
    plain = tiny()
    for network in ("generator", "discriminator"):
        standard = kinds(getattr(plain, network))
        pooled = kinds(getattr(tiny(strided=False), network))
        bare = kinds(getattr(tiny(batch_norm=False), network))
        assert "BatchNorm2d" in standard
        assert "BatchNorm2d" in pooled
        assert "BatchNorm2d" not in bare
        assert ("Upsample" in pooled) or ("MaxPool2d" in pooled)
        assert not {"Upsample", "MaxPool2d", "Linear"} & {*standard, *bare}


# What the networks compute


def test_generator_against_functional_calls():
    """The same weights by hand, with batch norms that use the batch's own statistics."""
    network = tiny().generator.train()
    z = torch.randn(4, 5, generator=seeded(2), dtype=torch.float64)
    parts, hidden = convolutions(network), z.reshape(4, 5, 1, 1)
    norms = [m for m in layers(network) if isinstance(m, nn.BatchNorm2d)]
    for index, (conv, padding) in enumerate(zip(parts, (0, 1, 1, 1), strict=True)):
        stride = 1 if index == 0 else 2
        hidden = F.conv_transpose2d(hidden, conv.weight, conv.bias, stride, padding)
        if index < 3:
            mean = hidden.mean((0, 2, 3), keepdim=True)
            variance = hidden.var((0, 2, 3), keepdim=True, unbiased=False)
            hidden = (hidden - mean) / (variance + 1e-5).sqrt()
            scale, shift = norms[index].weight, norms[index].bias
            hidden = F.relu(hidden * scale[:, None, None] + shift[:, None, None])
    assert torch.allclose(network(z), torch.tanh(hidden))


def logits_by_hand(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """The discriminator on one batch, normalised by the statistics of this very batch."""
    norms = [m for m in layers(network) if isinstance(m, nn.BatchNorm2d)]
    hidden = images
    for index, conv in enumerate(convolutions(network)):
        last = index == 3
        stride, padding = (1, 0) if last else (2, 1)
        hidden = F.conv2d(hidden, conv.weight, conv.bias, stride, padding)
        if index in (1, 2):
            norm = norms[index - 1]
            mean = hidden.mean((0, 2, 3), keepdim=True)
            variance = hidden.var((0, 2, 3), keepdim=True, unbiased=False)
            hidden = (hidden - mean) / (variance + 1e-5).sqrt()
            hidden = hidden * norm.weight[:, None, None] + norm.bias[:, None, None]
        if not last:
            hidden = torch.where(hidden > 0, hidden, 0.2 * hidden)
    return hidden.flatten()


@pytest.mark.equation("gan-discriminator-loss")
def test_real_and_fake_pass_the_batch_norms_apart():
    """Each with its own statistics: together, a batch would betray which half is real."""
    model, images = tiny(init_std=0.3).train(), some_images()
    z = torch.randn(6, 5, generator=seeded(4), dtype=torch.float64)
    fake, real = copy.deepcopy(model.generator)(z), 2 * images - 1
    apart = [logits_by_hand(model.discriminator, part) for part in (real, fake)]
    mixed = logits_by_hand(model.discriminator, torch.cat([real, fake])).chunk(2)

    def loss(of_real, of_fake):
        return -(torch.sigmoid(of_real).log() + (1 - torch.sigmoid(of_fake)).log()).mean().item()

    actual, _ = model.loss(images, player="discriminator", generator=seeded(4))
    assert actual.item() == pytest.approx(loss(*apart), rel=1e-9)
    assert abs(loss(*apart) - loss(*mixed)) > 1e-3
    norms = [m for m in layers(model.discriminator) if isinstance(m, nn.BatchNorm2d)]
    assert [int(norm.num_batches_tracked) for norm in norms] == [2, 2]


def test_in_use_an_image_does_not_depend_on_its_neighbours():
    model = tiny()
    z = torch.randn(6, 5, generator=seeded(4), dtype=torch.float64)
    model.generate(z)  # so that there are running averages
    model.eval()
    together, alone = model.generate(z), model.generate(z[:1])
    assert torch.allclose(together[:1], alone)
    model.train()
    assert not torch.allclose(model.generate(z)[:2], model.generate(z[:2]))


def test_samples_are_images():
    model = tiny(init_std=2.0)
    samples = model.sample(50, generator=seeded())
    assert samples.min() < 0.01
    assert samples.max() > 0.99
    assert samples.min() >= 0
    assert samples.max() <= 1
    z = model.latents(3, generator=seeded())
    model.eval()
    assert torch.allclose(model.generate(z), (model.generator(z) + 1) / 2)


@pytest.mark.equation("gan-saturating")
@pytest.mark.equation("gan-non-saturating")
@pytest.mark.parametrize("kind", ["saturating", "non-saturating"])
def test_the_game_is_that_of_the_gan(kind):
    model = tiny(loss=kind).eval()
    assert isinstance(model, GAN)
    z = torch.randn(6, 5, generator=seeded(4), dtype=torch.float64)
    d = torch.sigmoid(model.discriminator(model.generator(z)))
    expected = (1 - d).log().mean() if kind == "saturating" else -d.log().mean()
    loss, _ = model.loss(some_images(), player="generator", generator=seeded(4))
    assert loss.item() == pytest.approx(expected.item())


# Initialisation


@pytest.fixture(scope="module")
def wide() -> DCGAN:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return DCGAN()


def test_convolutions_start_from_the_papers_normal_distribution(wide):
    """Each layer on its own: mean, standard deviation, and the whole shape of the law."""
    parts = convolutions(wide)
    assert len(parts) == 8
    for conv in parts:
        weights = conv.weight.detach().flatten().double()
        n = len(weights)
        assert abs(weights.mean().item()) < 4 * 0.02 / n**0.5
        assert weights.std().item() == pytest.approx(0.02, rel=4 / (2 * n) ** 0.5)
        assert scipy.stats.kstest(weights.numpy(), scipy.stats.norm(0, 0.02).cdf).pvalue > 1e-3
        assert not conv.bias.any()


def test_batch_norms_start_near_one(wide):
    norms = [m for m in layers(wide) if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == 5
    scales = torch.cat([norm.weight.detach() for norm in norms]).double()
    n = len(scales)
    assert scales.mean().item() == pytest.approx(1, abs=4 * 0.02 / n**0.5)
    assert scales.std().item() == pytest.approx(0.02, rel=4 / (2 * n) ** 0.5)
    for norm in norms:
        assert not norm.bias.any()
        assert not norm.running_mean.any()
        assert (norm.running_var == 1).all()


@pytest.mark.parametrize("std", [0.02, 0.1, 0.5])
def test_the_deviation_of_the_config_is_used(std):
    for conv in convolutions(tiny(width=12, init_std=std)):
        n = conv.weight.numel()
        assert conv.weight.std().item() == pytest.approx(std, rel=5 / (2 * n) ** 0.5)


def test_without_a_deviation_pytorchs_initialisation_stays():
    """The same networks, built from the same seed by hand, have the same bits."""
    model = tiny(init_std=None)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        generator, critic = convolutional_generator(5, 2), convolutional_critic(2)
    for ours, theirs in ((model.generator, generator), (model.discriminator, critic)):
        for key, value in ours.state_dict().items():
            assert torch.equal(value, theirs.state_dict()[key].double()), key
    for conv in convolutions(model):
        fan_in = conv.weight[0].numel()  # PyTorch counts the second axis, whatever the kind
        assert conv.weight.abs().max() <= 1 / math.sqrt(fan_in)
        assert conv.bias.any()


def test_linear_layers_are_drawn_too():
    network = nn.Sequential(
        nn.Linear(100, 200), nn.Tanh(), nn.Linear(200, 3), nn.Linear(3, 3, bias=False)
    )
    with torch.random.fork_rng():
        torch.manual_seed(1)
        initialize(network, 0.3)
    assert network[0].weight.std().item() == pytest.approx(0.3, rel=0.02)
    assert not network[0].bias.any()
    assert not network[2].bias.any()
    assert all(p.requires_grad for p in network.parameters())


# Settings


def test_default_config_is_used_and_frozen():
    model = DCGAN()
    assert model.config == DCGANConfig(
        latent_dim=100,
        width=32,
        strided=True,
        batch_norm=True,
        leak=0.2,
        init_std=0.02,
        loss="non-saturating",
    )
    assert [c.out_channels for c in convolutions(model)] == [128, 64, 32, 1, 32, 64, 128, 1]
    with pytest.raises(dataclasses.FrozenInstanceError):
        model.config.width = 3
