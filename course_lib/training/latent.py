"""How the latent upscalers are trained: first the autoencoder, then the diffusion of its codes."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch.utils.data import TensorDataset

from .. import weights
from ..data.captions import CAPTION_WORDS, caption
from ..data.clothes import CLOTHES_WORDS, as_photographs, clothes_caption
from ..data.degradation import crop_to_multiple, downscale, quantize
from ..data.photographs import PhotoPatches
from ..data.reading import to_tensor
from ..data.small import LabelledImages
from ..metrics import GUIDANCE_PROTOCOL, SR_PROTOCOL, guidance_table, option_effects, psnr
from ..upscaling.latent import (
    LatentAutoencoder,
    LatentAutoencoderConfig,
    LatentDiffusion,
    LatentDiffusionConfig,
)
from ..upscaling.latent.parts import LEVELS
from ..upscaling.latent.start import begin_with_means
from ..upscaling.upscalers import wrap
from .loop import TrainConfig
from .recipe import Recipe
from .upscalers import evaluate_upscaling, fast, photographs_in

RUNS = Path("runs")
CLOTHES_AUTOENCODER = LatentAutoencoderConfig(channels=(16, 32, 48))
PHOTOGRAPHS = LatentDiffusionConfig(words=CAPTION_WORDS)
CLOTHES = LatentDiffusionConfig(
    autoencoder=CLOTHES_AUTOENCODER.channels,
    channels=(48, 64),
    low_res_levels=LEVELS,
    noise_power=1.0,
    words=CLOTHES_WORDS,
)


class HighResolution:
    """The high-resolution patches (N, 3, H, W) of pairs, for the training loop."""

    def __init__(self, pairs: PhotoPatches):
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, indices: torch.Tensor) -> torch.Tensor:
        return self.pairs[indices][1]


def high_resolution(found: Any) -> Any:
    """Return what an autoencoder of photographs learns from or is measured on."""
    return HighResolution(found) if isinstance(found, PhotoPatches) else found


class CodedPatches:
    """Training triples: small patches, the codes of large ones, and the tokens of captions.

    The photographs of ``pairs`` are encoded once, whole, as they are and mirrored (to mirror
    codes would not do: they are not pixels), and patches are cut from the codes.
    """

    def __init__(self, pairs: PhotoPatches, model: LatentDiffusion):
        self.size, self.places = pairs.size, pairs.places
        self.tokens = model.tokens([caption(path) for path in pairs.sources])
        self.images = [
            (small, _codes(model, large))
            for low, high in pairs.pairs
            for small, large in ((low, high), (low.flip(2), high.flip(2)))
        ]

    def __len__(self) -> int:
        return 2 * len(self.places)

    def __getitem__(self, indices: torch.Tensor) -> tuple[torch.Tensor, ...]:
        small, codes, tokens = zip(*[self._patch(*divmod(int(i), 2)) for i in indices], strict=True)
        layout = {"memory_format": torch.channels_last}
        return (
            torch.stack(small).float().div_(255).contiguous(**layout),
            torch.stack(codes).float().contiguous(**layout),
            torch.stack(tokens),
        )

    def _patch(self, place: int, mirrored: int) -> tuple[torch.Tensor, ...]:
        number, row, column = self.places[place].tolist()
        small, codes = self.images[2 * number + mirrored]
        if mirrored:
            column = small.shape[2] - self.size - column
        rows, columns = slice(row, row + self.size), slice(column, column + self.size)
        return small[:, rows, columns], codes[:, rows, columns], self.tokens[number]


def _codes(model: LatentDiffusion, image: torch.Tensor) -> torch.Tensor:
    """Return the codes of an image of 8-bit levels (3, H, W), in half precision."""
    pixels = image[None].float().div_(255).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return model.encode(pixels)[0].half()


def trained_autoencoder(name: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return the weights of an upscaler's autoencoder, and the card of its training.

    It is that of the run in ``runs/NAME-autoencoder``, or else the one that ships.
    """
    run = f"{name}-autoencoder"
    if run in weights.names(RUNS / run):
        found = weights.load(run, RUNS / run)
        found.standardize()
        return found.vae.state_dict(), weights.card(run, RUNS / run)
    return weights.load(name).vae.state_dict(), weights.card(name)["details"]["autoencoder"]


def beginning_of(name: str, config: LatentDiffusionConfig) -> LatentDiffusion:
    """Return an upscaler, untrained but for its autoencoder."""
    model = LatentDiffusion(config)
    model.vae.load_state_dict(trained_autoencoder(name)[0])
    return fast(model)


def coded_photographs(found: Any) -> Any:
    """Return what the latent upscaler learns from or is measured on."""
    if not isinstance(found, PhotoPatches):
        return found
    return CodedPatches(found, beginning_of("latent", PHOTOGRAPHS))


