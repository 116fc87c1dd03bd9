"""A few photographs that ship with the package, for the chapters and for a first try."""

from importlib.resources import as_file, files

import torch
from PIL import Image

from .reading import to_tensor

EXAMPLES = ("arches", "stones", "bridge")


def example(name: str) -> torch.Tensor:
    """Return one of ``EXAMPLES``, (1, 3, 256, 256) in [0, 1].

    They are cut, at half size, from photographs in the public domain (CC0, Buddies of
    Budgie) that no model was trained on. Raises ``ValueError`` for an unknown name.
    """
    if name not in EXAMPLES:
        raise ValueError(f"unknown example {name!r}; known: {', '.join(EXAMPLES)}")
    with as_file(files(__package__) / f"example-{name}.webp") as path, Image.open(path) as im:
        return to_tensor(im.convert("RGB"))
