"""The shipped weights and their cards, and what is refused."""

import hashlib
import itertools
import json
import re
import shlex
import shutil
from dataclasses import asdict, fields

import pytest
import safetensors.torch
import torch

from course_lib import data, metrics, weights
from course_lib.metrics import Classifier
from course_lib.models import (
    DCGAN,
    DDPM,
    VAE,
    WGAN,
    Autoencoder,
    AutoencoderConfig,
    DCGANConfig,
    VAEConfig,
    WGANConfig,
)
from course_lib.training import RECIPES, TrainConfig
from course_lib.upscaling import CLOTHES

SHIPPED = {
    "autoencoder",
    "vae-2d",
    "vae",
    "classifier",
    "gan",
    "dcgan",
    "wgan",
    "wgan-gp",
    "ddpm",
    "fashion-mean",
    "fashion-vae",
    "fashion-gan",
    "fashion-wgan-gp",
    "fashion-ddpm",
    "latent",
    "latent-clothes",
    "regression",
    "srdiff",
}

CARD_FIELDS = {
    "name": str,
    "model": str,
    "config": dict,
    "parameters": int,
    "format": str,
    "sha256": str | dict,
    "summary": str,
    "command": str,
    "data": str,
    "data_licence": str,
    "training": dict,
    "wall_seconds": int,
    "machine": str,
    "finished": str,
    "evaluated_on": str,
    "protocol": str,
    "metrics": dict,
}


NOT_GENERATIVE = (
    "Autoencoder",
    "Classifier",
    "ConditionalDDPM",
    "ConditionalGAN",
    "ConditionalVAE",
    "ConditionalWGAN",
    "LatentDiffusion",
    "PosteriorMean",
    "ResidualSR",
    "SRDiff",
)

# A card from before there was such a setting means what it was then: the default of today.
NEWER_SETTINGS = {
    field.name: json.loads(json.dumps(field.default))
    for field in fields(TrainConfig)
    if field.name in ("optimizer", "betas", "critic_steps", "precision")
}


def test_exactly_these_models_ship():
    assert set(weights.names()) == SHIPPED


def test_shipped_weights_fit_the_budget():
    sizes = [path.stat().st_size for path in weights.folder().rglob("*.safetensors")]
    assert sum(sizes) <= 40_000_000
    latent = (weights.folder() / "latent").rglob("*")
    assert sum(path.stat().st_size for path in latent if path.is_file()) <= 12_000_000
    assert (weights.folder() / "srdiff.safetensors").stat().st_size <= 8_000_000


def test_every_file_has_a_card_and_every_card_a_file():
    files = {str(p.relative_to(weights.folder())) for p in weights.folder().rglob("*.safetensors")}
    assert files == {file for name in weights.names() for file in digests(name)}


def digests(name: str) -> dict[str, str]:
    """Return the SHA-256 of each of a model's files, as its card says."""
    told = weights.card(name)["sha256"]
    return {f"{name}.safetensors": told} if isinstance(told, str) else told


