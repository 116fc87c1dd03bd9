"""The recipes of the models that upscale: from a folder of photographs to a card."""

import csv
import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from course_lib import data, weights
from course_lib.metrics import psnr
from course_lib.training import RECIPES, SettingsError, recipes, upscalers
from course_lib.upscaling import RegressionConfig, ResidualSR, SRDiff, SRDiffConfig, load
from course_lib.upscaling.rrdb import RRDBConfig, RRDBEncoder

QUICK = {"full": False, "steps": 3, "batch_size": 2, "quiet": True}
TINY = RegressionConfig(channels=4, blocks=1, inner_channels=4, inner_blocks=1)


@pytest.fixture
def folder(tmp_path):
    """Three photographs of noise with their licences; the last is held out."""
    images = tmp_path / "photographs"
    images.mkdir()
    rng = np.random.default_rng(0)
    for number in range(3):
        levels = rng.integers(0, 256, (300, 280, 3), dtype=np.uint8)
        Image.fromarray(levels).save(images / f"{number}.png")
    with (images / "SOURCES.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerows([["file", "licence"], ["0.png", "CC0-1.0"], ["1.png", "CC-BY-4.0"]])
    return images


@pytest.fixture
def tiny_regression(monkeypatch):
    recipe = dataclasses.replace(RECIPES["regression"], build=lambda: ResidualSR(TINY))
    monkeypatch.setitem(RECIPES, "regression", recipe)


@pytest.mark.usefixtures("tiny_regression")
def test_a_run_from_photographs_to_a_card(folder, tmp_path):
    card = recipes.train("regression", tmp_path / "run", images=folder, **QUICK)
    assert card["command"] == (
        "course-lib train regression --images PHOTOGRAPHS --steps 3 --batch-size 2"
    )
    assert card["data"] == "2 photographs"
    assert card["data_licence"] == "CC-BY-4.0, CC0-1.0"
    assert card["evaluated_on"].startswith("1 held-out photographs")
    hr = data.to_tensor(upscalers.middle(folder / "2.png"))
    lr = data.quantize(data.downscale(data.crop_to_multiple(hr, 4), 4))
    for key, upscaler in (("psnr_y", tmp_path / "run"), ("psnr_y_of_bicubic", "bicubic")):
        sr = data.quantize(load(upscaler).upscale(lr).image)
        expected = float(psnr(sr, data.crop_to_multiple(hr, 4), border=4))
        assert card["metrics"][key] == pytest.approx(expected, abs=1e-6)


@pytest.mark.usefixtures("tiny_regression")
def test_a_run_resumes_with_the_same_bits(folder, tmp_path):
    recipes.train("regression", tmp_path / "whole", images=folder, **QUICK)
    recipes.train("regression", tmp_path / "again", images=folder, **QUICK)
    first, second = (
        weights.load("regression", tmp_path / run).state_dict() for run in ("whole", "again")
    )
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_without_photographs_there_is_nothing_to_learn_from(tmp_path):
    with pytest.raises(SettingsError, match="--images"):
        recipes.train("regression", tmp_path, **QUICK)


def test_small_images_are_not_learned_from_photographs(folder, tmp_path):
    with pytest.raises(SettingsError, match="upscale"):
        recipes.train("vae", tmp_path, images=folder, **QUICK)


def test_the_encoder_is_that_of_the_shipped_srdiff_or_of_a_run(tmp_path):
    shipped = weights.load("srdiff").rrdb.state_dict()
    found = upscalers.encoder(tmp_path).state_dict()
    assert all(torch.equal(found[key], shipped[key]) for key in shipped)
    torch.manual_seed(0)
    own = ResidualSR(upscalers.ENCODER)
    weights.publish(own, "encoder", {}, tmp_path)
    expected, found = weights.rounded(own).state_dict(), upscalers.encoder(tmp_path).state_dict()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_the_regression_model_begins_as_the_encoder_and_learns_in_all_its_weights():
    model, lr = RECIPES["regression"].build(), data.example("arches")[..., :16, :20]
    assert model.config == upscalers.REGRESSION
    with torch.no_grad():
        assert torch.allclose(model(lr), upscalers.encoder()(lr), atol=1e-6)
    assert model.training
    assert all(p.requires_grad for p in model.parameters())


def test_the_embedded_srdiff_starts_with_the_shipped_encoder_and_leaves_it_alone(
    folder, tmp_path, monkeypatch
):
    model = RECIPES["srdiff"].build()
    shipped = weights.load("srdiff").rrdb.state_dict()
    assert all(torch.equal(model.rrdb.state_dict()[key], shipped[key]) for key in shipped)
    assert not any(p.requires_grad for p in model.rrdb.parameters())

    def tiny():
        torch.manual_seed(0)
        return SRDiff(
            dataclasses.replace(
                upscalers.EMBEDDED, hidden=4, multipliers=(1, 1), encoder_features=4, steps=1
            )
        )

    recipe = dataclasses.replace(RECIPES["srdiff"], build=tiny)
    monkeypatch.setitem(RECIPES, "srdiff", recipe)
    card = recipes.train("srdiff", tmp_path / "run", images=folder, **QUICK)
    trained = weights.load("srdiff", tmp_path / "run")
    before = weights.rounded(tiny()).state_dict()
    moved = {
        key.split(".")[0]
        for key, value in trained.state_dict().items()
        if not torch.equal(value, before[key])
    }
    assert moved == {"denoise_fn", "spread_head"}
    assert set(card["metrics"]) >= {"psnr_y", "psnr_y_of_mean", "lr_psnr", "diversity"}


def test_the_official_recipe_takes_the_encoder_that_was_trained_before(tmp_path):
    torch.manual_seed(0)
    encoder = RRDBEncoder()
    weights.publish(encoder, "rrdb", {}, tmp_path)
    model = upscalers.official(tmp_path)
    assert model.config == SRDiffConfig.official("div2k")
    expected = weights.load("rrdb", tmp_path).state_dict()
    assert all(torch.equal(model.rrdb.state_dict()[key], expected[key]) for key in expected)
    with pytest.raises(weights.WeightsError, match="rrdb"):
        upscalers.official(tmp_path / "nowhere")


def test_the_official_encoder_learns(folder):
    patches = data.PhotoPatches(data.photographs(folder), size=8)
    torch.manual_seed(0)
    model = RRDBEncoder(RRDBConfig(blocks=2, features=4))
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    batch = patches[torch.arange(4)]
    losses = []
    for _ in range(20):
        loss, _ = model.loss(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]
