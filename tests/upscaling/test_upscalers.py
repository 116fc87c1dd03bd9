"""The upscalers, and how one is found by its name."""

import itertools
import shutil

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch.testing import assert_close

from course_lib import data, upscaling, weights
from course_lib.upscaling import (
    CheckpointError,
    RegressionConfig,
    ResidualSR,
    SRDiff,
    SRDiffConfig,
    UpscalingError,
    load,
)
from course_lib.upscaling.interface import OVERLAP, Request
from course_lib.upscaling.rrdb import RRDBConfig, RRDBEncoder
from course_lib.upscaling.tiling import NoiseField, Tile
from course_lib.upscaling.upscalers import Bicubic, Diffusion, Nearest, Regression, wrap

SAMPLERS = ("ddpm", "ddim", "dpm-solver")


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def photograph() -> torch.Tensor:
    """(1, 3, 128, 160)"""
    return data.example("arches")[..., :128, :160].contiguous()


@pytest.fixture(scope="module")
def srdiff() -> SRDiff:
    """A tiny one of the embedded kind, with weights that draw something."""
    config = SRDiffConfig(
        encoder="residual",
        encoder_blocks=1,
        encoder_features=8,
        denoiser="compact",
        hidden=8,
        multipliers=(1, 2),
        prediction="x0",
        base="encoder",
        timesteps=6,
        sampler="ddim",
        steps=3,
    )
    with torch.random.fork_rng():
        torch.manual_seed(4)
        model = SRDiff(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.03 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="module")
def diffusion(srdiff) -> Diffusion:
    return Diffusion(srdiff)


# Interpolation


def test_nearest_makes_squares():
    lr = images(1, 3, 3, 2)
    sr = Nearest(3).upscale(lr).image
    assert torch.equal(sr, lr.repeat_interleave(3, 2).repeat_interleave(3, 3))


def test_bicubic_is_that_of_the_degradation_and_clipped():
    lr = (images(1, 3, 8, 8) > 0.5).float()
    curve = data.upscale(lr, 4)
    assert curve.max() > 1
    assert_close(Bicubic(4).upscale(lr).image, curve.clamp(0, 1))


@pytest.mark.parametrize("name", ["nearest", "bicubic"])
@pytest.mark.parametrize("scale", [1, 2, 3, 8])
def test_interpolation_has_any_scale(name, scale):
    upscaler = load(name, scale=scale)
    assert (upscaler.name, upscaler.scale, upscaler.samplers) == (name, scale, ())
    assert upscaler.upscale(images(1, 3, 3, 5)).image.shape == (1, 3, 3 * scale, 5 * scale)


@pytest.mark.parametrize("name", ["nearest", "bicubic"])
def test_interpolation_does_not_depend_on_tiles(name):
    lr = images(1, 3, 70, 131)
    whole = load(name).upscale(lr).image
    assert_close(load(name).upscale(lr, tile=64).image, whole, rtol=0, atol=1e-5)


# The regression model


def test_regression_is_the_network_clipped():
    model = wrap(ResidualSR(RegressionConfig(scale=2)))
    lr = (images(1, 3, 9, 7) > 0.5).float()
    bicubic = F.interpolate(lr, scale_factor=2, mode="bicubic").clamp(0, 1)
    assert_close(model.upscale(lr).image, bicubic, rtol=0, atol=1e-6)


@pytest.mark.equation("sr-ensemble")
@pytest.mark.parametrize("views", [1, 2, 4, 8])
def test_the_answer_is_the_mean_over_views(views):
    """A network that sees no symmetry, of an image that has none: by hand, with transposes."""

    class Lopsided(ResidualSR):
        def forward_with_condition(self, lr):
            rising = torch.arange(lr.shape[3]) / 10 + torch.arange(lr.shape[2])[:, None] / 70
            return (0.3 * lr * rising.sin()).repeat_interleave(2, 2).repeat_interleave(2, 3), None

    model = Lopsided(RegressionConfig(scale=2))
    lr = images(2, 3, 5, 7)
    flipped = lr.flip(3)
    by_hand = [
        model(lr),
        model(flipped).flip(3),
        model(lr.transpose(2, 3).flip(2)).flip(2).transpose(2, 3),
        model(flipped.transpose(2, 3).flip(2)).flip(2).transpose(2, 3).flip(3),
        model(lr.flip(2, 3)).flip(2, 3),
        model(flipped.flip(2, 3)).flip(2, 3).flip(3),
        model(lr.transpose(2, 3).flip(3)).flip(3).transpose(2, 3),
        model(flipped.transpose(2, 3).flip(3)).flip(3).transpose(2, 3).flip(3),
    ]
    assert len({float(answer.mean()) for answer in by_hand}) == 8
    wanted = torch.stack(by_hand[:views]).mean(0)
    found = Regression(model, views).upscale(lr).image
    assert_close(found, wanted, rtol=0, atol=1e-6)


