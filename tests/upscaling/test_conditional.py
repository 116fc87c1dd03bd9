"""One task, four models: the losses against independent computation, and what they are told."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Normal, kl_divergence
from torch.testing import assert_close

from course_lib import data
from course_lib.models.blocks import to_network
from course_lib.models.ddpm import DDPM
from course_lib.upscaling import conditional
from course_lib.upscaling.conditional import (
    ConditionalDDPM,
    ConditionalDDPMConfig,
    ConditionalGAN,
    ConditionalGANConfig,
    ConditionalVAE,
    ConditionalVAEConfig,
    ConditionalWGAN,
    ConditionalWGANConfig,
    PosteriorMean,
    PosteriorMeanConfig,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tiny(kind: type) -> torch.nn.Module:
    """Build a model of a few thousand weights, the same every time."""
    configs = {
        PosteriorMean: PosteriorMeanConfig(channels=(2, 3, 4)),
        ConditionalVAE: ConditionalVAEConfig(latent_dim=3, channels=(2, 3, 4), beta=2.0),
        ConditionalGAN: ConditionalGANConfig(latent_dim=3, width=2),
        ConditionalWGAN: ConditionalWGANConfig(latent_dim=3, width=2, penalty=7.0),
        ConditionalDDPM: ConditionalDDPMConfig(timesteps=20, channels=(8, 8)),
    }
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = kind(configs[kind])
        for name, parameter in model.named_parameters():  # what starts at 0 would hide mistakes
            if not parameter.detach().any():
                torch.nn.init.normal_(parameter, std=0.3)
            elif "init" not in name and kind in (ConditionalGAN, ConditionalWGAN):
                parameter.data.mul_(3)
    return model.eval()


DRAWING = (ConditionalVAE, ConditionalGAN, ConditionalWGAN, ConditionalDDPM)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return data.load(split="test").images[:6]


def test_small_images_are_those_of_a_file(images):
    lr = conditional.shrunk(images)
    assert lr.shape == (6, 1, 7, 7)
    assert_close(lr, data.downscale(images, 4), atol=0.5 / 255 + 1e-6, rtol=0)
    assert_close(lr * 255, (lr * 255).round(), atol=1e-4, rtol=0)


def test_what_networks_are_told(images):
    lr = conditional.shrunk(images)
    up = conditional.enlarged_lr(lr)
    assert_close((up + 1) / 2, data.upscale(lr, 4).clamp(0, 1))
    pair = conditional.beside(images, lr)
    assert_close(pair, torch.cat([images, up], 1))
    z = torch.randn(6, 3, generator=seeded())
    told = conditional.described(z, lr)
    assert_close(told[:, :3], z)
    assert_close(told[:, 3:].reshape(6, 1, 7, 7), 2 * lr - 1)


@pytest.mark.equation("one-task-mean")
def test_mean_is_taught_by_the_squared_error(images):
    model = tiny(PosteriorMean)
    loss, logs = model.loss(images)
    assert logs == {}
    answer = model(conditional.shrunk(images))
    assert answer.shape == images.shape
    assert 0 <= answer.min() < answer.max() <= 1
    assert_close(loss, F.mse_loss(answer, images))


@pytest.mark.equation("one-task-mean")
def test_the_best_answer_is_the_mean_of_what_fits():
    """Two images with the same small image, equally frequent: their mean is learnt."""
    first, second = torch.rand(1, 1, 28, 28, generator=seeded()), None
    detail = torch.randn(1, 1, 28, 28, generator=seeded(1))
    detail = detail - data.upscale(data.downscale(detail.sigmoid(), 4), 4)
    lr = conditional.shrunk(first)
    second = (first + 0.2 * (detail - detail.mean())).clamp(0, 1)
    model = tiny(PosteriorMean).train()
    original = conditional.shrunk
    try:
        conditional.shrunk = lambda images: lr.expand(len(images), -1, -1, -1)
        optimizer = torch.optim.Adam(model.parameters(), 0.02)
        for _ in range(400):
            loss, _ = model.loss(torch.cat([first, second]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    finally:
        conditional.shrunk = original
    least = (first - second).square().mean() / 4
    assert loss.item() >= least.item()
    error = (model(lr) - (first + second) / 2).square().mean()
    assert_close(loss.detach(), least + error.detach(), rtol=0.05, atol=1e-3)


@pytest.mark.equation("one-task-elbo")
def test_bound_of_the_conditional_vae(images):
    model, lr = tiny(ConditionalVAE), conditional.shrunk(images)
    loss, logs = model.loss(images, generator=seeded(3))
    mean, log_variance = model.encode(images, lr)
    posterior = Normal(mean, (log_variance / 2).exp())
    z = mean + (log_variance / 2).exp() * torch.randn(mean.shape, generator=seeded(3))
    kl = kl_divergence(posterior, Normal(0.0, 1.0)).sum(1).mean()
    log_likelihood = model.decode(z, lr).log_prob(images).mean()
    assert_close(logs["kl"], kl.detach())
    assert_close(logs["log_likelihood"], log_likelihood.detach())
    assert_close(loss, 2.0 * kl - log_likelihood)


@pytest.mark.equation("one-task-elbo")
@torch.no_grad()
def test_the_bound_is_a_bound(images):
    """By importance sampling from the prior, for an image that the decoder finds likely."""
    model = tiny(ConditionalVAE)
    model.config = ConditionalVAEConfig(latent_dim=3, channels=(2, 3, 4))
    image = images[:1]
    lr = conditional.shrunk(image)
    bounds = [-model.loss(image, generator=seeded(i))[0] for i in range(64)]
    z = torch.randn(4000, 3, generator=seeded(1))
    everywhere = lr.expand(4000, -1, -1, -1)
    log_p = model.decode(z, everywhere).log_prob(image.expand(4000, -1, -1, -1))
    exact = torch.logsumexp(log_p, 0) - math.log(4000)
    assert torch.stack(bounds).mean() <= exact


@pytest.mark.equation("one-task-gan")
def test_conditional_game_is_that_of_dcgan_on_pairs(images):
    model, lr = tiny(ConditionalGAN), conditional.shrunk(images)
    z = torch.randn(6, 3, generator=seeded(2))
    fake = model.generator(torch.cat([z, to_network(lr).flatten(1)], 1))
    up = conditional.enlarged_lr(lr)
    real_logits = model.discriminator(torch.cat([2 * images - 1, up], 1))
    fake_logits = model.discriminator(torch.cat([fake, up], 1))
    ones, zeros = torch.ones(6), torch.zeros(6)
    loss, logs = model.loss(images, player="discriminator", generator=seeded(2))
    cross_entropy = F.binary_cross_entropy_with_logits
    assert_close(loss, cross_entropy(real_logits, ones) + cross_entropy(fake_logits, zeros))
    right = torch.cat([real_logits > 0, fake_logits < 0]).float().mean()
    assert_close(logs["accuracy"], right)
    loss, logs = model.loss(images, player="generator", generator=seeded(2))
    assert_close(loss, cross_entropy(fake_logits, ones))
    assert logs == {}


@pytest.mark.equation("one-task-wgan")
def test_conditional_distance_and_penalty(images):
    model, lr = tiny(ConditionalWGAN), conditional.shrunk(images)
    loss, logs = model.loss(images, player="critic", generator=seeded(2))
    generator = seeded(2)
    z = torch.randn(6, 3, generator=generator)
    fake = model.generator(torch.cat([z, to_network(lr).flatten(1)], 1)).detach()
    up, real = conditional.enlarged_lr(lr), 2 * images - 1

    def score(pictures):
        return model.critic(torch.cat([pictures, up], 1))

    distance = score(real).mean() - score(fake).mean()
    weight = torch.rand(6, 1, 1, 1, generator=generator)
    mixed = (weight * real + (1 - weight) * fake).requires_grad_(True)
    norms = [
        torch.autograd.grad(score(mixed)[i], mixed, retain_graph=True)[0][i].norm()
        for i in range(6)
    ]
    penalty = (torch.stack(norms) - 1).square().mean()
    assert_close(logs["distance"], distance.detach())
    assert_close(logs["penalty"], penalty)
    assert_close(loss.detach(), 7.0 * penalty - distance.detach())
    generators, _ = model.loss(images, player="generator", generator=seeded(2))
    assert_close(generators.detach(), -score(fake).mean().detach())


@pytest.mark.equation("one-task-wgan")
def test_the_penalty_is_on_the_image_alone(images):
    """A critic that looks at the small image only has no slope there, however steep it is."""
    model = tiny(ConditionalWGAN)
    model.critic = torch.nn.Sequential()
    model.critic.forward = lambda pair: 100 * pair[:, 1].sum((1, 2))
    _, logs = model.loss(images, player="critic", generator=seeded())
    assert_close(logs["penalty"], torch.tensor(1.0))
    assert_close(logs["distance"], torch.tensor(0.0))


@pytest.mark.parametrize("kind", [ConditionalGAN, ConditionalWGAN])
def test_only_the_player_who_moves_learns(kind, images):
    model = tiny(kind)
    opponent, _ = model.players
    model.loss(images, player=opponent, generator=seeded())[0].backward()
    assert all(p.grad is None for p in model.generator.parameters())
    assert any(p.grad.any() for p in model.get_submodule(opponent).parameters())
    with pytest.raises(ValueError, match="unknown player"):
        model.loss(images, player="referee")


@pytest.mark.equation("one-task-ddpm")
def test_noise_is_predicted_with_the_enlargement_in_sight(images):
    model = tiny(ConditionalDDPM)
    seen = []

    class Network(torch.nn.Module):
        def forward(self, pair, t):
            seen.append((pair, t))
            return pair[:, :1] * 0.5 + pair[:, 1:] * 0.25

    model.unet = Network()
    loss, logs = model.loss(images, generator=seeded(4))
    ((pair, t),) = seen
    up = conditional.enlarged_lr(conditional.shrunk(images))
    assert_close(pair[:, 1:], up)
    generator = seeded(4)
    assert torch.equal(t, torch.randint(20, (6,), generator=generator))
    epsilon, x0 = torch.randn(images.shape, generator=generator), 2 * images - 1
    kept = model.schedule.alpha_bar[t].float().view(-1, 1, 1, 1)
    x_t = kept.sqrt() * x0 + (1 - kept).sqrt() * epsilon
    assert_close(pair[:, :1], x_t)
    velocity = kept.sqrt() * epsilon - (1 - kept).sqrt() * x0
    assert_close(loss, F.mse_loss(0.5 * x_t + 0.25 * up, velocity))
    assert logs == {}


@pytest.mark.parametrize("kind", DRAWING)
@torch.no_grad()
def test_draws_depend_on_seed_and_small_image(kind, images):
    model, lr = tiny(kind), conditional.shrunk(images)
    first = model.sample(lr, generator=seeded(1))
    assert first.shape == (6, 1, 28, 28)
    assert 0 <= first.min() < first.max() <= 1
    assert torch.equal(first, model.sample(lr, generator=seeded(1)))
    assert not torch.allclose(first, model.sample(lr, generator=seeded(2)), atol=1e-4)
    others = model.sample(lr.flip(0), generator=seeded(1))
    assert not torch.allclose(first, others, atol=1e-4)


@pytest.mark.parametrize("kind", DRAWING)
@torch.no_grad()
def test_at_temperature_zero_there_is_one_answer(kind, images):
    model, lr = tiny(kind), conditional.shrunk(images)
    cold = [model.sample(lr, generator=seeded(i), temperature=0.0) for i in (1, 2)]
    assert_close(cold[0], cold[1])


@torch.no_grad()
def test_diffusion_takes_the_options_of_ddpm(images):
    model, lr = tiny(ConditionalDDPM), conditional.shrunk(images)
    seen = []
    model.sample(
        lr,
        generator=seeded(),
        sampler="dpm-solver",
        steps=3,
        on_step=lambda t, x, x0: seen.append(t),
    )
    assert len(seen) == 3
    assert (model.steps_for("ddim", None), DDPM.default_steps) == (20, 50)
    with pytest.raises(ValueError, match="takes all 20 steps"):
        model.sample(lr, sampler="ddpm", steps=3)


def test_budgets_are_equal():
    kinds = (PosteriorMean, *DRAWING)
    sizes = [sum(p.numel() for p in kind().parameters()) for kind in kinds]
    assert max(sizes) <= 1.15 * min(sizes)