@pytest.mark.parametrize("name", weights.names())
class TestShipped:
    def test_card_is_complete(self, name):
        card = weights.card(name)
        for field, kind in CARD_FIELDS.items():
            assert isinstance(card[field], kind), field
            assert card[field] or field == "wall_seconds", field
        assert card["name"] == name
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", card["finished"])
        assert all(isinstance(value, float) for value in card["metrics"].values())

    def test_card_names_the_recipe_as_it_is(self, name):
        """The command on the card trains this very configuration today."""
        card, recipe = weights.card(name), RECIPES[name]
        assert shlex.split(card["command"])[:3] == ["course-lib", "train", name]
        built = recipe.build()
        assert card["model"] == type(built).__name__
        assert card["config"] == json.loads(json.dumps(asdict(built.config)))
        expected, options = asdict(recipe.config), shlex.split(card["command"])[3:]
        for option, value in itertools.pairwise(options):
            key = option.removeprefix("--").replace("-", "_")
            if key in expected:
                expected[key] = type(expected[key])(value)
        told = NEWER_SETTINGS | card["training"]
        assert told == json.loads(json.dumps(expected))
        assert card["summary"] == recipe.summary
        assert card["protocol"] == recipe.protocol

    def test_checksum_and_size(self, name):
        card, tensors = weights.card(name), {}
        for file, digest in digests(name).items():
            path = weights.folder() / file
            assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
            part = "" if path.stem == name else f"{path.parent.name}."
            found = safetensors.torch.load_file(path)
            tensors |= {f"{part}{key}": tensor for key, tensor in found.items()}
        model = weights.build(card["model"], card["config"])
        stored = model.state_dict().keys()
        buffers = {name: tensors.pop(name) for name, _ in model.named_buffers() if name in stored}
        assert sum(tensor.numel() for tensor in tensors.values()) == card["parameters"]
        assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
        assert all(tensor.isfinite().all() for tensor in tensors.values())
        for name, tensor in buffers.items():  # those of batch norms
            counter = name.endswith("num_batches_tracked")
            assert tensor.dtype == (torch.int64 if counter else torch.float16), name
            assert tensor.isfinite().all()

    def test_loads_for_use(self, name):
        model, card = weights.load(name), weights.card(name)
        assert not model.training
        assert type(model).__name__ == card["model"]
        assert {p.dtype for p in model.parameters()} == {torch.float32}

    @torch.inference_mode()
    def test_metrics_hold_on_some_of_the_test_images(self, name, test_images):
        """400 of the package's test images stand for the card's 10,000."""
        model, card, images = weights.load(name), weights.card(name), test_images[:400]
        metrics = card["metrics"]
        if isinstance(model, Autoencoder):
            error = (model.reconstruct(images) - images).square().mean().item()
            assert error == pytest.approx(metrics["mse"], rel=0.1)
            assert metrics["mse"] < metrics["mse_of_pca"]
        if isinstance(model, Classifier):
            labels = data.load(split="test").labels[:400]
            accuracy = (model(images).argmax(1) == labels).double().mean().item()
            assert accuracy == pytest.approx(metrics["accuracy"], abs=margin_of(0.92, 400))
            assert metrics["accuracy"] >= 0.92
        if isinstance(model, VAE):
            generator = torch.Generator().manual_seed(1)
            log_likelihood, kl = model.elbo(images, generator=generator)
            bounds = (log_likelihood - kl).double()
            margin = 4 * bounds.std().item() / len(images) ** 0.5
            assert bounds.mean().item() == pytest.approx(metrics["elbo"], abs=margin)
            assert kl.mean().item() == pytest.approx(metrics["kl"], rel=0.1)
            assert metrics["iwae"] > metrics["elbo"] - margin
            if model.config.likelihood == "discretized-logistic":
                bits = model.bits_per_dimension(bounds.mean(), 784).item()
                assert bits == pytest.approx(metrics["bits_per_dimension"], rel=0.06)


def margin_of(share: float, n: int) -> float:
    """Four standard errors of a share that is counted in n draws."""
    return 4 * max(share * (1 - share) / n, 1e-4) ** 0.5


@pytest.fixture(scope="module")
def judge(test_images):
    """The shipped classifier, and its features of the test images."""
    classifier = weights.load("classifier")
    with torch.inference_mode():
        return classifier, torch.cat([classifier.features(part) for part in test_images.split(500)])


def cards_with(field: str) -> list[str]:
    return [name for name in weights.names() if field in weights.card(name)["metrics"]]


@pytest.mark.parametrize("name", cards_with("frechet_ratio"))
@torch.inference_mode()
def test_metrics_hold_on_some_samples(name, judge):
    """A few other samples give the shares of the classes, and the precision, as they do.

    These are shares of the samples, whose number does not matter; that of the distance and
    of the recall does.
    """
    classifier, real = judge
    model, card = weights.load(name), weights.card(name)
    n, options, expected = 400, {}, card["metrics"]["precision"]
    if isinstance(model, DDPM):  # with few steps, which the card has too
        n, options = 40, {"sampler": "dpm-solver", "steps": 10}
        (expected,) = (
            row["precision"]
            for row in card["details"]["by_steps"]
            if options.items() <= row.items()
        )
    images, _ = metrics.draw(model, n, seed=17, **options)
    features = classifier.features(images.mul(255).round().div(255))
    precision, _ = metrics.precision_recall(real, features)
    assert precision == pytest.approx(expected, abs=margin_of(expected, n))
    shares = metrics.class_coverage(classifier.head(features).argmax(1), 10).tolist()
    told = card["details"]["shares"]
    assert list(told) == list(data.CLASS_NAMES["fashion-mnist"])
    for share, expected in zip(shares, told.values(), strict=True):
        assert share == pytest.approx(expected, abs=margin_of(expected, n))
    assert min(told.values()) == pytest.approx(card["metrics"]["smallest_share"])
    assert sum(told.values()) == pytest.approx(1)
    assert card["metrics"]["frechet"] > card["metrics"]["frechet_floor"]
    ratio = card["metrics"]["frechet"] / card["metrics"]["frechet_floor"]
    assert card["metrics"]["frechet_ratio"] == pytest.approx(ratio)