def test_views_are_one_to_eight():
    with pytest.raises(ValueError, match="views must be 1, 2, 4 or 8"):
        Regression(ResidualSR(RegressionConfig()), 3)


def test_the_encoder_of_the_authors_is_a_regression_model_too():
    encoder = RRDBEncoder(RRDBConfig(blocks=2, features=4, scale=2))
    upscaler = wrap(encoder)
    assert (upscaler.name, upscaler.scale) == ("regression", 2)
    lr = images(1, 3, 5, 6)
    wanted = (encoder(2 * lr - 1)[0] + 1) / 2
    assert_close(Regression(encoder, 1).upscale(lr).image, wanted, rtol=0, atol=1e-5)


def test_shipped_regression_does_not_depend_on_tiles(photograph):
    upscaler = load("regression")
    whole = upscaler.upscale(photograph, tile=160).image
    for tile in (64, 96):
        difference = upscaler.upscale(photograph, tile=tile).image - whole
        assert difference.abs().max() < 1e-3


def test_a_quarter_of_the_overlap_is_as_far_as_regression_looks(photograph):
    """What a tile does not see changes nothing where its weight is not 0."""
    upscaler = load("regression")
    whole = upscaler.upscale(photograph[..., :64, :128]).image
    part = upscaler.upscale(photograph[..., :64, :64]).image
    seen = 4 * (64 - OVERLAP // 4)
    assert (part - whole[..., :256])[..., :seen].abs().max() < 1e-3


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (1, 70), (67, 2)])
@pytest.mark.parametrize("name", ["nearest", "bicubic", "regression"])
def test_any_size(name, size):
    sr = load(name).upscale(images(1, 3, *size), tile=64).image
    assert sr.shape == (1, 3, 4 * size[0], 4 * size[1])
    assert sr.isfinite().all()


def test_shipped_regression_beats_bicubic(photograph):
    lr = data.downscale(photograph, 4)
    of_model, of_bicubic = (
        (load(name).upscale(lr).image - photograph).square().mean()
        for name in ("regression", "bicubic")
    )
    assert of_model < 0.8 * of_bicubic


# SRDiff


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_diffusion_is_the_sampler_with_the_noise_of_the_field(diffusion, srdiff, sampler):
    lr, field = images(1, 3, 6, 9), NoiseField(11)
    steps = None if sampler == "ddpm" else 2
    result = diffusion.upscale(lr, seed=11, sampler=sampler, steps=steps)
    noises = [field.read(draw, 0, 0, 24, 36) for draw in range(7)]
    wanted = srdiff.sample(
        lr,
        sampler=sampler,
        steps=steps,
        x_T=noises[0],
        noises=noises[1:] if sampler == "ddpm" else None,
    )
    assert_close(result.image, wanted, rtol=0, atol=1e-5)
    assert result.seed == 11


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_tiles_of_diffusion_meet_without_a_seam(diffusion, sampler):
    """The noise belongs to the place, so tiles agree where they see enough around."""
    lr = F.interpolate(images(1, 3, 9, 12), (72, 96), mode="bilinear")
    whole = diffusion.upscale(lr, seed=2, sampler=sampler, tile=96).image
    tiled = diffusion.upscale(lr, seed=2, sampler=sampler, tile=64).image
    other = diffusion.upscale(lr, seed=3, sampler=sampler, tile=96).image
    assert (other - whole).abs().max() > 0.05  # there is something that could differ
    assert (tiled - whole).abs().max() < 1e-3


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_same_seed_gives_the_same_bits_and_samples_differ(diffusion, sampler):
    lr = images(1, 3, 5, 7)
    first = diffusion.upscale(lr, seed=1, sampler=sampler, samples=2)
    again = diffusion.upscale(lr, seed=1, sampler=sampler, samples=2)
    for a, b in zip(first.images, again.images, strict=True):
        assert torch.equal(a, b)
    assert (first.images[0] - first.images[1]).abs().mean() > 1e-3


