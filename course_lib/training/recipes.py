"""How each shipped model is trained and measured: ``make train-NAME`` runs these."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from torch import nn
from torch.utils.data import TensorDataset

from .. import data, weights
from ..metrics import PROTOCOL, SAMPLES, evaluate_model, headline
from ..models import (
    DCGAN,
    DDPM,
    GAN,
    VAE,
    WGAN,
    Autoencoder,
    AutoencoderConfig,
    Classifier,
    VAEConfig,
    WGANConfig,
)
from ..models.autoencoder import principal_components
from .checkpoint import STATE
from .conditional import CONDITIONAL
from .interruption import Interrupted
from .latent import LATENT
from .loop import TrainConfig, fit
from .recipe import Recipe
from .upscalers import UPSCALERS

EVALUATION_SEED = 0


@torch.inference_mode()
def evaluate_autoencoder(model: Autoencoder, images: torch.Tensor) -> dict[str, float]:
    """Return the test error per pixel, and that of as many principal components."""
    errors = [(model.reconstruct(b) - b).square().flatten(1).mean(1) for b in images.split(500)]
    train = data.load(split="train").images
    mean, directions = principal_components(train, model.config.latent_dim)
    centered = images.flatten(1) - mean
    residual = centered - centered @ directions @ directions.T
    return {
        "mse": float(torch.cat(errors).mean()),
        "mse_of_pca": float(residual.square().mean()),
    }


@torch.inference_mode()
def evaluate_vae(
    model: VAE, images: torch.Tensor, *, samples: int = 64, subset: int = 1000
) -> dict[str, float]:
    """Return the bound and its parts in nats and, where it has a meaning, in bits."""
    generator = torch.Generator().manual_seed(EVALUATION_SEED)
    terms = [model.elbo(batch, generator=generator) for batch in images.split(500)]
    log_likelihood = torch.cat([first for first, _ in terms]).double().mean()
    kl = torch.cat([second for _, second in terms]).double().mean()
    bound = log_likelihood - kl
    weighted = torch.cat(
        [
            model.log_likelihood(batch, samples=samples, generator=generator)
            for batch in images[:subset].split(250)
        ]
    )
    tighter = weighted.double().mean()
    metrics = {"elbo": float(bound), "kl": float(kl), "iwae": float(tighter)}
    if model.config.likelihood == "discretized-logistic":
        pixels = images[0].numel()
        metrics["bits_per_dimension"] = float(model.bits_per_dimension(bound, pixels))
        metrics["bits_per_dimension_iwae"] = float(model.bits_per_dimension(tighter, pixels))
    return metrics


VAE_PROTOCOL = (
    "one latent sample for each image, nats per image, mean; 'iwae' and "
    "'bits_per_dimension_iwae' are the importance-weighted bound with 64 samples on the "
    "first 1,000 of the images; bits per dimension are bits per pixel of the 8-bit images"
)


@torch.inference_mode()
def evaluate_classifier(model: Classifier, test: TensorDataset) -> dict[str, float]:
    """Return the accuracy, the share of images given the right class."""
    images, labels = test.tensors
    guesses = torch.cat([model(part).argmax(1) for part in images.split(500)])
    return {"accuracy": float((guesses == labels).double().mean())}


SAMPLED = f"{SAMPLES:,} samples"
BY_SAMPLES = {"protocol": PROTOCOL, "evaluated_on": SAMPLED}


def evaluate_samples(model: nn.Module, _test: torch.Tensor, **options: Any) -> dict[str, Any]:
    """Return what ``metrics.PROTOCOL`` says, for the shipped test images.

    ``options`` are those of :func:`~course_lib.metrics.evaluation.evaluate_model`.
    """
    measured = evaluate_model(model, **options)
    return headline(measured) | {"shares": measured["shares"]}


STEPS = {"dpm-solver": (5, 10, 20), "ddim": (5, 10, 20, 50)}  # the last is the default


def evaluate_diffusion(model: DDPM, test: torch.Tensor) -> dict[str, Any]:
    """Return the same, and under 'by_steps' how quality depends on sampler and steps."""
    by_steps = []
    for sampler, counts in STEPS.items():
        for steps in counts:
            measured = evaluate_samples(model, test, sampler=sampler, steps=steps)
            kept = {key: measured[key] for key in ("frechet", "precision", "recall")}
            by_steps.append({"sampler": sampler, "steps": steps} | kept)
    return measured | {"by_steps": by_steps}


def evaluate_vae_and_samples(model: VAE, images: torch.Tensor) -> dict[str, Any]:
    """Return the bounds of :func:`evaluate_vae` and what the samples are measured by."""
    return evaluate_vae(model, images) | evaluate_samples(model, images)


RECIPES = {
    "autoencoder": Recipe(
        summary="Autoencoder with 16 codes, trained on the squared error",
        build=lambda: Autoencoder(AutoencoderConfig(latent_dim=16)),
        config=TrainConfig(steps=9_000, learning_rate=2e-3),
        evaluate=evaluate_autoencoder,
        protocol=(
            "squared error per pixel, mean; 'mse_of_pca' is that of "
            "as many principal components of the 12,000 training images in the package"
        ),
    ),
    "vae-2d": Recipe(
        summary="VAE with two latent dimensions, for pictures of its latent plane",
        build=lambda: VAE(VAEConfig(latent_dim=2)),
        config=TrainConfig(steps=9_000, learning_rate=2e-3),
        evaluate=evaluate_vae,
        protocol=VAE_PROTOCOL,
    ),
    "vae": Recipe(
        summary="VAE with 32 latent dimensions and a likelihood of the 256 grey levels",
        build=lambda: VAE(
            VAEConfig(
                latent_dim=32,
                channels=(64, 128, 256),
                likelihood="discretized-logistic",
                beta=4.0,
            )
        ),
        config=TrainConfig(steps=10_000, learning_rate=1e-3, warmup=300),
        evaluate=evaluate_vae_and_samples,
        protocol=f"{VAE_PROTOCOL}. Of {SAMPLED}: {PROTOCOL}",
    ),
    "classifier": Recipe(
        summary="Classifier in whose features generated images are measured",
        build=Classifier,
        config=TrainConfig(steps=3_000, learning_rate=2e-3, warmup=100),
        evaluate=evaluate_classifier,
        protocol="share of the images that are given the right class",
        examples=lambda labelled: TensorDataset(labelled.images, labelled.labels),
    ),
    "gan": Recipe(
        summary="GAN of two perceptrons with the non-saturating loss",
        build=GAN,
        config=TrainConfig(steps=12_000, learning_rate=2e-4, betas=(0.5, 0.999), clip=0.0),
        evaluate=evaluate_samples,
        **BY_SAMPLES,
    ),
    "dcgan": Recipe(
        summary="GAN with convolutional networks, by the guidelines of DCGAN",
        build=DCGAN,
        config=TrainConfig(
            steps=7_000, batch_size=64, learning_rate=2e-4, betas=(0.5, 0.999), clip=0.0
        ),
        evaluate=evaluate_samples,
        **BY_SAMPLES,
    ),
    "wgan": Recipe(
        summary="Wasserstein GAN with clipped weights",
        build=lambda: WGAN(WGANConfig(constraint="clip", clip=0.05)),
        config=TrainConfig(
            steps=3_000,
            batch_size=64,
            learning_rate=3e-4,
            optimizer="rmsprop",
            critic_steps=3,
            clip=0.0,
        ),
        evaluate=evaluate_samples,
        **BY_SAMPLES,
    ),
    "wgan-gp": Recipe(
        summary="Wasserstein GAN with a gradient penalty",
        build=WGAN,
        config=TrainConfig(
            steps=5_000,
            batch_size=64,
            learning_rate=2e-4,
            betas=(0.0, 0.9),
            critic_steps=3,
            clip=0.0,
        ),
        evaluate=evaluate_samples,
        **BY_SAMPLES,
    ),
    "ddpm": Recipe(
        summary="Diffusion model that predicts the velocity under the cosine schedule",
        build=DDPM,
        config=TrainConfig(steps=10_000, batch_size=64, learning_rate=1e-3, warmup=300),
        evaluate=evaluate_diffusion,
        **BY_SAMPLES,
    ),
    **CONDITIONAL,
    **UPSCALERS,
    **LATENT,
}


def train(
    name: str,
    folder: Path,
    *,
    full: bool,
    images: Path | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    seed: int | None = None,
    save_seconds: float | None = None,
    quiet: bool = False,
    where: Path | None = None,
) -> dict[str, Any] | None:
    """Train a recipe in ``folder`` (resuming a run found there) and write weights and card.

    ``images`` is the folder of photographs that a model which upscales learns from. ``steps``
    to ``save_seconds`` replace the recipe's settings where they are given. Weights and card
    go to ``where``, by default into ``folder``. Returns the card on the main process,
    ``None`` on the others. Raises
    :class:`~course_lib.training.interruption.Interrupted` on Ctrl-C, also while measuring.
    """
    recipe = RECIPES[name]
    given = {"steps": steps, "batch_size": batch_size, "seed": seed}
    given = {key: value for key, value in given.items() if value is not None}
    config = replace(recipe.config, **given)
    if save_seconds is not None:
        config = replace(config, save_seconds=save_seconds)
    material = recipe.material(full, images)
    torch.manual_seed(config.seed)
    model = recipe.build()
    identity = {
        "recipe": name,
        "model": {"kind": type(model.config).__name__, **asdict(model.config)},
        "data": material.source,
    }
    trained = fit(
        model,
        recipe.examples(material.train),
        config,
        folder=folder,
        identity=identity,
        quiet=quiet,
    )
    if not PartialState().is_main_process:
        return None
    trained = weights.rounded(trained.cpu())
    state = torch.load(folder / STATE, weights_only=True, map_location="cpu")
    try:
        measured = recipe.evaluate(trained, recipe.examples(material.test))
    except KeyboardInterrupt:
        raise Interrupted(config.steps, config.steps, folder) from None
    about = {
        "summary": recipe.summary,
        "command": command(name, full, given, images),
        "data": material.source,
        "data_licence": material.licence,
        "training": asdict(config),
        "wall_seconds": round(state["seconds"]),
        "machine": state["machine"],
        "finished": state["saved"],
        "evaluated_on": recipe.evaluated_on or material.test_source,
        "protocol": recipe.protocol,
        "metrics": {k: v for k, v in measured.items() if isinstance(v, float)},
    }
    if details := {k: v for k, v in measured.items() if not isinstance(v, float)}:
        about["details"] = details
    weights.publish(trained, name, about, where or folder)
    return weights.card(name, where or folder)


def command(name: str, full: bool, given: dict[str, int], images: Path | None = None) -> str:
    """Return the command line that repeats a training run."""
    options = "".join(f" --{key.replace('_', '-')} {value}" for key, value in given.items())
    photographs = " --images PHOTOGRAPHS" if images is not None else ""
    return f"course-lib train {name}{' --full' if full else ''}{photographs}{options}"
