"""SRDiff against its authors' arithmetic, and its behaviour on images of any size."""

import itertools
import json
import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from course_lib.data.degradation import downscale, upscale
from course_lib.diffusion import epsilon_from_x0, posterior, q_sample, sample_ddpm, velocity
from course_lib.models.blocks import from_network, to_network
from course_lib.training.loop import TrainConfig, fit
from course_lib.upscaling import SRDiff, SRDiffConfig, srdiff_schedule
from course_lib.upscaling.srdiff import (
    Condition,
    back_project,
    pad_to,
    schedule_buffers,
)

DATA = Path(__file__).parent / "data"
OPTIONS = {"timesteps": 6, "steps": 3}  # for tests in which the arithmetic is not the matter


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=seeded(seed))


@pytest.fixture
def condition(golden) -> Condition:
    return Condition(golden["rrdb_out"], golden["cond_proj"])


def for_steps(golden, condition: Condition) -> tuple[torch.Tensor, Condition]:
    """The golden steps, and the condition once for each."""
    t = golden["t_list"]
    expanded = (v.expand(len(t), -1, -1, -1) for v in (condition.image, condition.projected))
    return t, Condition(*expanded)


# The authors' files


@pytest.mark.parametrize("name", ["div2k", "celeba"])
def test_official_models_have_the_tensors_of_the_files(name):
    manifest = json.loads((DATA / "srdiff_manifests.json").read_text())[name]
    state = SRDiff(SRDiffConfig.official(name)).state_dict()
    assert {key: list(value.shape) for key, value in state.items()} == manifest


def test_size_of_the_official_model():
    model = SRDiff(SRDiffConfig.official("div2k"))
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 2) == 13.23
    assert round(sum(p.numel() for p in model.rrdb.parameters()) / 1e6, 2) == 1.48


@pytest.mark.parametrize("timesteps", [10, 20, 50, 100, 1000])
def test_schedule_is_that_of_the_authors(timesteps):
    with np.load(DATA / "srdiff_schedules.npz") as arrays:
        wanted = torch.from_numpy(arrays[f"cosine_T{timesteps}"])
    assert_close(srdiff_schedule(timesteps).beta, wanted, rtol=1e-11, atol=0)


def test_buffers_are_those_of_the_files(golden_state, tiny_srdiff):
    names = schedule_buffers(srdiff_schedule(100)).keys()
    assert len(names) == 12
    own = tiny_srdiff().state_dict()
    for name in names:
        assert_close(own[name], golden_state[name], rtol=1e-6, atol=0)


# The arithmetic


@pytest.mark.equation("srdiff-residual")
def test_residual_is_that_of_the_authors(golden, golden_srdiff):
    residual = golden_srdiff.to_residual(golden["img_hr"], golden["img_lr_up"])
    assert_close(residual, golden["residual"], atol=1e-6, rtol=0)
    back = golden_srdiff.from_residual(residual, golden["img_lr_up"])
    assert_close(back, golden["res2img_of_residual"], atol=1e-6, rtol=0)


@pytest.mark.equation("srdiff-residual")
@given(
    scale=st.floats(0.5, 10),
    limit=st.floats(0.1, 3),
    difference=st.floats(-2, 2),
    base=st.floats(-1, 1),
)
def test_residual_and_back(scale, limit, difference, base):
    """What the limit leaves of a difference comes back, for every scale and limit."""
    model = SRDiff.__new__(SRDiff)
    torch.nn.Module.__init__(model)
    model.config = SRDiffConfig(residual_scale=scale, residual_limit=limit)
    base, difference = (torch.tensor(v, dtype=torch.float64) for v in (base, difference))
    residual = model.to_residual(base + difference, base)
    assert residual.abs() <= limit
    kept = difference.clamp(-limit / scale, limit / scale)
    assert_close(model.from_residual(residual, base), base + kept)


def test_forward_process_is_that_of_the_authors(golden, golden_srdiff):
    t = golden["t_list"]
    x0, noise = (golden[key].expand(len(t), -1, -1, -1) for key in ("residual", "noise"))
    x_t = q_sample(x0, t, noise, golden_srdiff.schedule)
    assert_close(x_t, golden["q_sample"], atol=1e-5, rtol=0)


