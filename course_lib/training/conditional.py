"""How the models of *One task, four models* are trained: each for the same time.

Each run took about half an hour on one core, by the clock, as its card says; and each model has
about 400,000 weights, opponents and encoders included.
"""

from typing import Any

import torch
from torch import nn

from ..metrics import SMALL_PROTOCOL, measure_small_model
from ..upscaling.conditional import (
    ConditionalDDPM,
    ConditionalGAN,
    ConditionalVAE,
    ConditionalWGAN,
    PosteriorMean,
)
from .loop import TrainConfig
from .recipe import Recipe
from .upscalers import fast


def evaluate_answers(model: nn.Module, _test: torch.Tensor) -> dict[str, float]:
    """Return what ``metrics.SMALL_PROTOCOL`` says, for the shipped test images.

    Speed is left out: it depends on the machine.
    """
    measured = measure_small_model(model)
    return {key: value for key, value in measured.items() if key != "images_per_second"}


MEASURED: dict[str, Any] = {
    "evaluate": evaluate_answers,
    "protocol": SMALL_PROTOCOL,
    "evaluated_on": "the 2,000 test images that ship with the package",
}

CONDITIONAL = {
    "fashion-mean": Recipe(
        summary="Clothes from 7 x 7 pixels: the mean of what would fit",
        build=lambda: fast(PosteriorMean()),
        config=TrainConfig(steps=17_000, batch_size=64, learning_rate=1e-3, warmup=300),
        **MEASURED,
    ),
    "fashion-vae": Recipe(
        summary="Clothes from 7 x 7 pixels: conditional VAE",
        build=lambda: fast(ConditionalVAE()),
        config=TrainConfig(steps=18_000, batch_size=64, learning_rate=1e-3, warmup=300),
        **MEASURED,
    ),
    "fashion-gan": Recipe(
        summary="Clothes from 7 x 7 pixels: conditional GAN",
        build=lambda: fast(ConditionalGAN()),
        config=TrainConfig(
            steps=9_000, batch_size=64, learning_rate=2e-4, betas=(0.5, 0.999), clip=0.0
        ),
        **MEASURED,
    ),
    "fashion-wgan-gp": Recipe(
        summary="Clothes from 7 x 7 pixels: conditional WGAN with a gradient penalty",
        build=lambda: fast(ConditionalWGAN()),
        config=TrainConfig(
            steps=3_000,
            batch_size=64,
            learning_rate=3e-4,
            betas=(0.0, 0.9),
            critic_steps=2,
            clip=0.0,
        ),
        **MEASURED,
    ),
    "fashion-ddpm": Recipe(
        summary="Clothes from 7 x 7 pixels: conditional diffusion model, drawn in 20 steps",
        build=lambda: fast(ConditionalDDPM()),
        config=TrainConfig(steps=3_600, batch_size=64, learning_rate=1.5e-3, warmup=200),
        **MEASURED,
    ),
}
