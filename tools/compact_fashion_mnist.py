"""Make the compact Fashion-MNIST that ships with the package.

The first 1,200 training and the first 200 test images of each class are taken, and each
part is shuffled once with a fixed seed, so that every prefix is nearly balanced.

    python tools/compact_fashion_mnist.py FOLDER_WITH_THE_FOUR_IDX_GZ_FILES
"""

import gzip
import sys
from pathlib import Path

import numpy as np

TARGET = Path(__file__).parents[1] / "course_lib" / "data" / "fashion_mnist_compact.npz"
PER_CLASS = {"train": 1200, "test": 200}
PREFIX = {"train": "train", "test": "t10k"}
SEED = 0


def read_idx(path: Path, header: int) -> np.ndarray:
    """Return the bytes of an IDX file after its header of ``header`` bytes."""
    return np.frombuffer(gzip.open(path).read()[header:], np.uint8)


def select(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the chosen images (N, 28, 28) and labels (N,) of one split."""
    prefix = PREFIX[split]
    images = read_idx(folder / f"{prefix}-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)
    labels = read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", 8)
    chosen = np.concatenate(
        [np.flatnonzero(labels == label)[: PER_CLASS[split]] for label in range(10)]
    )
    chosen = np.random.default_rng(SEED).permutation(chosen)
    return images[chosen], labels[chosen]


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    parts = {split: select(folder, split) for split in PER_CLASS}
    np.savez_compressed(
        TARGET,
        **{f"{split}_images": images for split, (images, _) in parts.items()},
        **{f"{split}_labels": labels for split, (_, labels) in parts.items()},
    )
    print(f"{TARGET.name}: {TARGET.stat().st_size / 1e6:.2f} MB")