@pytest.mark.equation("srdiff-objective")
def test_objective_is_that_of_the_authors(golden, golden_srdiff, condition):
    losses = [
        golden_srdiff.objective(golden["residual"], t[None], golden["noise"], condition)
        for t in golden["t_list"]
    ]
    assert_close(torch.stack(losses), golden["loss_l1"], atol=1e-5, rtol=0)


def test_an_error_of_x0_counts_as_one_of_the_velocity(tiny_srdiff):
    """Whatever the network says: the same state and x_0, asked for in two ways."""
    model = tiny_srdiff(prediction="x0", **OPTIONS)
    x0, epsilon, guess = (images(3, 3, 32, 32, seed=s) for s in (1, 2, 3))
    condition = model.condition(images(3, 3, 8, 8))
    t = torch.tensor([0, 3, 5])
    model.denoise_fn.forward = lambda x_t, t, projected: guess
    x_t = q_sample(x0, t, epsilon, model.schedule)
    implied = epsilon_from_x0(x_t, t, guess, model.schedule)
    error = velocity(guess, implied, t, model.schedule) - velocity(x0, epsilon, t, model.schedule)
    loss = model.objective(x0, t, epsilon, condition)
    assert_close(loss, error.abs().mean(), rtol=1e-4, atol=1e-6)


def test_a_step_back_is_that_of_the_authors(golden, golden_srdiff, condition):
    t, conditions = for_steps(golden, condition)
    x_t = golden["x_t"].expand(len(t), -1, -1, -1)
    x0 = golden_srdiff.denoise(x_t, t, conditions)
    assert_close(x0, golden["p_sample_x0"], atol=1e-5, rtol=0)
    mean, variance = posterior(x0, x_t, t, golden_srdiff.schedule)
    noisy = (t > 0).view(-1, 1, 1, 1)
    x = mean + noisy * variance.sqrt() * golden["noise"]
    assert_close(x, golden["p_sample"], atol=1e-5, rtol=0)


def test_the_chain_is_that_of_the_authors(golden, golden_srdiff, condition):
    """A hundred steps, before anything is clipped to the range of images."""
    states = {}
    x = sample_ddpm(
        partial(golden_srdiff.denoise, condition=condition),
        golden["chain_xT"],
        golden_srdiff.schedule,
        noises=golden["chain_noises_f16"].float()[:, None],
        on_step=lambda t, x, x0: states.update({99 - t: (x, x0)}),
    )
    picture = partial(golden_srdiff.from_residual, base=golden["img_lr_up"])
    assert_close(picture(x), golden["chain_img"], atol=1e-5, rtol=0)
    for i, step in enumerate(golden["chain_sel"].tolist()):
        x, x0 = (picture(each)[0] for each in states[step])
        assert_close(x, golden["chain_sel_img"][i], atol=1e-5, rtol=0)
        assert_close(x0, golden["chain_sel_x0img"][i], atol=1e-5, rtol=0)


def test_the_enlarged_image_is_that_of_the_authors(golden, golden_srdiff):
    sr = golden_srdiff.sample(
        from_network(golden["img_lr"]),
        from_network(golden["img_lr_up"]),
        x_T=golden["chain_xT"],
        noises=golden["chain_noises_f16"].float()[:, None],
    )
    assert_close(sr, from_network(golden["chain_img"]).clamp(0, 1), atol=1e-5, rtol=0)
    levels = (255 * sr[0]).round().to(torch.uint8).permute(1, 2, 0)
    assert torch.equal(levels, golden["chain_png_uint8"])


def test_the_enlargement_is_that_of_the_authors(golden, tiny_srdiff):
    """From 8-bit values divided by 256, as the official configurations say."""
    model = tiny_srdiff(base_gain=SRDiffConfig.official("div2k").base_gain)
    lr = from_network(golden["img_lr"])
    condition = model.condition(lr)
    assert_close(model.base(lr, condition), golden["img_lr_up"], atol=1e-5, rtol=0)


# Training


