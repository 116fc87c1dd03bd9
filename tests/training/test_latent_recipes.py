"""The recipes of the latent upscalers, on tiny parts."""

import pytest
import torch

from course_lib import data, weights
from course_lib.data.captions import CAPTION_WORDS
from course_lib.data.photographs import PhotoPatches, photographs
from course_lib.training import TrainConfig, fit
from course_lib.training import latent as recipes
from course_lib.upscaling.latent import (
    LatentAutoencoder,
    LatentAutoencoderConfig,
    LatentDiffusion,
    LatentDiffusionConfig,
)

TINY = LatentDiffusionConfig(
    autoencoder=(16, 16, 16),
    channels=(16, 32),
    words=CAPTION_WORDS,
    text_width=16,
    text_layers=1,
    text_length=8,
)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return LatentDiffusion(TINY)


@pytest.fixture
def folder(tmp_path):
    for number, name in enumerate(("perched-osprey", "tea-gardens", "zz-held-out")):
        top = 20 * number
        data.to_image(data.example("stones")[..., top : top + 96, :128]).save(
            tmp_path / f"{name}.png"
        )
    return tmp_path


@pytest.fixture
def patches(folder):
    return PhotoPatches(photographs(folder), size=12, stride=4, zooms=(1.0,), keep=1.0)


def test_codes_are_cut_where_the_pixels_are(patches, model):
    """The codes of a patch are those of the whole, there; mirrored ones belong together too."""
    coded = recipes.CodedPatches(patches, model)
    assert len(coded) == 2 * len(patches.places)
    for index in (0, 1, 2 * len(patches.places) - 1):
        lr, codes, tokens = coded[torch.tensor([index])]
        number, row, column = patches.places[index // 2].tolist()
        low, high = patches.pairs[number]
        if index % 2:
            low, high = low.flip(2), high.flip(2)
            column = low.shape[2] - 12 - column
        assert torch.equal(lr[0], low[:, row : row + 12, column : column + 12].float() / 255)
        whole = model.encode(high[None].float() / 255)[0]
        expected = whole[:, row : row + 12, column : column + 12]
        assert torch.allclose(codes[0], expected, atol=0.05 * float(whole.std()) + 0.01)
        path = patches.sources[number]
        assert torch.equal(tokens[0], model.tokens([recipes.caption(path)])[0])


def test_a_few_steps_lower_the_loss_and_leave_the_autoencoder(patches, model):
    before = {name: p.clone() for name, p in model.vae.named_parameters()}
    losses = []
    config = TrainConfig(steps=60, batch_size=8, learning_rate=2e-3, ema=0.0, log_every=20)
    coded = recipes.CodedPatches(patches, model)
    fit(model, coded, config, quiet=True, on_log=lambda line: losses.append(line["loss"]))
    assert losses[-1] < 0.97 * losses[0]
    assert all(torch.equal(p, before[name]) for name, p in model.vae.named_parameters())


def test_the_autoencoder_comes_from_its_run(tmp_path, monkeypatch):
    """It is brought to the pipeline's size; without a run, the shipped one is taken."""
    monkeypatch.setattr(recipes, "RUNS", tmp_path)
    torch.manual_seed(0)
    config = LatentAutoencoderConfig(channels=TINY.autoencoder)
    trained = LatentAutoencoder(config)
    trained.latent_std.fill_(2.0)
    about = {"summary": "", "metrics": {"psnr_rgb": 20.0}}
    weights.publish(trained, "some-autoencoder", about, tmp_path / "some-autoencoder")
    state, card = recipes.trained_autoencoder("some")
    assert card["metrics"] == {"psnr_rgb": 20.0}
    factor = 1 / (0.08333 * 2)
    expected = trained.vae.quant_conv.weight[:4].half().float() * factor
    assert torch.allclose(state["quant_conv.weight"][:4], expected, rtol=1e-4)

    shipped, card = recipes.trained_autoencoder("latent-clothes")
    assert torch.equal(
        shipped["quant_conv.weight"], weights.load("latent-clothes").vae.quant_conv.weight
    )
    assert card["command"].startswith("course-lib train latent-clothes-autoencoder")


def test_autoencoders_are_measured_by_their_reconstructions():
    model = recipes.beginning(LatentAutoencoderConfig(channels=(16, 16, 16))).eval()
    stones = data.to_image(data.example("stones")[..., :70, :64])
    found = recipes.evaluate_photographs(model, [("stones", stones)])
    clothes = recipes.as_photographs(data.load(split="test").images[:20])
    assert 14 < found["psnr_rgb"] < 30
    assert 5 < recipes.evaluate_clothes(model, clothes)["psnr_rgb"] < 40
    assert found["latent_std"] == 1.0  # as it has not seen anything


def test_clothes_are_coded_with_their_captions(monkeypatch):
    monkeypatch.setattr(
        recipes, "beginning_of", lambda name, config: LatentDiffusion(TINY).requires_grad_(False)
    )
    some = data.load(split="test")
    few = data.LabelledImages(some.images[:12], some.labels[:12], some.class_names, some.source)
    lr, codes, tokens = recipes.coded_clothes(few).tensors
    assert lr.shape == (12, 3, 8, 8)
    assert codes.shape == (12, 4, 8, 8)
    assert tokens.shape == (12, 8)
    same = few.labels[:, None] == few.labels[None]
    equal = (tokens[:, None] == tokens[None]).all(2)
    assert torch.equal(equal, same)
