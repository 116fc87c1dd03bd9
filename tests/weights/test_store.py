"""The shipped weights and their cards, and what is refused."""

import hashlib
import itertools
import json
import re
import shlex
import shutil
from dataclasses import asdict

import pytest
import safetensors.torch
import torch

from course_lib import weights
from course_lib.models import VAE, Autoencoder, AutoencoderConfig, VAEConfig
from course_lib.training import RECIPES

SHIPPED = {"autoencoder", "vae-2d", "vae"}

CARD_FIELDS = {
    "name": str,
    "model": str,
    "config": dict,
    "parameters": int,
    "format": str,
    "sha256": str,
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


def test_exactly_these_models_ship():
    assert set(weights.names()) == SHIPPED


def test_shipped_weights_fit_the_budget():
    sizes = [path.stat().st_size for path in weights.folder().glob("*.safetensors")]
    assert sum(sizes) <= 40_000_000


def test_every_file_has_a_card_and_every_card_a_file():
    files = {path.stem for path in weights.folder().glob("*.safetensors")}
    assert files == set(weights.names())


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
        assert card["training"] == expected
        assert card["summary"] == recipe.summary
        assert card["protocol"] == recipe.protocol

    def test_checksum_and_size(self, name):
        path, card = weights.folder() / f"{name}.safetensors", weights.card(name)
        assert hashlib.sha256(path.read_bytes()).hexdigest() == card["sha256"]
        tensors = safetensors.torch.load_file(path)
        assert sum(tensor.numel() for tensor in tensors.values()) == card["parameters"]
        assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
        assert all(tensor.isfinite().all() for tensor in tensors.values())

    def test_loads_for_use(self, name):
        model, card = weights.load(name), weights.card(name)
        assert not model.training
        assert type(model).__name__ == card["model"]
        assert {p.dtype for p in model.parameters()} == {torch.float32}

    @torch.inference_mode()
    def test_metrics_hold_on_some_of_the_test_images(self, name, test_images):
        """400 of the package's test images stand for the card's 10,000."""
        model, metrics, images = (
            weights.load(name),
            weights.card(name)["metrics"],
            test_images[:400],
        )
        if isinstance(model, Autoencoder):
            error = (model.reconstruct(images) - images).square().mean().item()
            assert error == pytest.approx(metrics["mse"], rel=0.1)
            assert metrics["mse"] < metrics["mse_of_pca"]
            return
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


@pytest.mark.parametrize(
    "name", [name for name in weights.names() if weights.card(name)["model"] == "VAE"]
)
@torch.inference_mode()
def test_shipped_samples_depend_on_the_seed_alone(name):
    model = weights.load(name)
    first, again, other = (
        model.sample(4, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == (4, 1, 28, 28)
    assert first.min() >= 0
    assert first.max() <= 1
    assert (first[0] - first[1]).abs().max() > 0.1  # no collapse


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