@pytest.mark.parametrize("steps", [1, 3])
def test_equal_images_of_a_batch_get_different_answers(diffusion, steps):
    lr = images(1, 3, 5, 7)
    batch = diffusion.upscale(lr.expand(3, -1, -1, -1), seed=1, steps=steps).image
    assert_close(batch[:1], diffusion.upscale(lr, seed=1, steps=steps).image)
    for a, b in itertools.combinations(batch, 2):
        assert (a - b).abs().mean() > 1e-3


def test_the_start_does_not_depend_on_the_number_of_steps(diffusion, monkeypatch):
    """Nor on the sampler, for any image of a batch: so that these can be compared."""
    starts = []
    monkeypatch.setattr(
        diffusion.model, "sample", lambda lr, *, x_T, **_: starts.append(x_T) or data.upscale(lr, 4)
    )
    for steps, sampler in ((1, "ddim"), (3, "ddim"), (2, "dpm-solver"), (None, "ddpm")):
        diffusion.upscale(images(2, 3, 4, 4), seed=0, steps=steps, sampler=sampler)
    assert all(torch.equal(start, starts[0]) for start in starts)
    assert not torch.equal(starts[0][0], starts[0][1])


def test_no_two_images_and_steps_share_noise(diffusion):
    asked = []

    class Recorded(Request):
        def noise(self, draw, scale):
            asked.append(draw)
            return super().noise(draw, scale)

    request = Recorded(None, "ddpm", None, NoiseField(0), Tile(0, 0, 4, 4), None)
    diffusion.enlarge(images(3, 3, 4, 4), request)
    assert sorted(asked) == list(range(3 * 7))


def test_temperature_zero_is_one_answer(diffusion):
    lr = images(1, 3, 5, 7)
    cold = [diffusion.upscale(lr, seed=seed, temperature=0).image for seed in (1, 2)]
    assert_close(cold[0], cold[1])


@pytest.mark.parametrize(("sampler", "steps"), [("ddpm", 6), ("ddim", 3), ("dpm-solver", 2)])
def test_progress_and_states_of_diffusion(diffusion, sampler, steps):
    told = []
    options = {"sampler": sampler, "steps": steps, "seed": 0}
    kept = diffusion.upscale(images(2, 3, 5, 7), keep_states=True, progress=told.append, **options)
    assert [p.done for p in told] == list(range(1, steps + 1))
    assert told[-1].total == steps
    times = [state.t for state in kept.states]
    assert len(times) == steps
    assert times == sorted(times, reverse=True)
    assert times[0] == 5
    for state in kept.states:
        for picture in (state.state, state.estimate):
            assert picture.shape == (1, 3, 20, 28)
            assert 0 <= picture.min() <= picture.max() <= 1
    assert_close(kept.states[-1].estimate, kept.image[:1])


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (1, 70)])
def test_diffusion_of_any_size(diffusion, size):
    sr = diffusion.upscale(images(1, 3, *size), tile=64).image
    assert sr.shape == (1, 3, 4 * size[0], 4 * size[1])
    assert sr.isfinite().all()


@pytest.mark.parametrize(
    "options",
    [
        {"steps": 0},
        {"steps": 7},
        {"steps": 3, "sampler": "ddpm"},
        {"sampler": "euler"},
        {"sampler": ""},
    ],
)
def test_impossible_steps_and_samplers(diffusion, options):
    with pytest.raises(UpscalingError):
        diffusion.upscale(images(1, 3, 4, 4), **options)


def test_a_model_is_made_ready_for_use(srdiff):
    model = wrap(srdiff.train()).model
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


# Finding one


