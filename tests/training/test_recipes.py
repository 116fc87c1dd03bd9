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
from course_lib.metrics import Classifier, ClassifierConfig
from course_lib.models import (
    DCGAN,
    DDPM,
    GAN,
    VAE,
    WGAN,
    Autoencoder,
    AutoencoderConfig,
    DCGANConfig,
    VAEConfig,
)
from course_lib.training import RECIPES, Interrupted, recipes
from course_lib.upscaling import CLOTHES, ResidualSR, SRDiff
from course_lib.upscaling.latent import LatentAutoencoder, LatentDiffusion
from course_lib.upscaling.rrdb import RRDBEncoder

MODELS = {
    "autoencoder": Autoencoder,
    "vae-2d": VAE,
    "vae": VAE,
    "classifier": Classifier,
    "gan": GAN,
    "dcgan": DCGAN,
    "wgan": WGAN,
    "wgan-gp": WGAN,
    "ddpm": DDPM,
}
UPSCALERS = {
    **CLOTHES,
    "encoder": ResidualSR,
    "regression": ResidualSR,
    "srdiff": SRDiff,
    "rrdb": RRDBEncoder,
    "srdiff-official": SRDiff,
    "latent-autoencoder": LatentAutoencoder,
    "latent-clothes-autoencoder": LatentAutoencoder,
    "latent": LatentDiffusion,
    "latent-clothes": LatentDiffusion,
}


def some_images(n: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 1, 28, 28), generator=generator).float() / 255


def tiny(likelihood: str) -> VAE:
    torch.manual_seed(0)
    config = VAEConfig(latent_dim=2, channels=(2, 3, 4), likelihood=likelihood)
    return VAE(config).requires_grad_(False).eval()


def test_there_is_a_recipe_for_every_model():
    assert set(RECIPES) == set(MODELS | UPSCALERS)


@pytest.mark.parametrize("name", sorted(set(RECIPES) - {"srdiff-official"}))
def test_recipes_build_what_they_say(name):
    recipe = RECIPES[name]
    model = recipe.build()
    assert recipe.summary
    assert recipe.protocol
    assert type(model) is (MODELS | UPSCALERS)[name]
    rebuilt = weights.build(
        type(model).__name__, json.loads(json.dumps(dataclasses.asdict(model.config)))
    )
    assert rebuilt.config == model.config


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gan", {"optimizer": "adam", "betas": (0.5, 0.999), "critic_steps": 1}),
        ("dcgan", {"optimizer": "adam", "betas": (0.5, 0.999), "critic_steps": 1}),
        ("wgan", {"optimizer": "rmsprop"}),
        ("wgan-gp", {"optimizer": "adam", "betas": (0.0, 0.9)}),
    ],
)
def test_games_are_played_by_the_rules_of_their_papers(name, expected):
    """A bound on gradients would be a rule of our own; a critic is ahead of its generator."""
    recipe = RECIPES[name]
    config = dataclasses.asdict(recipe.config)
    assert {key: config[key] for key in expected} == expected
    assert recipe.config.clip == 0
    model = recipe.build()
    assert model.players[1] == "generator"
    if isinstance(model, WGAN):
        assert recipe.config.critic_steps > 1
        assert model.config.constraint == {"wgan": "clip", "wgan-gp": "penalty"}[name]
        # The paper clips at 0.01; that is too tight for a critic without batch norm.
        assert model.config.clip == {"wgan": 0.05, "wgan-gp": 0.01}[name]
        assert model.config.penalty == 10
    else:
        assert model.config.loss == "non-saturating"
    if name == "dcgan":
        assert (recipe.config.learning_rate, model.config.init_std) == (2e-4, 0.02)


@pytest.mark.parametrize("name", MODELS)
def test_models_learn_from_images_and_the_classifier_from_labels_too(name):
    labels = torch.tensor([3, 1, 2, 0, 3])
    given = data.LabelledImages(some_images(5), labels, (), "a few")
    examples = RECIPES[name].examples(given)
    assert len(examples) == 5
    batch = examples[torch.tensor([4, 0])]
    if name == "classifier":
        images, classes = batch
        assert classes.tolist() == [3, 3]
    else:
        images = batch
    assert torch.equal(images, given.images[[4, 0]])


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


def test_classifier_is_measured_by_the_share_of_right_answers():
    """It answers with the number of white pixels; every image weighs the same."""

    class Counts(torch.nn.Module):
        def forward(self, images):
            white = images.flatten(1).sum(1).round().long()
            return torch.nn.functional.one_hot(white, 10).float()

    images, labels = torch.zeros(700, 1, 28, 28), torch.arange(700) % 10
    for index, label in enumerate(labels):
        images[index, 0, 0, : int(label)] = 1
    for wrong in (0, 1, 499, 500, 698):  # in the first batch of 500 and in the second
        labels[wrong] = (labels[wrong] + 1) % 10
    test = RECIPES["classifier"].examples(data.LabelledImages(images, labels, (), "a few"))
    measured = recipes.evaluate_classifier(Counts(), test)
    assert measured == {"accuracy": pytest.approx(695 / 700)}
    assert isinstance(measured["accuracy"], float)


