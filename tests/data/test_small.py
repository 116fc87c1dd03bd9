"""The images that ship with the package, and the full sets with and without a network."""

import hashlib
import re
import struct
import urllib.error
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import datasets

from course_lib import data


@pytest.fixture(scope="module", params=[("train", 1200), ("test", 200)], ids=["train", "test"])
def compact(request):
    split, per_class = request.param
    return split, per_class, data.load(split=split)


def test_compact_set_is_balanced_and_in_range(compact):
    split, per_class, loaded = compact
    assert len(loaded) == 10 * per_class
    assert loaded.images.shape == (10 * per_class, 1, 28, 28)
    assert loaded.images.dtype == torch.float32
    assert loaded.images.min() == 0
    assert loaded.images.max() == 1
    assert loaded.labels.dtype == torch.int64
    assert torch.bincount(loaded.labels).tolist() == [per_class] * 10
    assert f"{10 * per_class:,}" in loaded.source
    assert split in loaded.source


def test_compact_set_holds_whole_grey_levels(compact):
    levels = compact[2].images.double() * 255
    assert torch.allclose(levels, levels.round(), atol=1e-4, rtol=0)


def test_every_prefix_is_nearly_balanced(compact):
    counts = torch.bincount(compact[2].labels[:1000], minlength=10)
    assert counts.min() >= 70
    assert counts.max() <= 130


@pytest.mark.parametrize(
    ("split", "digest"),
    [
        ("train", "064a34d3c5af2635061d8aa9fd70a15b091c551b75ed686a58f37e07ffd42bd9"),
        ("test", "e489be98d2a930d8ba2af79fd4932ad16d57920833cb801b789715396e4aa47a"),
    ],
)
def test_compact_set_never_changes(split, digest):
    """Shipped models and printed numbers belong to exactly these images in this order."""
    loaded = data.load(split=split)
    levels = (loaded.images * 255).round().to(torch.uint8).numpy().tobytes()
    labels = loaded.labels.to(torch.uint8).numpy().tobytes()
    assert hashlib.sha256(levels + labels).hexdigest() == digest


def test_loading_twice_gives_equal_but_separate_images():
    first, second = data.load(split="test"), data.load(split="test")
    assert torch.equal(first.images, second.images)
    first.images.zero_()
    assert second.images.max() == 1


def test_train_and_test_images_do_not_overlap():
    def digests(split):
        return {image.numpy().tobytes() for image in data.load(split=split).images}

    assert not digests("train") & digests("test")


def test_of_class_selects_exactly_that_class():
    loaded = data.load(split="test")
    bags = loaded.of_class(loaded.class_names.index("Bag"))
    assert bags.shape == (200, 1, 28, 28)
    assert torch.equal(bags, loaded.images[loaded.labels == 8])


def test_class_names_are_those_of_torchvision():
    """Which writes 'T-shirt/top' and '7 - seven'."""
    for name, kind in (("fashion-mnist", datasets.FashionMNIST), ("mnist", datasets.MNIST)):
        expected = tuple(re.split(r"/| - ", theirs)[0] for theirs in kind.classes)
        assert data.CLASS_NAMES[name] == expected


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"name": "cifar"}, "unknown data set 'cifar'; known: fashion-mnist, mnist"),
        ({"split": "valid"}, "unknown split 'valid'; known: train, test"),
    ],
)
def test_unknown_names_are_refused_and_the_known_ones_listed(arguments, expected):
    with pytest.raises(ValueError, match=expected):
        data.load(**arguments)


def write_idx(path: Path, array: np.ndarray) -> None:
    """Write bytes in the IDX format: two zeros, type 8, the rank, the sizes, the values."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(header + array.tobytes())


def fake_cache(folder: Path, kind: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Put a data set of a few random images where torchvision looks for the real one."""
    raw = folder / kind / "raw"
    raw.mkdir(parents=True)
    rng, parts = np.random.default_rng(0), {}
    for split, prefix, count in (("train", "train", 7), ("test", "t10k", 3)):
        images = rng.integers(0, 256, (count, 28, 28), np.uint8)
        labels = rng.integers(0, 10, count, np.uint8)
        write_idx(raw / f"{prefix}-images-idx3-ubyte", images)
        write_idx(raw / f"{prefix}-labels-idx1-ubyte", labels)
        parts[split] = images, labels
    return parts


@pytest.mark.parametrize(
    ("name", "kind", "full"),
    [
        ("fashion-mnist", "FashionMNIST", True),
        ("mnist", "MNIST", False),
        ("mnist", "MNIST", True),
    ],
)
def test_full_sets_are_read_from_the_cache_without_a_network(
    tmp_path, monkeypatch, name, kind, full
):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    parts = fake_cache(tmp_path, kind)
    for split, (images, labels) in parts.items():
        loaded = data.load(name, split=split, full=full)
        assert loaded.images.shape == (len(labels), 1, 28, 28)
        assert loaded.images.dtype == torch.float32
        assert torch.equal(loaded.images[:, 0], torch.from_numpy(images).float() / 255)
        assert torch.equal(loaded.labels, torch.from_numpy(labels).long())
        assert loaded.class_names == data.CLASS_NAMES[name]
        assert loaded.source == f"{name}, {split}, all {len(labels)} images"


@pytest.mark.parametrize(
    "error",
    [
        urllib.error.URLError("name resolution failed"),
        RuntimeError("Error downloading train-images-idx3-ubyte.gz"),
        PermissionError(13, "Permission denied"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_without_a_network_the_message_says_what_to_do(tmp_path, monkeypatch, error):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "cache"))

    def fail(self):
        raise error

    monkeypatch.setattr(datasets.MNIST, "download", fail)
    with pytest.raises(data.DataError) as caught:
        data.load("fashion-mnist", full=True)
    message = str(caught.value)
    for part in (
        "the full fashion-mnist",
        str(tmp_path / "cache" / "FashionMNIST" / "raw"),
        str(error),
        "COURSE_DATA",
        "load('fashion-mnist')",
    ):
        assert part in message
    assert caught.value.__cause__ is error


def test_a_torn_file_in_the_cache_is_explained(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    fake_cache(tmp_path, "FashionMNIST")
    images = tmp_path / "FashionMNIST" / "raw" / "train-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:-1])
    with pytest.raises(data.DataError, match="not whole"):
        data.load("fashion-mnist", full=True)


def test_cache_folder_is_the_users_unless_told_otherwise(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    assert data.cache_folder() == tmp_path
    monkeypatch.setenv("COURSE_DATA", "~/images")
    assert data.cache_folder() == Path("~/images").expanduser()
    monkeypatch.delenv("COURSE_DATA")
    assert data.cache_folder().name == "course_lib"