def test_names_are_all_found():
    for name in upscaling.UPSCALERS:
        upscaler = load(name)
        assert (upscaler.name, upscaler.scale) == (name, 4)


def test_a_photograph_is_enlarged_in_one_line():
    assert load("srdiff").upscale(Image.new("RGB", (9, 7), "teal")).image.size == (36, 28)


@pytest.fixture
def run(tmp_path, srdiff):
    """The folder of a training run."""
    weights.publish(srdiff, "mine", {}, tmp_path)
    (tmp_path / "log.jsonl").write_text("")
    return tmp_path


@pytest.mark.parametrize("kind", [str, lambda path: path], ids=["str", "Path"])
@pytest.mark.parametrize("where", [".", "mine.safetensors"])
def test_a_run_is_found_by_its_folder_and_by_its_weights(run, where, kind):
    upscaler = load(kind(run / where))
    assert isinstance(upscaler, Diffusion)
    assert upscaler.model.config.timesteps == 6


def test_a_name_comes_before_a_folder(run, monkeypatch):
    shutil.copytree(run, run / "regression")
    monkeypatch.chdir(run)
    assert isinstance(load("regression"), Regression)
    assert isinstance(load("./regression"), Diffusion)


def test_a_folder_of_several_models_is_refused(run, srdiff):
    weights.publish(srdiff, "other", {}, run)
    with pytest.raises(UpscalingError, match=r"holds 2 models; name the \.safetensors file"):
        load(run)


def test_a_folder_of_none_is_refused(tmp_path):
    (tmp_path / "notes.json").write_text("{}")
    with pytest.raises(UpscalingError, match="holds 0 models"):
        load(tmp_path)


def test_weights_without_their_card_are_refused(run):
    (run / "mine.json").unlink()
    with pytest.raises(weights.WeightsError, match="mine"):
        load(run / "mine.safetensors")


def test_another_kind_of_file_is_refused(tmp_path):
    (tmp_path / "photo.png").write_bytes(b"")
    with pytest.raises(UpscalingError, match=r"photo\.png is neither a folder nor"):
        load(tmp_path / "photo.png")


def test_models_that_do_not_enlarge_are_refused(tmp_path, tiny_vae):
    weights.publish(tiny_vae(), "vae", {}, tmp_path)
    with pytest.raises(UpscalingError, match="VAE is not a model that enlarges images"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["esrgan", "SRDIFF", "", "missing/run", "vae"])
def test_unknown_names_list_the_known(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if name == "":  # the folder itself, where there is no model
        with pytest.raises(UpscalingError, match="holds 0 models"):
            load(name)
        return
    with pytest.raises(UpscalingError) as caught:
        load(name)
    assert repr(name) in str(caught.value)
    assert all(known in str(caught.value) for known in (*upscaling.UPSCALERS, *upscaling.CLOTHES))


@pytest.mark.parametrize("scale", [0, -2, 1.5, "4", True])
def test_scales_that_are_none(scale):
    with pytest.raises(UpscalingError, match="whole number of at least 1"):
        load("bicubic", scale=scale)


def test_models_have_a_scale_of_their_own():
    assert load("regression", scale=4).scale == 4
    with pytest.raises(UpscalingError, match="regression enlarges by 4, not by 2"):
        load("regression", scale=2)


@pytest.mark.parametrize(("scale", "configuration"), [(None, "div2k"), (4, "div2k"), (8, "celeba")])
def test_a_file_of_the_authors(scale, configuration, monkeypatch, tiny_srdiff):
    asked = []

    def from_official(path, config):
        asked.append((path, config))
        return tiny_srdiff(scale=8 if config == "celeba" else 4)

    monkeypatch.setattr(SRDiff, "from_official", from_official)
    upscaler = load("model_ckpt_steps_400000.ckpt", scale=scale)
    assert isinstance(upscaler, Diffusion)
    assert upscaler.scale == (scale or 4)
    assert asked == [("model_ckpt_steps_400000.ckpt", configuration)]


def test_a_file_of_the_authors_that_is_missing(tmp_path):
    with pytest.raises(CheckpointError, match="there is no file"):
        load(tmp_path / "model.ckpt")