def test_all_samples_are_measured_against_the_same_floor():
    floors = {weights.card(name)["metrics"]["frechet_floor"] for name in cards_with("frechet")}
    assert max(floors) == pytest.approx(min(floors), rel=1e-4)


@pytest.mark.parametrize("name", CLOTHES)
def test_models_of_clothes_do_what_their_cards_say(name, shipped):
    """On 100 of the 2,000 images, and with two draws of eight."""
    told = weights.card(name)["metrics"]
    found = metrics.measure_small_model(weights.load(name), draws=2, limit=100, classifier=shipped)
    assert found["psnr"] == pytest.approx(told["psnr"], abs=0.7)
    assert found["lr_psnr"] == pytest.approx(told["lr_psnr"], abs=0.7)
    assert found["diversity"] == pytest.approx(told["diversity"], rel=0.25)
    assert found["agreement"] == pytest.approx(told["agreement"], abs=0.15)


GENERATIVE = [name for name in weights.names() if weights.card(name)["model"] not in NOT_GENERATIVE]


@pytest.mark.parametrize("name", GENERATIVE)
@torch.inference_mode()
def test_shipped_samples_depend_on_the_seed_alone(name):
    model = weights.load(name)
    fast = {"steps": 4} if isinstance(model, DDPM) else {}
    before = torch.get_rng_state()
    first, again, other = (
        model.sample(4, generator=torch.Generator().manual_seed(seed), **fast) for seed in (1, 1, 2)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == (4, 1, 28, 28)
    assert first.min() >= 0
    assert first.max() <= 1
    assert (first[0] - first[1]).abs().max() > 0.1  # no collapse


@pytest.mark.parametrize("name", sorted({"dcgan", "wgan", "wgan-gp"} & set(weights.names())))
@torch.inference_mode()
def test_a_shipped_picture_does_not_depend_on_its_neighbours(name):
    """The batch norms use what they have seen in training."""
    model = weights.load(name)
    z = model.latents(8, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(model.generate(z)[:1], model.generate(z[:1]), atol=1e-5)
    assert all(int(count) > 1000 for key, count in model.state_dict().items() if "batches" in key)


# A folder of our own, to damage.


@pytest.fixture
def published(tmp_path):
    torch.manual_seed(0)
    model = VAE(VAEConfig(latent_dim=2, channels=(2, 3, 4), likelihood="gaussian", beta=2.0))
    weights.publish(model, "tiny", {"summary": "a tiny VAE"}, tmp_path)
    return tmp_path, model


def test_published_weights_come_back_in_half_precision(published):
    folder, model = published
    loaded = weights.load("tiny", folder)
    assert loaded.config == model.config
    assert isinstance(loaded.config.channels, tuple)
    assert not loaded.training
    for key, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value.half().float())
    assert weights.names(folder) == ["tiny"]
    card = weights.card("tiny", folder)
    assert card["parameters"] == sum(p.numel() for p in model.parameters())
    assert card["summary"] == "a tiny VAE"


def test_rounded_is_what_ships(published):
    folder, model = published
    rounded = weights.rounded(model)
    assert rounded is model
    loaded = weights.load("tiny", folder).state_dict()
    for key, value in rounded.state_dict().items():
        assert torch.equal(value, loaded[key])


def test_of_batch_norms_the_counters_stay_whole_numbers(tmp_path):
    """Beyond 2,048 half precision would round them; what is no weight is no parameter."""
    torch.manual_seed(0)
    model = DCGAN(DCGANConfig(latent_dim=2, width=1))
    model.sample(3, generator=torch.Generator().manual_seed(0))
    norm = model.generator[2]
    assert isinstance(norm, torch.nn.BatchNorm2d)
    norm.num_batches_tracked.fill_(70_001)
    assert norm.running_mean.any()
    weights.publish(model, "norms", {}, tmp_path)
    card = weights.card("norms", tmp_path)
    assert card["parameters"] == sum(p.numel() for p in model.parameters())
    assert card["config"]["width"] == 1
    loaded = weights.load("norms", tmp_path).state_dict()
    rounded = weights.rounded(model).state_dict()
    assert loaded.keys() == rounded.keys()
    for key, value in rounded.items():
        assert loaded[key].dtype == value.dtype
        assert torch.equal(loaded[key], value), key
    assert int(norm.num_batches_tracked) == 70_001


@pytest.mark.parametrize("constraint", ["clip", "penalty"])
def test_a_game_comes_back_with_its_settings(tmp_path, constraint):
    torch.manual_seed(0)
    config = WGANConfig(
        constraint=constraint, networks="perceptron", data_shape=(2,), bounded=False, hidden=(3, 4)
    )
    weights.publish(WGAN(config), "game", {}, tmp_path)
    loaded = weights.load("game", tmp_path)
    assert isinstance(loaded, WGAN)
    assert loaded.config == config
    assert hash(loaded.config) == hash(config)  # tuples are tuples again


@pytest.mark.parametrize("position", [0.0, 0.5, 0.999])
def test_a_damaged_file_is_refused_by_name(published, position):
    """One flipped bit anywhere is noticed."""
    folder, _ = published
    path = folder / "tiny.safetensors"
    content = bytearray(path.read_bytes())
    content[int(position * len(content))] ^= 1
    path.write_bytes(content)
    with pytest.raises(weights.WeightsError, match=r"the weights of 'tiny' in .* are damaged") as e:
        weights.load("tiny", folder)
    assert str(path) in str(e.value)
    assert weights.card("tiny", folder)["sha256"][:12] in str(e.value)


def test_a_truncated_file_is_refused(published):
    folder, _ = published
    path = folder / "tiny.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(weights.WeightsError, match="damaged"):
        weights.load("tiny", folder)


def test_a_missing_file_is_named(published):
    folder, _ = published
    (folder / "tiny.safetensors").unlink()
    with pytest.raises(weights.WeightsError, match="the card of 'tiny' is there, but") as caught:
        weights.load("tiny", folder)
    assert str(folder / "tiny.safetensors") in str(caught.value)


def test_an_unknown_name_lists_the_known_ones(published):
    folder, _ = published
    weights.publish(
        Autoencoder(AutoencoderConfig(latent_dim=2, channels=(1, 1, 1))), "b", {}, folder
    )
    for ask in (weights.card, weights.load):
        with pytest.raises(weights.WeightsError, match="no model 'big'; known: b, tiny"):
            ask("big", folder)
    empty = folder / "empty"
    empty.mkdir()
    with pytest.raises(weights.WeightsError, match="known: none"):
        weights.card("tiny", empty)


@pytest.mark.parametrize("change", ["foreign", "missing", "shape"])
def test_tensors_must_be_exactly_the_models(published, change):
    folder, _ = published
    path = folder / "tiny.safetensors"
    tensors = safetensors.torch.load_file(path)
    if change == "foreign":
        tensors["extra"] = torch.zeros(1)
    elif change == "missing":
        del tensors["log_std"]
    else:
        tensors["log_std"] = torch.zeros(2)
    content = safetensors.torch.save(tensors)
    path.write_bytes(content)
    card = weights.card("tiny", folder) | {"sha256": hashlib.sha256(content).hexdigest()}
    (folder / "tiny.json").write_text(json.dumps(card))
    with pytest.raises(weights.WeightsError, match="the weights of 'tiny' do not fit their card"):
        weights.load("tiny", folder)


def test_a_shipped_file_copied_and_damaged_is_refused(tmp_path):
    names = weights.names()
    assert names, "no weights ship yet"
    for ending in ("json", "safetensors"):
        shutil.copy(weights.folder() / f"{names[0]}.{ending}", tmp_path)
    weights.load(names[0], tmp_path)
    with (tmp_path / f"{names[0]}.safetensors").open("ab") as file:
        file.write(b"x")
    with pytest.raises(weights.WeightsError, match=f"{names[0]!r}"):
        weights.load(names[0], tmp_path)


@pytest.mark.parametrize(
    "change", [{"model": "Diffusion"}, {"config": {"width": 3}}, {"config": {"beta": -1.0}}]
)
def test_a_card_of_another_version_is_explained(tmp_path, change):
    weights.publish(weights.load("vae-2d"), "later", {}, tmp_path)
    card = json.loads((tmp_path / "later.json").read_text())
    (tmp_path / "later.json").write_text(json.dumps(card | change))
    with pytest.raises(weights.WeightsError, match="'later' describes a model that this version"):
        weights.load("later", tmp_path)


def test_the_diffusion_model_is_the_best_and_misses_no_class():
    cards = {name: weights.card(name)["metrics"] for name in cards_with("frechet_ratio")}
    assert min(cards, key=lambda name: cards[name]["frechet"]) == "ddpm"
    assert cards["ddpm"]["frechet_ratio"] < 15
    assert cards["ddpm"]["smallest_share"] >= 0.05
    assert min(cards[name]["smallest_share"] for name in ("dcgan", "wgan-gp")) >= 0.03
