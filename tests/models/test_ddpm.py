"""The diffusion model: its loss, its estimates and its samples, with networks that are known."""

import dataclasses
import json
import math
from collections.abc import Callable

import pytest
import scipy.stats
import torch

from course_lib import weights
from course_lib.diffusion import (
    PREDICTIONS,
    SAMPLERS,
    cosine_schedule,
    linear_schedule,
    q_sample,
    sample_ddim,
    sample_ddpm,
    sample_dpm_solver,
)
from course_lib.models import DDPM, DDPMConfig


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tiny(*, awake: bool = True, **options) -> DDPM:
    """A model of pictures of 4 x 4 pixels, with random weights, the same every time."""
    config = {"timesteps": 12, "image_size": 4, "channels": (8,), "attention": (True,)}
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = DDPM(DDPMConfig(**(config | options)))
        if awake:  # also the weights that start at zero
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(0.2 * torch.randn_like(parameter))
    return model.requires_grad_(False).eval()


def some_images(n: int = 3, *, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, 1, 4, 4, generator=seeded(seed), dtype=torch.float64)


def replace_network(model: DDPM, network: Callable) -> None:
    """Let a function (x_t, t) -> prediction take the place of the U-Net's forward pass."""
    model.unet.forward = network


def perfect(model: DDPM, images: torch.Tensor) -> Callable:
    """What a network that knows the pictures would predict, by the papers' formulas."""
    kind, beta = model.config.prediction, model.schedule.beta.tolist()
    x0 = 2 * images - 1

    def network(x_t, t):
        kept = [math.prod(1 - b for b in beta[: i + 1]) for i in t.tolist()]
        kept = torch.tensor(kept, dtype=torch.float64).view(-1, 1, 1, 1)
        epsilon = (x_t - kept.sqrt() * x0) / (1 - kept).sqrt()
        v = kept.sqrt() * epsilon - (1 - kept).sqrt() * x0
        return {"epsilon": epsilon, "x0": x0.expand_as(x_t), "velocity": v}[kind].to(x_t.dtype)

    return network


EVERY_KIND = [(kind, schedule) for kind in PREDICTIONS for schedule in ("linear", "cosine")]


# The loss


@pytest.mark.equation("ddpm-simple")
@pytest.mark.parametrize(("kind", "schedule"), EVERY_KIND)
def test_perfect_predictions_cost_nothing(kind, schedule):
    """Whatever the steps and the noises drawn."""
    model, images = tiny(prediction=kind, schedule=schedule), some_images(50)
    replace_network(model, perfect(model, images))
    loss, _ = model.loss(images, generator=seeded(1))
    assert loss.item() < 1e-20


@pytest.mark.equation("ddpm-simple")
@pytest.mark.parametrize("kind", PREDICTIONS)
def test_predicting_nothing_costs_the_size_of_what_was_wanted(kind):
    """1 for noise, E[x_0^2] for data, and their mix at the mean step for the velocity.

    Where the untrained network starts. 6,000 pictures; five standard errors are allowed.
    """
    model, n = tiny(prediction=kind, awake=False), 6000
    images = some_images(1).expand(n, 1, 4, 4).float()
    size = (2 * some_images(1) - 1).square().mean().item()
    kept = [math.prod((1 - model.schedule.beta[: t + 1]).tolist()) for t in range(12)]
    mixed = sum(k + (1 - k) * size for k in kept) / 12
    expected = {"epsilon": 1.0, "x0": size, "velocity": mixed}[kind]
    loss, logs = model.loss(images, generator=seeded(1))
    assert loss.item() == pytest.approx(expected, abs=5 * 2 / (16 * n) ** 0.5)
    assert (loss.shape, logs) == ((), {})


@pytest.mark.equation("ddpm-simple")
@pytest.mark.parametrize(("kind", "schedule"), EVERY_KIND)
def test_loss_by_hand(kind, schedule):
    """The mean of squares over the batch and all pixels, each picture at its own step."""
    model, images = tiny(prediction=kind, schedule=schedule), some_images().float()
    generator, total = seeded(4), 0.0
    t = torch.randint(12, (3,), generator=generator)
    epsilon = torch.randn(3, 1, 4, 4, generator=generator)
    beta = {"linear": linear_schedule, "cosine": cosine_schedule}[schedule](12).beta.tolist()
    for n in range(3):
        kept = math.prod(1 - b for b in beta[: t[n] + 1])
        signal, spread = math.sqrt(kept), math.sqrt(1 - kept)
        x0 = 2 * images[n] - 1
        wanted = {"epsilon": epsilon[n], "x0": x0, "velocity": signal * epsilon[n] - spread * x0}
        x_t = signal * x0 + spread * epsilon[n]
        predicted = model.unet(x_t[None], t[n : n + 1])[0]
        total += (predicted - wanted[kind]).square().sum().item()
    loss, _ = model.loss(images, generator=seeded(4))
    assert loss.item() == pytest.approx(total / (3 * 16), rel=1e-5)


