"""The recipes of the shipped models: what they measure, and a run from start to card."""

import dataclasses
import json
import math
import shlex
import time

import numpy as np
import pytest
import torch

from course_lib import data, weights
from course_lib.models import VAE, Autoencoder, AutoencoderConfig, VAEConfig
from course_lib.training import RECIPES, Interrupted, recipes


def some_images(n: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 1, 28, 28), generator=generator).float() / 255


def tiny(likelihood: str) -> VAE:
    torch.manual_seed(0)
    config = VAEConfig(latent_dim=2, channels=(2, 3, 4), likelihood=likelihood)
    return VAE(config).requires_grad_(False).eval()


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_build_what_they_say(name):
    recipe = RECIPES[name]
    model = recipe.build()
    assert recipe.summary
    assert recipe.protocol
    assert isinstance(model, Autoencoder if name == "autoencoder" else VAE)
    rebuilt = weights.build(
        type(model).__name__, json.loads(json.dumps(dataclasses.asdict(model.config)))
    )
    assert rebuilt.config == model.config


def test_autoencoder_is_measured_against_as_many_principal_components(monkeypatch):
    """Both errors again in numpy, the components by the SVD."""
    train, test = some_images(60, 1), some_images(700, 2)
    train_set = data.LabelledImages(train, torch.zeros(60).long(), (), "a few")
    monkeypatch.setattr(data, "load", lambda *, split: train_set)
    torch.manual_seed(0)
    model = Autoencoder(AutoencoderConfig(latent_dim=5, channels=(2, 3, 4))).eval()
    measured = recipes.evaluate_autoencoder(model, test)

    with torch.no_grad():
        rebuilt = model.reconstruct(test)
    # Batches of 500 and 200: every image weighs the same.
    assert measured["mse"] == pytest.approx((rebuilt - test).square().mean().item(), rel=1e-5)
    flat, mean = test.flatten(1).numpy(), train.flatten(1).mean(0).numpy()
    directions = np.linalg.svd(train.flatten(1).numpy() - mean)[2][:5]
    residual = (flat - mean) - (flat - mean) @ directions.T @ directions
    assert measured["mse_of_pca"] == pytest.approx((residual**2).mean(), rel=1e-4)


def test_vae_is_measured_by_its_bounds():
    model, images = tiny("discretized-logistic"), some_images(600)
    measured = recipes.evaluate_vae(model, images, samples=3, subset=20)
    again = recipes.evaluate_vae(model, images, samples=3, subset=20)
    assert measured == again
    assert set(measured) == {
        "elbo",
        "kl",
        "iwae",
        "bits_per_dimension",
        "bits_per_dimension_iwae",
    }
    mean, log_variance = model.encode(images)
    kl = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, (log_variance / 2).exp()),
        torch.distributions.Normal(0.0, 1.0),
    )
    assert measured["kl"] == pytest.approx(kl.sum(1).mean().item(), rel=1e-4)
    other = torch.stack(
        [
            torch.stack(model.elbo(images, generator=torch.Generator().manual_seed(seed)))
            for seed in range(20)
        ]
    ).mean(0)
    assert measured["elbo"] == pytest.approx((other[0] - other[1]).mean().item(), rel=2e-3)
    assert measured["bits_per_dimension"] == pytest.approx(
        -measured["elbo"] / 784 / math.log(2), rel=1e-6
    )
    assert measured["bits_per_dimension_iwae"] == pytest.approx(
        -measured["iwae"] / 784 / math.log(2), rel=1e-6
    )


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_no_bits_are_reported_for_densities(likelihood):
    measured = recipes.evaluate_vae(tiny(likelihood), some_images(20), samples=2, subset=10)
    assert set(measured) == {"elbo", "kl", "iwae"}
    assert all(math.isfinite(value) for value in measured.values())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("vae", False, {}), "course-lib train vae"),
        (("vae", True, {}), "course-lib train vae --full"),
        (
            ("vae-2d", True, {"steps": 5, "batch_size": 8}),
            "course-lib train vae-2d --full --steps 5 --batch-size 8",
        ),
    ],
)
def test_command_repeats_a_run(arguments, expected):
    assert recipes.command(*arguments) == expected


@pytest.fixture
def tiny_recipe(monkeypatch, test_images):
    """The recipe of `vae-2d` with a tiny model, 40 images and a short evaluation."""
    few = data.LabelledImages(test_images[:40], torch.zeros(40).long(), (), "a few images")
    monkeypatch.setattr(data, "load", lambda *, split, full=False: few)
    recipe = dataclasses.replace(
        RECIPES["vae-2d"],
        build=lambda: VAE(VAEConfig(latent_dim=2, channels=(2, 3, 4))),
        evaluate=lambda model, images: recipes.evaluate_vae(model, images, samples=2, subset=10),
    )
    monkeypatch.setitem(RECIPES, "vae-2d", recipe)
    return recipe, few


def test_a_run_from_start_to_card(tmp_path, monkeypatch, tiny_recipe):
    """Weights and card are written, the metrics are those of the shipped (rounded) weights."""
    recipe, few = tiny_recipe
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"

    def train():
        return recipes.train(
            "vae-2d", run, full=False, quiet=True, where=elsewhere, steps=4, batch_size=8
        )

    card = train()
    assert card == weights.card("vae-2d", elsewhere)
    assert weights.names(elsewhere) == ["vae-2d"]
    assert weights.names(run) == []
    assert shlex.split(card["command"]) == shlex.split(
        "course-lib train vae-2d --steps 4 --batch-size 8"
    )
    assert card["training"]["steps"] == 4
    assert card["training"]["seed"] == 0
    assert card["data"] == card["evaluated_on"] == "a few images"

    model = weights.load("vae-2d", elsewhere)
    assert recipe.evaluate(model, few.images) == card["metrics"]
    state = torch.load(run / "checkpoint.pt", weights_only=True)
    for key, value in model.state_dict().items():  # the average is what ships
        averaged = state["average"][f"module.{key}"]
        assert torch.equal(value, averaged.half().float())

    # Once more, on another day: the finished run is found, and the card stays what it was.
    monkeypatch.setattr(time, "strftime", lambda form: "2099-01-01")
    assert train() == card


def test_an_interruption_while_measuring_loses_nothing(tmp_path, monkeypatch, tiny_recipe):
    recipe, _ = tiny_recipe

    def interrupted(model, images):
        raise KeyboardInterrupt

    options = {"full": False, "quiet": True, "steps": 4, "batch_size": 8}
    monkeypatch.setitem(RECIPES, "vae-2d", dataclasses.replace(recipe, evaluate=interrupted))
    with pytest.raises(Interrupted, match=f"step 4 of 4; saved in {tmp_path}"):
        recipes.train("vae-2d", tmp_path, **options)
    monkeypatch.setitem(RECIPES, "vae-2d", recipe)
    assert recipes.train("vae-2d", tmp_path, **options)["training"]["steps"] == 4
