"""Clothes as the latent toy sees them: RGB images of 32 x 32 pixels, with captions."""

import re

import torch
import torch.nn.functional as F

from .small import CLASS_NAMES

CLOTHES_SIDE = 32


def as_photographs(images: torch.Tensor) -> torch.Tensor:
    """Return clothes (N, 1, 28, 28) as RGB images (N, 3, 32, 32), black around them."""
    edge = (CLOTHES_SIDE - images.shape[-1]) // 2
    return F.pad(images, (edge,) * 4).repeat(1, 3, 1, 1)


def as_clothes(images: torch.Tensor) -> torch.Tensor:
    """Return RGB images (N, 3, 32, 32) as clothes (N, 1, 28, 28): the edge off, and grey."""
    edge = (CLOTHES_SIDE - 28) // 2
    return images[..., edge:-edge, edge:-edge].mean(1, keepdim=True)


def clothes_caption(name: str) -> str:
    """Return the caption of a class: 'a t-shirt', 'an ankle boot', 'trousers'."""
    name = name.lower()
    if name == "trouser":
        return "trousers"
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


CLOTHES_WORDS = tuple(
    sorted(
        {
            word
            for name in CLASS_NAMES["fashion-mnist"]
            for word in re.findall("[a-z]+", clothes_caption(name))
        }
    )
)
