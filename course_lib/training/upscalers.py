"""How the models that upscale are trained and measured: on photographs.

The last two recipes are for a graphics card: 'rrdb' trains the encoder of SRDiff's authors,
and 'srdiff-official' their whole configuration with it.
"""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn

from .. import weights
from ..data.photographs import PhotoPatches, licences, opened, photographs
from ..metrics import SR_PROTOCOL, measure_upscaler
from ..upscaling import RegressionConfig, ResidualSR, SRDiff, SRDiffConfig
from ..upscaling.rrdb import RRDBEncoder
from ..upscaling.upscalers import Bicubic, wrap
from .errors import SettingsError
from .loop import TrainConfig
from .recipe import Material, Recipe

CROP = 512  # pixels; what is measured of each held-out photograph, at half its size
ENCODER = RegressionConfig()
REGRESSION = RegressionConfig(blocks=4, inner_blocks=7)
EMBEDDED = SRDiffConfig(
    encoder="residual",
    encoder_blocks=ENCODER.blocks,
    encoder_features=ENCODER.channels,
    denoiser="compact",
    hidden=56,
    multipliers=(1, 2, 2),
    prediction="x0",
    base="encoder",
    residual_scale=0.7,
    residual_limit=6.0,
    spread_hidden=32,
    loss="l2",
    sampler="ddim",
    steps=8,
    temperature=0.9,
)


def photographs_in(full: bool, images: Path | None, **options: Any) -> Material:
    """Return patches of a folder's photographs, and crops of those that are held out.

    ``options`` are those of :class:`~course_lib.data.photographs.PhotoPatches`. Raises
    ``SettingsError`` without a folder.
    """
    if images is None:
        raise SettingsError("this model learns from photographs: name their folder by --images")
    train, test = (photographs(images, split=split) for split in ("train", "test"))
    return Material(
        train=PhotoPatches(train, **options),
        test=[(path.stem, middle(path)) for path in test],
        source=f"{len(train)} photographs",
        test_source=f"{len(test)} held-out photographs, their middle at half size",
        licence=licences(images),
    )


def middle(path: Path) -> Image.Image:
    """Return the middle of a photograph at half its size, at most 512 x 512 pixels."""
    half = opened(path).reduce(2)
    width, height = (min(CROP, side) for side in half.size)
    left, top = (half.width - width) // 2, (half.height - height) // 2
    return half.crop((left, top, left + width, top + height))


def evaluate_upscaling(model: nn.Module, images: list[tuple[str, Image.Image]]) -> dict[str, Any]:
    """Return what ``metrics.SR_PROTOCOL`` says, and the PSNR of bicubic interpolation."""
    measured = measure_upscaler(wrap(model), images)["mean"]
    bicubic = measure_upscaler(Bicubic(model.config.scale), images)["mean"]
    return measured | {"psnr_y_of_bicubic": bicubic["psnr_y"]}


def fast(model: nn.Module) -> nn.Module:
    """Return the model with its weights in the layout that CPUs convolve fastest."""
    return model.to(memory_format=torch.channels_last)


def encoder(folder: Path = Path("runs/encoder")) -> ResidualSR:
    """Return the first, smaller regression network: a run's, or else the shipped SRDiff's."""
    if "encoder" in weights.names(folder):
        return weights.load("encoder", folder)
    return weights.load("srdiff").rrdb


def grown() -> ResidualSR:
    """Return the regression network, which begins as the encoder does."""
    return fast(ResidualSR.grown(encoder(), REGRESSION).requires_grad_(True).train())


def embedded() -> SRDiff:
    """Return the embedded SRDiff, untrained but for its encoder."""
    model = SRDiff(EMBEDDED)
    model.rrdb.load_state_dict(encoder().state_dict())
    return fast(model)


def official(encoder: Path = Path("runs/rrdb")) -> SRDiff:
    """Return the authors' configuration, untrained but for the encoder found in a run's folder."""
    model = SRDiff(SRDiffConfig.official("div2k"))
    model.rrdb.load_state_dict(weights.load("rrdb", encoder).state_dict())
    return fast(model)


ON_PHOTOGRAPHS = {
    "material": photographs_in,
    "examples": lambda found: found,
    "evaluate": evaluate_upscaling,
    "protocol": SR_PROTOCOL,
}
SHORT = {"betas": (0.9, 0.99), "clip": 0.5, "warmup": 100}

UPSCALERS = {
    "encoder": Recipe(
        summary="Encoder of the embedded SRDiff, and what the regression model grows from",
        build=lambda: fast(ResidualSR(ENCODER)),
        config=TrainConfig(steps=14_000, batch_size=8, learning_rate=2e-3, **SHORT),
        **ON_PHOTOGRAPHS,
    ),
    "regression": Recipe(
        summary="Residual network that answers with the mean of what would fit",
        build=grown,
        config=TrainConfig(
            steps=27_000, batch_size=8, learning_rate=1e-3, precision="bfloat16", **SHORT
        ),
        **ON_PHOTOGRAPHS,
    ),
    "srdiff": Recipe(
        summary="SRDiff in a configuration that a processor can run",
        build=embedded,
        config=TrainConfig(
            steps=12_000, batch_size=8, learning_rate=1e-3, precision="bfloat16", **SHORT
        ),
        # It draws whatever it has seen: skies too, but not the grain of pictures at full size.
        **ON_PHOTOGRAPHS | {"material": partial(photographs_in, keep=0.9, zooms=(0.7, 0.5))},
    ),
    "rrdb": Recipe(
        summary="Encoder of SRDiff's authors, for a graphics card",
        build=lambda: fast(RRDBEncoder()),
        config=TrainConfig(steps=200_000, batch_size=16, learning_rate=2e-4, clip=0.0),
        **ON_PHOTOGRAPHS,
    ),
    "srdiff-official": Recipe(
        summary="SRDiff in the configuration of its authors, for a graphics card",
        build=official,
        config=TrainConfig(steps=400_000, batch_size=16, learning_rate=2e-4),
        **ON_PHOTOGRAPHS,
    ),
}