@pytest.fixture
def measured_as(monkeypatch):
    """Replace the measurement of samples by numbers that tell how it was called."""
    calls = []

    def evaluate_model(model, **options):
        calls.append((model, options))
        return NUMBERS | {name: float(len(calls)) for name in recipes.headline(NUMBERS)}

    monkeypatch.setattr(recipes, "evaluate_model", evaluate_model)
    return calls


NUMBERS = {
    **dict.fromkeys(("frechet", "frechet_floor", "frechet_ratio"), 1.0),
    **dict.fromkeys(("precision", "precision_floor", "recall", "recall_floor"), 1.0),
    **dict.fromkeys(("smallest_share", "smallest_share_floor", "images_per_second"), 1.0),
    **{"samples": 2000, "reference": 2000, "floor": 2000, "threads": 2},
    "shares": {"Bag": 0.25, "Coat": 0.75},
}


def test_generators_are_measured_by_their_samples(measured_as):
    """What the seed decides goes to the card, and no speed, which the machine decides."""
    model = torch.nn.Identity()
    measured = recipes.evaluate_samples(model, some_images(2))
    assert measured_as == [(model, {})]
    assert measured["shares"] == {"Bag": 0.25, "Coat": 0.75}
    floats = {key for key, value in measured.items() if isinstance(value, float)}
    assert floats == set(recipes.headline(NUMBERS)) == set(measured) - {"shares"}
    for name in ("gan", "dcgan", "wgan", "wgan-gp"):
        assert RECIPES[name].evaluate is recipes.evaluate_samples
        assert RECIPES[name].evaluated_on == "2,000 samples"


def test_diffusion_is_measured_with_every_sampler(measured_as):
    model = torch.nn.Identity()
    measured = RECIPES["ddpm"].evaluate(model, some_images(2))
    asked = [options for _, options in measured_as]
    rows = measured["by_steps"]
    by_steps = [{"sampler": row["sampler"], "steps": row["steps"]} for row in rows]
    assert asked == by_steps
    assert {row["sampler"] for row in rows} == {"ddim", "dpm-solver"}
    for sampler, steps in (("ddim", 20), ("ddim", 50), ("dpm-solver", 10)):
        assert {"sampler": sampler, "steps": steps} in by_steps  # the course speaks of these
    for row in rows:
        number = 1.0 + asked.index({"sampler": row["sampler"], "steps": row["steps"]})
        assert row["frechet"] == number
        assert "images_per_second" not in row
    default = {"sampler": "ddim", "steps": 50}
    assert measured["frechet"] == 1.0 + asked.index(default)


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


# A game, and the classifier, from start to card


@pytest.fixture
def few(monkeypatch, test_images):
    labels = torch.arange(40) % 10
    images = data.LabelledImages(test_images[:40], labels, (), "a few images")
    monkeypatch.setattr(data, "load", lambda *, split, full=False: images)
    return images


def test_a_game_from_start_to_card(tmp_path, monkeypatch, few):
    """What ships is the average, with the batch norms' buffers; what is no float is a detail."""
    seen = []

    def evaluate(model, images):
        seen.append((model, images))
        return {"frechet": 1.5, "shares": {"Bag": 0.25}, "rows": [{"steps": 3}]}

    tiny_dcgan = dataclasses.replace(
        RECIPES["dcgan"],
        build=lambda: DCGAN(DCGANConfig(latent_dim=2, width=1)),
        evaluate=evaluate,
    )
    monkeypatch.setitem(RECIPES, "dcgan", tiny_dcgan)
    card = recipes.train("dcgan", tmp_path, full=False, quiet=True, steps=4, batch_size=8)
    assert card == weights.card("dcgan", tmp_path)
    assert card["metrics"] == {"frechet": 1.5}
    assert card["details"] == {"shares": {"Bag": 0.25}, "rows": [{"steps": 3}]}
    assert card["evaluated_on"] == "2,000 samples"
    assert card["data"] == "a few images"
    assert card["training"]["betas"] == [0.5, 0.999]

    ((measured, images),) = seen
    assert torch.equal(images, few.images)
    assert not measured.training
    model = weights.load("dcgan", tmp_path)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert set(state["optimizers"]) == {"discriminator", "generator"}
    for key, value in model.state_dict().items():
        averaged = state["average"][f"module.{key}"]
        assert torch.equal(
            value, averaged.half().float() if value.is_floating_point() else averaged
        )
        assert torch.equal(value, measured.state_dict()[key])
    assert int(model.discriminator[3].num_batches_tracked) == 4 * 3
    samples = [m.sample(3, generator=torch.Generator().manual_seed(0)) for m in (model, measured)]
    assert torch.equal(*samples)


def test_the_classifier_from_start_to_card(tmp_path, monkeypatch, few):
    tiny_classifier = dataclasses.replace(
        RECIPES["classifier"],
        build=lambda: Classifier(ClassifierConfig(channels=(8, 8, 8, 8), feature_dim=8)),
    )
    monkeypatch.setitem(RECIPES, "classifier", tiny_classifier)
    card = recipes.train("classifier", tmp_path, full=False, quiet=True, steps=3, batch_size=8)
    model = weights.load("classifier", tmp_path)
    with torch.inference_mode():
        right = model(few.images).argmax(1) == few.labels
    assert card["metrics"] == {"accuracy": pytest.approx(right.double().mean().item())}
    assert "details" not in card
    assert card["evaluated_on"] == "a few images"
