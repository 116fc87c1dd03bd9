"""Loading and storing weights: ``NAME.safetensors`` beside its card ``NAME.json``.

The weights of a model of several parts are in a folder ``NAME``, a pipeline as diffusers saves
it, and its card has a SHA-256 for each of the files.
"""

import hashlib
import json
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from .. import models
from ..files import replace_atomically
from ..upscaling import conditional, latent
from ..upscaling.regression import RegressionConfig, ResidualSR
from ..upscaling.rrdb import RRDBConfig, RRDBEncoder
from ..upscaling.srdiff import SRDiff, SRDiffConfig

MODELS = {
    "Autoencoder": (models.Autoencoder, models.AutoencoderConfig),
    "Classifier": (models.Classifier, models.ClassifierConfig),
    "ConditionalDDPM": (conditional.ConditionalDDPM, conditional.ConditionalDDPMConfig),
    "ConditionalGAN": (conditional.ConditionalGAN, conditional.ConditionalGANConfig),
    "ConditionalVAE": (conditional.ConditionalVAE, conditional.ConditionalVAEConfig),
    "ConditionalWGAN": (conditional.ConditionalWGAN, conditional.ConditionalWGANConfig),
    "DCGAN": (models.DCGAN, models.DCGANConfig),
    "DDPM": (models.DDPM, models.DDPMConfig),
    "GAN": (models.GAN, models.GANConfig),
    "LatentDiffusion": (latent.LatentDiffusion, latent.LatentDiffusionConfig),
    "LatentAutoencoder": (latent.LatentAutoencoder, latent.LatentAutoencoderConfig),
    "PosteriorMean": (conditional.PosteriorMean, conditional.PosteriorMeanConfig),
    "RRDBEncoder": (RRDBEncoder, RRDBConfig),
    "ResidualSR": (ResidualSR, RegressionConfig),
    "SRDiff": (SRDiff, SRDiffConfig),
    "VAE": (models.VAE, models.VAEConfig),
    "WGAN": (models.WGAN, models.WGANConfig),
}


class WeightsError(RuntimeError):
    """Weights that are missing, damaged or not what their card says."""


def folder() -> Path:
    """Return the package's folder of shipped weights."""
    return Path(str(files(__package__)))


def names(where: Path | None = None) -> list[str]:
    """Return the names of the models in ``where`` (by default, the shipped ones)."""
    return sorted(path.stem for path in (where or folder()).glob("*.json"))


def there(name: str, where: Path) -> bool:
    """Return whether a folder has a model's weights too, and not just its card."""
    return (where / f"{name}.safetensors").exists() or (where / name).is_dir()


def card(name: str, where: Path | None = None) -> dict[str, Any]:
    """Return a model's card. Raises :class:`WeightsError` for an unknown name."""
    path = (where or folder()) / f"{name}.json"
    if not path.exists():
        known = ", ".join(names(where)) or "none"
        raise WeightsError(f"there is no model {name!r}; known: {known}")
    return json.loads(path.read_text())


def load(name: str, where: Path | None = None) -> nn.Module:
    """Build the model that a card describes and load its weights, in float32, for use.

    Raises :class:`WeightsError` where the name is unknown, the file is missing or its
    SHA-256 is not the card's, or its tensors are not exactly the model's.
    """
    about = card(name, where)
    where = where or folder()
    digests = about["sha256"]
    single = isinstance(digests, str)
    files = {f"{name}.safetensors": digests} if single else digests
    state = {}
    for file, digest in files.items():
        part = "" if single else f"{Path(file).parent.name}."
        tensors = safetensors.torch.load(_checked(where / file, name, digest))
        state |= {f"{part}{key}": value for key, value in tensors.items()}
    try:
        model = build(about["model"], about["config"])
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            f"the card of {name!r} describes a model that this version does not know: {error}"
        ) from error
    try:
        model.load_state_dict(state)  # which copies into float32
    except RuntimeError as error:
        raise WeightsError(f"the weights of {name!r} do not fit their card: {error}") from error
    return model.eval()


def _checked(path: Path, name: str, digest: str) -> bytes:
    """Return a file's content once it is known to be what the card says."""
    if not path.exists():
        raise WeightsError(f"the card of {name!r} is there, but {path} is not; reinstall")
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        raise WeightsError(
            f"the weights of {name!r} in {path} are damaged: their SHA-256 is "
            f"{found[:12]}…, but the card says {digest[:12]}…; reinstall"
        )
    return content


def build(kind: str, config: dict[str, Any]) -> nn.Module:
    """Return a new model of a kind (a key of ``MODELS``) with the given config."""
    return MODELS[kind][0](config_of({"model": kind, "config": config}))


def config_of(card: dict[str, Any]) -> Any:
    """Return the config that a card describes, as the model's own dataclass."""
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in card["config"].items()}
    return MODELS[card["model"]][1](**values)


def publish(model: nn.Module, name: str, about: dict[str, Any], where: Path | None = None) -> Path:
    """Write a model's weights, in half precision, and its card; return the weights' path.

    A model that has ``save_pretrained`` writes a folder of its own, and says which files of it
    are weights.

    ``about`` is the card without what is filled in here: model, config, parameters,
    number format and SHA-256.
    """
    where = where or folder()
    where.mkdir(parents=True, exist_ok=True)
    if hasattr(model, "save_pretrained"):
        path = where / name
        digests = {
            f"{name}/{file.relative_to(path)}": hashlib.sha256(file.read_bytes()).hexdigest()
            for file in model.save_pretrained(path)
        }
    else:
        path = where / f"{name}.safetensors"
        state = {key: _half(value).contiguous().cpu() for key, value in model.state_dict().items()}
        content = safetensors.torch.save(state)
        digests = hashlib.sha256(content).hexdigest()
        replace_atomically(path, lambda file: file.write_bytes(content))
    full_card = {
        "name": name,
        "model": type(model).__name__,
        "config": asdict(model.config),
        "parameters": sum(p.numel() for p in model.parameters()),
        "format": "float16",
        "sha256": digests,
        **about,
    }
    text = json.dumps(full_card, indent=2) + "\n"
    replace_atomically(where / f"{name}.json", lambda file: file.write_text(text))
    return path


def amend(name: str, details: dict[str, Any], where: Path | None = None) -> None:
    """Replace the 'details' of a card, for what is measured after the training."""
    text = json.dumps(card(name, where) | {"details": details}, indent=2) + "\n"
    path = (where or folder()) / f"{name}.json"
    replace_atomically(path, lambda file: file.write_text(text))


def _half(values: torch.Tensor) -> torch.Tensor:
    """Round to half precision; counters and other whole numbers stay as they are."""
    return values.detach().half() if values.is_floating_point() else values.detach()


def rounded(model: nn.Module) -> nn.Module:
    """Return the model with its weights rounded to half precision, as they will ship."""
    with torch.no_grad():
        for values in model.state_dict().values():
            values.copy_(_half(values))
    return model