@pytest.mark.equation("srdiff-objective")
@pytest.mark.parametrize("loss", ["l1", "l2"])
@pytest.mark.parametrize("prediction", ["epsilon", "velocity"])
def test_the_loss_is_the_error_of_the_prediction(tiny_srdiff, loss, prediction):
    model = tiny_srdiff(loss=loss, prediction=prediction, base="encoder", residual_limit=0.7)
    lr, hr = images(2, 3, 4, 4), images(2, 3, 16, 16, seed=1)
    value, logs = model.loss((lr, hr), generator=seeded(5))
    assert logs == {}

    generator = seeded(5)
    t = torch.randint(100, (2,), generator=generator)
    epsilon = torch.randn(2, 3, 16, 16, generator=generator)
    base, features = model.rrdb(2 * lr - 1)
    x0 = (2 * (2 * hr - 1 - base)).clamp(-0.7, 0.7)
    kept = model.schedule.alpha_bar[t].float().view(-1, 1, 1, 1)
    predicted = model.denoise_fn(
        kept.sqrt() * x0 + (1 - kept).sqrt() * epsilon, t, model.denoise_fn.project(features)
    )
    wanted = epsilon if prediction == "epsilon" else velocity(x0, epsilon, t, model.schedule)
    error = predicted - wanted
    assert_close(value, error.abs().mean() if loss == "l1" else error.pow(2).mean())


def test_the_loss_uses_the_bicubic_enlargement(tiny_srdiff):
    """Where the large image is the enlargement, the residual is zero."""
    model, seen = tiny_srdiff(), []
    model.objective = lambda x0, *rest: seen.append(x0)
    lr = 0.25 + 0.5 * images(2, 3, 4, 4)
    model.loss((lr, upscale(lr, 4)), generator=seeded())
    assert_close(seen[0], torch.zeros(2, 3, 16, 16), atol=1e-6, rtol=0)


def test_only_the_denoiser_learns(tiny_srdiff):
    model = tiny_srdiff().train()
    assert model.denoise_fn.training
    assert not any(module.training for module in model.rrdb.modules())
    loss, _ = model.loss((images(2, 3, 4, 4), images(2, 3, 16, 16)), generator=seeded())
    loss.backward()
    assert all(p.grad is None for p in model.rrdb.parameters())
    assert all(p.grad is not None for p in model.denoise_fn.parameters())


@pytest.mark.parametrize("base", ["bicubic", "encoder"])
def test_it_trains(tiny_srdiff, base):
    class Pairs:
        def __len__(self):
            return 4

        def __getitem__(self, indices):
            hr = upscale(images(4, 3, 8, 8), 2)[indices].clamp(0, 1)
            return downscale(hr, 4), hr

    model = tiny_srdiff(base=base, multipliers=(1,))
    before = {key: value.clone() for key, value in model.state_dict().items()}

    def score(model: SRDiff) -> float:
        with torch.no_grad():
            losses = [model.loss(Pairs()[:], generator=seeded(s))[0] for s in range(10)]
        return float(sum(losses))

    untrained = score(model)
    config = TrainConfig(steps=100, batch_size=4, learning_rate=1e-2, ema=0.9)
    trained = fit(model, Pairs(), config, quiet=True)
    assert score(trained) < 0.7 * untrained
    for key, value in trained.state_dict().items():
        moves = key.startswith("denoise_fn.")
        assert torch.equal(value, before[key]) != moves, key
    assert trained.sample(images(1, 3, 4, 4), sampler="ddim", steps=2).isfinite().all()


@pytest.mark.parametrize("shape", [(2, 3, 16, 12), (1, 3, 16, 16), (2, 1, 16, 16)])
def test_pairs_that_do_not_fit(tiny_srdiff, shape):
    with pytest.raises(ValueError, match=r"hr must be of shape \(2, 3, 16, 16\)"):
        tiny_srdiff().loss((images(2, 3, 4, 4), images(*shape)), generator=seeded())


# Sampling

SAMPLING = [
    {"sampler": "ddpm"},
    {"sampler": "ddim"},
    {"sampler": "ddim", "steps": 2, "eta": 1.0},
    {"sampler": "dpm-solver", "steps": 4},
]


