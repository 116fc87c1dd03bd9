"""What a latent upscaler's codes can tell and its options do, measured.

Chapter: *Stable Diffusion upscaling*.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from .. import weights
from ..data.clothes import as_clothes, as_photographs, clothes_caption
from ..data.degradation import crop_to_multiple, downscale, quantize
from ..data.reading import to_tensor
from ..data.small import load
from ..models.blocks import from_network, to_network
from .errors import MetricsError
from .fidelity import psnr

if TYPE_CHECKING:
    from ..upscaling.latent import LatentUpscaler

GUIDANCE = (1.0, 1.5, 2.0, 3.0, 5.0, 8.0)
NOISE_LEVELS = (20, 150, 250, 350)
EACH = 20  # test images of every class
GUIDANCE_PROTOCOL = (
    f"the first {EACH} test images of each of the ten classes, made 8 x 8 pixels and rounded to "
    "256 levels, are enlarged once for every guidance scale and noise level, with a text that "
    "names the class five further on (for a T-shirt 'a sandal', for a sandal 'a t-shirt'). "
    "'obeyed' is the share of results in which the shipped classifier sees what the text says, "
    "'kept' the share in which it sees what the image was of"
)
CHANGES: dict[str, dict[str, Any]] = {
    "another seed": {"seed": 1},
    "a prompt": {"prompt": "a photograph of a bird"},
    "a prompt, guidance 4": {"prompt": "a photograph of a bird", "guidance_scale": 4.0},
    "noise level 0": {"noise_level": 0},
    "noise level 200": {"noise_level": 200},
    "30 steps": {"steps": 30},
    "no repair of colours": {"color_fix": "none"},
}


@torch.inference_mode()
def class_consistency(
    upscaler: "LatentUpscaler",
    *,
    guidance_scale: float,
    noise_level: int,
    each: int = EACH,
    steps: int | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """Return 'obeyed' and 'kept' of ``GUIDANCE_PROTOCOL`` for an upscaler of clothes."""
    test, classifier = load(split="test"), weights.load("classifier")
    obeyed = kept = 0
    for label in range(len(test.class_names)):
        wanted = (label + 5) % len(test.class_names)
        hr = as_photographs(test.of_class(label)[:each])
        sr = upscaler.upscale(
            quantize(downscale(hr, upscaler.scale)),
            prompt=clothes_caption(test.class_names[wanted]),
            guidance_scale=guidance_scale,
            noise_level=noise_level,
            color_fix="none",  # it would hold on to the small image
            steps=steps,
            seed=seed + label,
        ).image
        seen = classifier(as_clothes(sr)).argmax(1)
        obeyed += int((seen == wanted).sum())
        kept += int((seen == label).sum())
    total = each * len(test.class_names)
    return {"obeyed": obeyed / total, "kept": kept / total}


def guidance_table(upscaler: "LatentUpscaler") -> dict[str, Any]:
    """Return the shares for all of ``GUIDANCE`` and ``NOISE_LEVELS``, and the two extremes."""
    rows = [
        {"noise_level": level, "guidance_scale": scale}
        | class_consistency(upscaler, guidance_scale=scale, noise_level=level)
        for level in NOISE_LEVELS
        for scale in GUIDANCE
    ]
    return {
        "obeyed_unguided": rows[-len(GUIDANCE)]["obeyed"],
        "obeyed_guided": rows[-1]["obeyed"],
        "by_guidance": rows,
    }


@torch.inference_mode()
def reconstruction(
    upscaler: "LatentUpscaler", images: Iterable[tuple[str, Image.Image]]
) -> dict[str, float]:
    """Return, by name, the PSNR in RGB of images that are encoded and decoded.

    They are cropped to sides that the autoencoder can divide, and rounded to 256 levels. Raises
    ``MetricsError`` where there are none.
    """
    vae, found = upscaler.pipeline.vae, {}
    for name, image in images:
        hr = crop_to_multiple(to_tensor(image), upscaler.scale)
        codes = vae.encode(to_network(hr)).latent_dist.mean
        made = from_network(vae.decode(codes).sample)
        found[name] = psnr(quantize(made), hr, channel="rgb").item()
    if not found:
        raise MetricsError("there are no images to measure with")
    return found


def option_effects(upscaler: "LatentUpscaler", images: list[Image.Image]) -> dict[str, float]:
    """Return how much options change: mean absolute differences in 8-bit levels.

    Each is between the result with the defaults, seed 0, and that with one of ``CHANGES``,
    over images that are shrunk and enlarged again.
    """
    totals = dict.fromkeys(CHANGES, 0.0)
    for image in images:
        hr = crop_to_multiple(to_tensor(image), upscaler.scale)
        lr = quantize(downscale(hr, upscaler.scale))
        usual = upscaler.upscale(lr, seed=0).image
        for name, options in CHANGES.items():
            changed = upscaler.upscale(lr, **({"seed": 0} | options)).image
            totals[name] += 255 * (changed - usual).abs().mean().item() / len(images)
    return totals