@pytest.mark.equation("ddpm-simple")
def test_every_step_is_as_likely_and_each_picture_has_its_own():
    """A chi-squared test over all T steps, the first and the last among them."""
    model, drawn = tiny(), []
    replace_network(model, lambda x_t, t: drawn.append(t) or x_t)
    model.loss(some_images(6000).float(), generator=seeded(2))
    counts = torch.bincount(drawn[0], minlength=12)
    assert drawn[0].dtype == torch.int64
    assert len(counts) == 12
    assert scipy.stats.chisquare(counts.numpy()).pvalue > 0.01


@pytest.mark.equation("ddpm-simple")
def test_network_is_shown_noisy_pictures_in_its_own_range():
    """White is 1 and black -1, as at the first step hardly any noise is added to them."""
    model, seen = tiny(timesteps=1), []
    replace_network(model, lambda x_t, t: seen.append(x_t) or x_t)
    images = torch.zeros(2, 1, 4, 4)
    images[1] = 1
    model.schedule = linear_schedule(1, first=1e-10)
    model.loss(images, generator=seeded())
    assert torch.allclose(seen[0][0], torch.full((1, 4, 4), -1.0), atol=1e-3)
    assert torch.allclose(seen[0][1], torch.full((1, 4, 4), 1.0), atol=1e-3)


def test_gradients_of_the_loss_reach_all_weights():
    """From the untrained network, after the zeros at its start have moved."""
    model, images = tiny(awake=False).requires_grad_(), some_images(8).float()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for step in range(4):
        optimizer.zero_grad()
        model.loss(images, generator=seeded(step))[0].backward()
        optimizer.step()
    for name, parameter in model.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("kind", PREDICTIONS)
def test_a_model_learns(kind):
    """That its pictures are all alike; fifty steps, the same noise before and after."""
    model = tiny(awake=False, prediction=kind, schedule="cosine").requires_grad_()
    images = some_images(1).expand(16, 1, 4, 4).float()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-2)

    def held_out() -> float:
        with torch.no_grad():
            return model.loss(images, generator=seeded(1000))[0].item()

    before = held_out()
    for step in range(50):
        optimizer.zero_grad()
        model.loss(images, generator=seeded(step))[0].backward()
        optimizer.step()
    assert held_out() < 0.7 * before


# Estimates


@pytest.mark.equation("ddpm-x0")
@pytest.mark.equation("ddpm-x0-from-velocity")
@pytest.mark.parametrize(("kind", "schedule"), EVERY_KIND)
def test_estimate_from_a_perfect_prediction_is_the_picture(kind, schedule):
    model, images = tiny(prediction=kind, schedule=schedule), some_images(12)
    replace_network(model, perfect(model, images))
    t = torch.arange(12)
    noise = torch.randn(12, 1, 4, 4, generator=seeded(1), dtype=torch.float64)
    x_t = q_sample(2 * images - 1, t, noise, model.schedule)
    assert torch.allclose(model.denoise(x_t, t), 2 * images - 1, atol=1e-9)


def test_estimates_are_clipped_to_the_range_of_the_data():
    model, x_t = tiny(prediction="x0"), torch.zeros(1, 1, 4, 4)
    answer = torch.linspace(-3, 3, 16).view(1, 1, 4, 4)
    replace_network(model, lambda x_t, t: answer)
    assert torch.equal(model.denoise(x_t, torch.tensor([3])), answer.clamp(-1, 1))
    assert model.denoise(x_t, torch.tensor([3])).unique().numel() > 2


def test_network_is_asked_for_the_state_and_the_step_it_is_given():
    model, asked = tiny(), []
    replace_network(model, lambda x_t, t: asked.append((x_t, t)) or x_t)
    x_t, t = some_images(3).float(), torch.tensor([0, 5, 11])
    model.denoise(x_t, t)
    assert asked[0][0] is x_t
    assert asked[0][1] is t


