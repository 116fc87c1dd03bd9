"""Fashion-MNIST and MNIST: small images, offline where possible.

A balanced part of Fashion-MNIST (12,000 training and 2,000 test images) ships with the
package. The full sets come through torchvision into :func:`cache_folder`.
"""

import os
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import torch

DATASETS = ("fashion-mnist", "mnist")
SPLITS = ("train", "test")
CLASS_NAMES = {
    "fashion-mnist": (
        "T-shirt",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    "mnist": tuple("0123456789"),
}


class DataError(RuntimeError):
    """The images asked for are not there; the message says what to do."""


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images with their classes.

    ``images`` is float32 of shape (N, 1, 28, 28) in [0, 1]; ``labels`` is int64 of shape
    (N,); ``class_names[label]`` names a label; ``source`` says in words what the set is.
    """

    images: torch.Tensor
    labels: torch.Tensor
    class_names: tuple[str, ...]
    source: str

    def __len__(self) -> int:
        return len(self.labels)

    def of_class(self, label: int) -> torch.Tensor:
        """Return the images (M, 1, 28, 28) of one class."""
        return self.images[self.labels == label]


def cache_folder() -> Path:
    """Return where full data sets are kept: ``$COURSE_DATA`` or the user's cache folder."""
    if folder := os.environ.get("COURSE_DATA"):
        return Path(folder).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("course_lib")


def load(
    name: str = "fashion-mnist", *, split: str = "train", full: bool = False
) -> LabelledImages:
    """Load one split of a data set of 28 x 28 grey images.

    With ``full=False`` this is the balanced part of Fashion-MNIST that ships with the
    package: always the same images in the same order. ``full=True`` (and MNIST, which
    does not ship) reads the original set of 60,000 and 10,000 images from
    :func:`cache_folder`, downloading it with torchvision, which shows the progress and
    checks the files' checksums, if it is not there.

    Raises ``ValueError`` for an unknown name or split, and :class:`DataError` where the
    full set is neither in the cache nor to be downloaded.
    """
    if name not in DATASETS:
        raise ValueError(f"unknown data set {name!r}; known: {', '.join(DATASETS)}")
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; known: {', '.join(SPLITS)}")
    if full or name == "mnist":
        levels, labels = _full(name, split)
        source = f"{name}, {split}, all {len(labels):,} images"
    else:
        levels, labels = _compact(split)
        source = f"{name}, {split}, the {len(labels):,} images that ship with the package"
    images = torch.from_numpy(levels).float().div_(255).unsqueeze(1)
    return LabelledImages(images, torch.from_numpy(labels).long(), CLASS_NAMES[name], source)


def _compact(split: str) -> tuple[np.ndarray, np.ndarray]:
    with (
        as_file(files(__package__) / "fashion_mnist_compact.npz") as path,
        np.load(path) as archive,
    ):
        return archive[f"{split}_images"], archive[f"{split}_labels"]


def _full(name: str, split: str) -> tuple[np.ndarray, np.ndarray]:
    from torchvision import datasets

    kind = {"fashion-mnist": datasets.FashionMNIST, "mnist": datasets.MNIST}[name]
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        dataset = kind(str(folder), train=split == "train", download=True)
    except (OSError, RuntimeError, ValueError, AssertionError, KeyError) as error:
        raise DataError(
            f"the full {name} is not whole in {folder} and could not be fetched ({error}). "
            f"Connect to the internet and try again, or put the set's four IDX files, "
            f"unzipped, into {folder / kind.__name__ / 'raw'}, or set COURSE_DATA to a folder "
            "that has it. Without full=True, load('fashion-mnist') uses the images that ship "
            "with the package and needs no network."
        ) from error
    return dataset.data.numpy(), dataset.targets.numpy()