@pytest.mark.parametrize("options", SAMPLING)
def test_samples_are_images_and_reproducible(tiny_srdiff, options):
    model, lr = tiny_srdiff(**OPTIONS), images(2, 3, 4, 6)
    one, again, other = (model.sample(lr, generator=seeded(s), **options) for s in (1, 1, 2))
    assert one.shape == (2, 3, 16, 24)
    assert one.min() >= 0
    assert one.max() <= 1
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("options", SAMPLING)
def test_a_drawn_start_is_as_good_as_a_given_one(tiny_srdiff, options):
    model, lr, generator = tiny_srdiff(**OPTIONS), images(1, 3, 3, 5), seeded(4)
    drawn = model.sample(lr, generator=seeded(4), **options)
    x_T = torch.randn(1, 3, 12, 20, generator=generator)
    assert torch.equal(model.sample(lr, x_T=x_T, generator=generator, **options), drawn)


@pytest.mark.parametrize(
    ("defaults", "options"),
    [
        ({"sampler": "ddim", "steps": 3}, {"sampler": "ddim", "steps": 3}),
        ({"sampler": "dpm-solver", "steps": 50}, {"sampler": "dpm-solver", "steps": 6}),
        ({"temperature": 0.5}, {"temperature": 0.5}),
        ({"back_projections": 1}, {"back_projections": 1}),
    ],
)
def test_what_is_not_said_is_as_in_the_config(tiny_srdiff, defaults, options):
    lr = images(1, 3, 4, 4)
    by_config = tiny_srdiff(timesteps=6, **defaults).sample(lr, generator=seeded())
    by_options = tiny_srdiff(timesteps=6).sample(lr, generator=seeded(), **options)
    assert torch.equal(by_config, by_options)


def test_fewer_steps_are_taken(tiny_srdiff):
    model, seen = tiny_srdiff(), []
    lr = images(1, 3, 4, 4)
    model.sample(lr, sampler="ddim", steps=4, on_step=lambda t, *_: seen.append(t))
    assert seen == [99, 74, 49, 24]


@pytest.mark.equation("srdiff-temperature")
@pytest.mark.parametrize("sampler", ["ddim", "dpm-solver"])
def test_temperature_scales_the_start(tiny_srdiff, sampler):
    model, lr = tiny_srdiff(**OPTIONS), images(1, 3, 4, 4)
    x_T = torch.randn(1, 3, 16, 16, generator=seeded())
    sample = partial(model.sample, lr, sampler=sampler)
    assert torch.equal(sample(x_T=x_T, temperature=0.5), sample(x_T=0.5 * x_T, temperature=1.0))
    cold = [sample(temperature=0.0, generator=seeded(s)) for s in (1, 2)]
    assert torch.equal(*cold)
    assert not torch.equal(cold[0], sample(x_T=x_T))


@pytest.mark.parametrize("encoder", ["rrdb", "residual"])
@pytest.mark.parametrize("denoiser", ["official", "compact"])
@pytest.mark.parametrize("base", ["bicubic", "encoder"])
@pytest.mark.parametrize("prediction", ["epsilon", "x0", "velocity"])
def test_all_the_parts_fit_together(tiny_srdiff, encoder, denoiser, base, prediction):
    model = tiny_srdiff(
        encoder=encoder, denoiser=denoiser, base=base, prediction=prediction, **OPTIONS
    )
    lr = images(2, 3, 8, 8)
    loss, _ = model.loss((lr, images(2, 3, 32, 32)), generator=seeded())
    assert loss.isfinite()
    assert model.sample(images(1, 3, 5, 7), generator=seeded()).shape == (1, 3, 20, 28)


def test_what_one_image_needs_is_computed_once(tiny_srdiff):
    """The encoder and the projection once, the U-Net once for each step."""
    model, calls = tiny_srdiff(timesteps=6), []
    for name in ("rrdb", "denoise_fn", "denoise_fn.cond_proj"):
        model.get_submodule(name).register_forward_hook(lambda *_, name=name: calls.append(name))
    model.sample(images(1, 3, 4, 4), generator=seeded(), on_step=lambda *_: None)
    assert calls == ["rrdb", "denoise_fn.cond_proj", *["denoise_fn"] * 6]


