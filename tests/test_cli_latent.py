"""The command line of the latent upscaler, run in this process."""

import json

import pytest
from typer.testing import CliRunner

from course_lib import data, metrics, upscaling, weights
from course_lib.cli import app
from course_lib.cli_common import Problem


def run(*arguments: object):
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture
def folder(tmp_path):
    where = tmp_path / "originals"
    where.mkdir()
    for name in ("stones", "bridge"):
        data.to_image(data.example(name)[..., :49, :64]).save(where / f"{name}.png")
    return where


def test_reconstructions_are_measured_and_kept(folder, tmp_path, tiny_latent, monkeypatch):
    cards = {"latent": {"details": {"autoencoder": {}, "reconstruction": {"Other": 1.0}}}}
    monkeypatch.setattr(upscaling, "load", lambda name: tiny_latent, raising=False)
    monkeypatch.setattr(weights, "card", cards.get)
    monkeypatch.setattr(weights, "amend", lambda name, details: cards[name].update(details=details))
    file = tmp_path / "numbers.json"
    finished = run("evaluate-latent", "--images", folder, "--json", file, "--record", "Mine")
    assert finished.exit_code == 0, finished.output
    told = json.loads(file.read_text())
    expected = metrics.reconstruction(tiny_latent, metrics.super_resolution.originals(folder))
    assert told["images"] == expected
    assert told["mean"] == pytest.approx(sum(expected.values()) / 2)
    assert cards["latent"]["details"] == {
        "autoencoder": {},
        "reconstruction": {"Other": 1.0, "Mine": told["mean"]},
    }


def test_a_folder_without_images_is_refused(tmp_path, tiny_latent, monkeypatch):
    monkeypatch.setattr(upscaling, "load", lambda name: tiny_latent, raising=False)
    finished = run("evaluate-latent", "--images", tmp_path)
    assert "holds no images" in str(finished.exception)


def test_a_prompt_reaches_the_model(folder, tmp_path, tiny_latent, monkeypatch):
    monkeypatch.setattr(upscaling, "load", lambda name, **options: tiny_latent, raising=False)
    told = []
    usual = tiny_latent.upscale
    monkeypatch.setattr(
        tiny_latent,
        "upscale",
        lambda image, **options: told.append(options) or usual(image, **options),
        raising=False,
    )
    options = ("--prompt", "a coat", "--guidance-scale", 3, "--noise-level", 50)
    finished = run(
        "upscale",
        folder / "stones.png",
        "-o",
        tmp_path / "large.png",
        "--model",
        "latent",
        *options,
    )
    assert finished.exit_code == 0, finished.output
    assert (
        told[-1].items() >= {"prompt": "a coat", "guidance_scale": 3.0, "noise_level": 50}.items()
    )
    assert (tmp_path / "large.png").exists()


def test_other_models_are_told_nothing(folder, tmp_path):
    options = ("-o", tmp_path / "x.png", "--model", "bicubic", "--prompt", "a coat")
    finished = run("upscale", folder / "stones.png", *options)
    assert isinstance(finished.exception, Problem)
    assert "sees the image alone, so it has no --prompt" in str(finished.exception)