# Samples


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(("kind", "schedule"), EVERY_KIND)
def test_a_perfect_network_draws_its_picture(kind, schedule, sampler):
    model, images = tiny(prediction=kind, schedule=schedule), some_images(1)
    replace_network(model, perfect(model, images))
    drawn = model.sample(5, sampler=sampler, generator=seeded(1))
    # In float32, under the cosine schedule, epsilon tells little of the data at first.
    assert torch.allclose(drawn.double(), images.expand(5, 1, 4, 4), atol=1e-3)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_samples_are_pictures(sampler):
    model = tiny(image_channels=3, image_size=8, channels=(8, 8), attention=(False, True))
    drawn = model.sample(2, sampler=sampler, generator=seeded())
    assert drawn.shape == (2, 3, 8, 8)
    assert drawn.dtype == torch.float32
    assert 0 <= drawn.min() < 0.4
    assert 0.6 < drawn.max() <= 1


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_darkest_and_lightest_samples_are_black_and_white(sampler):
    model = tiny(prediction="x0")
    for answer, level in ((-7.0, 0.0), (7.0, 1.0), (0.0, 0.5)):
        replace_network(model, lambda x_t, t, answer=answer: torch.full_like(x_t, answer))
        drawn = model.sample(1, sampler=sampler, generator=seeded())
        assert torch.allclose(drawn, torch.full((1, 1, 4, 4), level), atol=1e-6)
        assert 0 <= drawn.min() <= drawn.max() <= 1


def test_samples_by_hand():
    """The right sampler with the right options, from the generator's first noise."""
    model = tiny()
    by_hand = {
        "ddpm": lambda *a, g: sample_ddpm(*a, generator=g),
        "ddim": lambda *a, g: sample_ddim(*a, steps=5, eta=0.0, generator=g),
        "ddim eta": lambda *a, g: sample_ddim(*a, steps=5, eta=0.7, generator=g),
        "dpm-solver": lambda *a, g: sample_dpm_solver(*a, steps=5, order=2),
    }
    options = {
        "ddpm": {"sampler": "ddpm"},
        "ddim": {"sampler": "ddim", "steps": 5},
        "ddim eta": {"sampler": "ddim", "steps": 5, "eta": 0.7},
        "dpm-solver": {"sampler": "dpm-solver", "steps": 5},
    }
    found = []
    for name, sampler in by_hand.items():
        generator = seeded(6)
        noise = torch.randn(3, 1, 4, 4, generator=generator)
        x0 = sampler(model.denoise, noise, model.schedule, g=generator)
        found.append(model.sample(3, generator=seeded(6), **options[name]))
        assert torch.allclose(found[-1], (x0 + 1) / 2, atol=1e-6), name
    for i in range(4):
        for j in range(i):
            assert not torch.allclose(found[i], found[j], atol=1e-4)


@pytest.mark.parametrize(
    ("timesteps", "options", "times"),
    [
        (60, {}, 50),
        (60, {"sampler": "dpm-solver"}, 50),
        (60, {"sampler": "ddpm"}, 60),
        (60, {"sampler": "ddpm", "steps": 60}, 60),
        (60, {"steps": 7}, 7),
        (60, {"sampler": "dpm-solver", "steps": 60}, 60),
        (12, {}, 12),
    ],
)
def test_network_is_applied_once_for_each_step(timesteps, options, times):
    model, seen = tiny(timesteps=timesteps), []
    replace_network(model, lambda x_t, t: seen.append("network") or x_t)
    model.sample(2, generator=seeded(), on_step=lambda t, x, x0: seen.append(t), **options)
    assert seen[::2] == ["network"] * times
    assert len(seen[1::2]) == times
    assert seen[1] == timesteps - 1
    assert seen[1::2] == sorted(seen[1::2], reverse=True)


def test_ddim_is_the_default():
    model = tiny()
    assert torch.equal(
        model.sample(2, generator=seeded()),
        model.sample(2, generator=seeded(), sampler="ddim", steps=12, eta=0.0),
    )


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_sampling_keeps_no_graph(sampler):
    """Through all its steps that would fill the memory."""
    model = tiny().requires_grad_()
    assert not model.sample(1, sampler=sampler, generator=seeded()).requires_grad
    assert torch.is_grad_enabled()


def test_all_randomness_comes_from_the_generator():
    model, images = tiny(), some_images().float()
    before = torch.get_rng_state()
    uses = {
        "loss": lambda g: model.loss(images, generator=g)[0],
        "eta": lambda g: model.sample(2, generator=g, eta=1.0),
        **{
            name: lambda g, name=name: model.sample(2, generator=g, sampler=name)
            for name in SAMPLERS
        },
    }
    for name, use in uses.items():
        assert torch.equal(use(seeded(1)), use(seeded(1))), name
        assert not torch.equal(use(seeded(1)), use(seeded(2))), name
    assert torch.equal(torch.get_rng_state(), before)