@pytest.mark.parametrize("scale", [2, 4, 8])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (3, 5), (4, 7)])
def test_every_size_is_enlarged(tiny_srdiff, scale, height, width):
    model = tiny_srdiff(scale=scale, multipliers=(1, 1, 1, 1), **OPTIONS)
    sr = model.sample(images(1, 3, height, width), generator=seeded(), sampler="ddim")
    assert sr.shape == (1, 3, scale * height, scale * width)


def test_padding_hardly_reaches_the_image(tiny_srdiff):
    """Far from the edge the result is that of a larger image."""
    model = tiny_srdiff(multipliers=(1, 1, 1, 1), **OPTIONS)
    whole = images(1, 3, 32, 32)
    x_T = torch.randn(1, 3, 128, 128, generator=seeded())
    sample = partial(model.sample, sampler="ddim", steps=1)
    large = sample(whole, upscale(whole, 4), x_T=x_T)
    small = sample(
        whole[..., :31], upscale(whole, 4)[..., :124].contiguous(), x_T=x_T[..., :124].contiguous()
    )
    assert_close(small[..., :48], large[..., :48], atol=1e-5, rtol=0)


@given(side=st.integers(1, 6), longer=st.integers(0, 20))
def test_pictures_are_mirrored(side, longer):
    picture = torch.arange(2.0 * side).view(1, 1, 2, side)
    padded = pad_to(picture, (2, side + longer))
    wanted = np.pad(picture.numpy(), ((0, 0), (0, 0), (0, 0), (0, longer)), mode="symmetric")
    assert np.array_equal(padded.numpy(), wanted)


def test_steps_are_shown_as_images(tiny_srdiff):
    model, seen = tiny_srdiff(**OPTIONS), []
    sr = model.sample(
        images(1, 3, 3, 5), generator=seeded(), on_step=lambda *shown: seen.append(shown)
    )
    assert [t for t, *_ in seen] == [5, 4, 3, 2, 1, 0]
    for picture in itertools.chain.from_iterable(shown for _, *shown in seen):
        assert picture.shape == (1, 3, 12, 20)
        assert picture.min() >= 0
        assert picture.max() <= 1
    assert torch.equal(seen[-1][1], sr)


def test_images_of_a_batch_do_not_meet(tiny_srdiff):
    model, lr = tiny_srdiff(**OPTIONS), images(3, 3, 4, 4)
    x_T = torch.randn(3, 3, 16, 16, generator=seeded())
    together = model.sample(lr, x_T=x_T, sampler="ddim")
    alone = model.sample(lr[1:2], x_T=x_T[1:2], sampler="ddim")
    assert_close(together[1:2], alone, atol=1e-5, rtol=0)


def test_the_residual_is_limited(tiny_srdiff):
    """However wild the network, the result is within limit / scale of the enlargement."""
    model = tiny_srdiff(residual_limit=0.5, residual_scale=4.0, **OPTIONS)
    lr = 0.4 + 0.2 * images(1, 3, 4, 4)
    x_T = 100 * torch.randn(1, 3, 16, 16, generator=seeded())
    sr = model.sample(lr, x_T=x_T)
    distance = (to_network(sr) - to_network(upscale(lr, 4))).abs().max()
    assert_close(distance, torch.tensor(0.125))


def test_the_result_can_be_used_with_gradients(tiny_srdiff):
    model, lr = tiny_srdiff(**OPTIONS), images(1, 3, 4, 4)
    for times in (0, 1):
        sr = model.sample(lr, generator=seeded(), back_projections=times)
        weight = torch.ones(1, requires_grad=True)
        (weight * sr).square().sum().backward()
        assert weight.grad.isfinite()


def test_double_precision(tiny_srdiff):
    sr = tiny_srdiff(**OPTIONS).double().sample(images(1, 3, 4, 4).double(), generator=seeded())
    assert sr.dtype == torch.float64