def coded_clothes(labelled: LabelledImages) -> TensorDataset:
    """Return clothes at 8 x 8 pixels, the codes of those at 32 x 32, and tokens."""
    model = beginning_of("latent-clothes", CLOTHES)
    hr = as_photographs(labelled.images)
    names = model.tokens([clothes_caption(name) for name in labelled.class_names])
    return TensorDataset(
        quantize(downscale(hr, model.config.scale)),
        torch.cat([model.encode(part) for part in hr.split(500)]),
        names[labelled.labels],
    )


@torch.inference_mode()
def evaluate_photographs(
    model: LatentAutoencoder, images: list[tuple[str, Image.Image]]
) -> dict[str, float]:
    """Return the PSNR in RGB of what the codes tell of photographs, and their deviation."""
    return reconstructed(model, (crop_to_multiple(to_tensor(image), 8) for _, image in images))


@torch.inference_mode()
def evaluate_clothes(model: LatentAutoencoder, images: torch.Tensor) -> dict[str, float]:
    """Return the same for clothes (N, 3, 32, 32)."""
    return reconstructed(model, images.split(250))


def reconstructed(model: LatentAutoencoder, batches: Iterable[torch.Tensor]) -> dict[str, float]:
    """Return the mean PSNR of the reconstructions of all images, and the codes' deviation."""
    values = [psnr(model.reconstruct(hr), hr, channel="rgb") for hr in batches]
    return {
        "psnr_rgb": float(torch.cat(values).mean()),
        "latent_std": float(model.latent_std),
    }


def beginning(config: LatentAutoencoderConfig | None = None) -> LatentAutoencoder:
    """Return an autoencoder that passes mean colours on, and nothing else yet."""
    model = fast(LatentAutoencoder(config))
    begin_with_means(model.vae)
    return model


def details(name: str) -> dict[str, Any]:
    """Return what a card should tell of the autoencoder's training."""
    card = trained_autoencoder(name)[1]
    told = ("command", "data", "training", "wall_seconds", "finished", "evaluated_on", "metrics")
    return {"autoencoder": {key: card[key] for key in told}}


def evaluate_upscaler(
    model: LatentDiffusion, images: list[tuple[str, Image.Image]]
) -> dict[str, Any]:
    """Return what ``metrics.SR_PROTOCOL`` says, and how much each option changes."""
    measured = evaluate_upscaling(model, images)
    changes = option_effects(wrap(model), [image for _, image in images])
    return measured | {"effects": changes} | details("latent")


def evaluate_toy(model: LatentDiffusion, _test: Any) -> dict[str, Any]:
    """Return how often the classifier sees what the text says, by guidance and noise."""
    by_guidance = guidance_table(wrap(model))
    return by_guidance | details("latent-clothes")


RECONSTRUCTION = "PSNR in RGB of the images that the mean codes tell of, mean over images"

LATENT = {
    "latent-autoencoder": Recipe(
        summary="Autoencoder of the latent upscaler: 4 codes for 4 x 4 pixels",
        build=beginning,
        config=TrainConfig(
            steps=5_000,
            batch_size=2,
            learning_rate=3e-4,
            warmup=100,
            clip=0.5,
            betas=(0.9, 0.99),
            precision="bfloat16",
        ),
        material=partial(photographs_in, keep=0.9),
        examples=high_resolution,
        evaluate=evaluate_photographs,
        protocol=RECONSTRUCTION,
    ),
    "latent-clothes-autoencoder": Recipe(
        summary="Autoencoder of the latent upscaler of clothes",
        build=lambda: beginning(CLOTHES_AUTOENCODER),
        config=TrainConfig(
            steps=4_000, batch_size=32, learning_rate=5e-4, warmup=100, precision="bfloat16"
        ),
        examples=lambda labelled: as_photographs(labelled.images),
        evaluate=evaluate_clothes,
        protocol=RECONSTRUCTION,
    ),
    "latent": Recipe(
        summary="Latent upscaler in Stable Diffusion's pipeline, at a hundredth of the size",
        build=lambda: beginning_of("latent", PHOTOGRAPHS),
        config=TrainConfig(
            steps=7_500,
            batch_size=4,
            learning_rate=8e-4,
            warmup=200,
            clip=1.0,
            betas=(0.9, 0.99),
            precision="bfloat16",
        ),
        material=partial(photographs_in, size=48, keep=0.9),
        examples=coded_photographs,
        evaluate=evaluate_upscaler,
        protocol=SR_PROTOCOL,
    ),
    "latent-clothes": Recipe(
        summary="Latent upscaler of clothes, whose text decides what is not to be seen",
        build=lambda: beginning_of("latent-clothes", CLOTHES),
        config=TrainConfig(
            steps=3_500, batch_size=64, learning_rate=1e-3, warmup=200, precision="bfloat16"
        ),
        examples=coded_clothes,
        evaluate=evaluate_toy,
        protocol=GUIDANCE_PROTOCOL,
        evaluated_on="the test images that ship with the package",
    ),
}