def test_without_generator_the_global_seed_decides():
    model = tiny()
    with torch.random.fork_rng():
        torch.manual_seed(9)
        first = model.sample(2, sampler="ddpm")
        torch.manual_seed(9)
        assert torch.equal(model.sample(2, sampler="ddpm"), first)
        assert not torch.equal(model.sample(2, sampler="ddpm"), first)


def test_model_works_in_double_precision():
    model, images = tiny(), some_images()
    in_float = model.sample(2, sampler="dpm-solver", generator=seeded()).dtype
    model = model.double()
    assert model.loss(images, generator=seeded())[0].dtype == torch.float64
    assert model.sample(2, sampler="ddpm", generator=seeded()).dtype == torch.float64
    assert in_float == torch.float32


# Weights


def test_shipped_form_is_the_model_in_half_precision(tmp_path):
    model = tiny(schedule="linear", prediction="epsilon")
    weights.publish(model, "tiny", {"summary": "a test"}, tmp_path)
    loaded = weights.load("tiny", tmp_path)
    assert type(loaded) is DDPM
    assert loaded.config == model.config
    for name, values in model.state_dict().items():
        expected = values.half().float()
        assert not torch.equal(expected, values)
        assert torch.equal(loaded.state_dict()[name], expected), name
    drawn = loaded.sample(2, generator=seeded())
    assert torch.equal(drawn, weights.rounded(model).sample(2, generator=seeded()))
    card = json.loads((tmp_path / "tiny.json").read_text())
    assert card["config"] == json.loads(json.dumps(dataclasses.asdict(model.config)))


def test_schedule_is_not_among_the_weights():
    """It is made anew from the config; and weights that do not fit are refused."""
    state = tiny().state_dict()
    assert {name.split(".")[0] for name in state} == {"unet"}
    other = tiny(awake=False, schedule="linear", timesteps=30)
    other.load_state_dict(state)
    assert other.schedule.timesteps == 30
    with pytest.raises(RuntimeError, match="Missing key"):
        other.load_state_dict({k: v for k, v in state.items() if k != "unet.first.bias"})


# Configs, and what is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampler": "euler"}, "unknown sampler 'euler'; known: ddpm, ddim, dpm-solver"),
        ({"sampler": "ddpm", "steps": 6}, "sampler 'ddpm' takes all 12 steps; for fewer, use"),
        ({"sampler": "ddpm", "eta": 0.5}, "eta belongs to sampler 'ddim', not to 'ddpm'"),
        ({"sampler": "dpm-solver", "eta": 1.0}, "eta belongs to sampler 'ddim', not to 'dpm-s"),
        ({"steps": 13}, "steps must be between 1 and 12, not 13"),
        ({"steps": 0}, "steps must be between 1 and 12, not 0"),
        ({"sampler": "dpm-solver", "steps": 0}, "steps must be between 1 and 12, not 0"),
        ({"sampler": "ddpm", "steps": 0}, "sampler 'ddpm' takes all 12 steps; for fewer, use"),
        ({"eta": -1.0}, r"eta must be in \[0, 1\], but is -1.0"),
    ],
)
def test_impossible_samples_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        tiny().sample(1, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schedule": "sigmoid"}, "unknown schedule 'sigmoid'; known: linear, cosine"),
        ({"prediction": "score"}, "unknown prediction 'score'; known: epsilon, x0, velocity"),
    ],
)
def test_impossible_configs_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        DDPMConfig(**options)


def test_config_describes_schedule_and_network():
    model = DDPM(
        DDPMConfig(
            timesteps=30,
            schedule="linear",
            image_channels=3,
            channels=(8, 16, 24),
            attention=(True, False, True),
            patch=1,
        )
    )
    assert torch.equal(model.schedule.beta, linear_schedule(30).beta)
    config = model.unet.config
    assert (config.in_channels, config.out_channels, config.patch) == (3, 3, 1)
    assert (config.channels, config.attention) == ((8, 16, 24), (True, False, True))


def test_default_config_is_used_and_frozen():
    model = DDPM()
    assert model.config == DDPMConfig(
        timesteps=1000,
        schedule="cosine",
        prediction="velocity",
        image_channels=1,
        image_size=28,
        channels=(40, 80),
        attention=(False, True),
        patch=2,
    )
    assert torch.equal(model.schedule.beta, cosine_schedule(1000).beta)
    with pytest.raises(dataclasses.FrozenInstanceError):
        model.config.patch = 1