@pytest.mark.equation("srdiff-back-projection")
def test_back_projection_agrees_with_the_small_image():
    lr, sr = 0.3 + 0.4 * images(1, 3, 8, 8), 0.3 + 0.4 * images(1, 3, 32, 32, seed=1)
    once = back_project(sr, lr, 4)
    assert_close(once, (sr + upscale(lr - downscale(sr, 4), 4)).clamp(0, 1))
    assert_close(back_project(once, lr, 4), back_project(sr, lr, 4, times=2))
    errors = [
        (downscale(back_project(sr, lr, 4, times), 4) - lr).square().mean().sqrt()
        for times in (0, 1, 2, 5)
    ]
    assert all(later < 0.5 * earlier for earlier, later in itertools.pairwise(errors))
    consistent = back_project(sr, downscale(sr, 4), 4)
    assert_close(consistent, sr, atol=1e-6, rtol=0)


@pytest.mark.equation("srdiff-back-projection")
def test_samples_are_back_projected(tiny_srdiff):
    model, lr = tiny_srdiff(**OPTIONS), images(1, 3, 3, 5)
    plain, corrected = (
        model.sample(lr, generator=seeded(), back_projections=times) for times in (0, 2)
    )
    assert torch.equal(corrected, back_project(plain, lr, 4, times=2))


# Mistakes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampler": "euler"}, "unknown sampler 'euler'; known: ddpm, ddim, dpm-solver"),
        ({"sampler": "ddpm", "steps": 3}, "'ddpm' takes all 6 steps"),
        ({"sampler": "ddim", "steps": 7}, "steps must be between 1 and 6"),
        ({"sampler": "ddim", "steps": 0}, "steps must be between 1 and 6"),
        ({"sampler": "ddpm", "eta": 0.5}, "eta belongs to sampler 'ddim'"),
        ({"sampler": "ddim", "noises": []}, "noises belong to sampler 'ddpm'"),
        ({"noises": [torch.zeros(1, 3, 16, 16)] * 3}, "5 noises are needed, not 3"),
        ({"noises": torch.zeros(5, 3, 16, 16)}, r"noises must be of shape \(1, 3, 16, 16\)"),
        ({"x_T": torch.zeros(1, 3, 4, 4)}, r"x_T must be of shape \(1, 3, 16, 16\)"),
        ({"lr_up": torch.zeros(1, 3, 4, 4)}, r"lr_up must be of shape \(1, 3, 16, 16\)"),
    ],
)
def test_options_that_make_no_sense(tiny_srdiff, options, message):
    with pytest.raises(ValueError, match=message):
        tiny_srdiff(**OPTIONS).sample(images(1, 3, 4, 4), **options)


@pytest.mark.parametrize("shape", [(3, 4, 4), (1, 1, 4, 4), (1, 3, 0, 4), (0, 3, 4, 4)])
def test_what_is_no_batch_of_images(tiny_srdiff, shape):
    with pytest.raises(ValueError, match=r"lr must be images \(N, 3, h, w\)"):
        tiny_srdiff().sample(torch.zeros(shape))


def test_an_enlargement_that_would_not_be_used(tiny_srdiff):
    with pytest.raises(ValueError, match="lr_up would not be used"):
        tiny_srdiff(base="encoder").sample(images(1, 3, 4, 4), images(1, 3, 16, 16))


@pytest.mark.parametrize("name", ["encoder", "denoiser", "prediction", "base", "loss", "sampler"])
def test_unknown_choices(name):
    with pytest.raises(ValueError, match=f"unknown {name} 'other'; known: "):
        SRDiffConfig(**{name: "other"})


@pytest.mark.parametrize("name", ["residual_scale", "residual_limit"])
def test_numbers_that_must_be_positive(name):
    with pytest.raises(ValueError, match=f"{name} must be positive"):
        SRDiffConfig(**{name: 0.0})


def test_unknown_official_configuration():
    with pytest.raises(ValueError, match="unknown configuration 'ffhq'; known: div2k, celeba"):
        SRDiffConfig.official("ffhq")


def test_defaults_are_the_official_configuration():
    """All but the gain of its enlargement."""
    assert SRDiffConfig(base_gain=255 / 256) == SRDiffConfig.official("div2k")
    assert math.isclose(SRDiffConfig.official("celeba").base_gain, 255 / 256)
