"""Training patches: which photographs, which places, and that both sizes show the same."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.testing import assert_close

from course_lib import data
from course_lib.data import DataError, PhotoPatches, photographs
from course_lib.data.photographs import SUFFIXES, detail, licences, pair


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """Smooth colours with some noise, as 8-bit RGB."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (5, 6, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=float)
    noisy = smooth + generator.normal(0, 8, smooth.shape)
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three photographs of different shapes."""
    where = tmp_path_factory.mktemp("photographs")
    for number, size in enumerate([(150, 100), (96, 141), (64, 64)]):
        picture(*size, seed=number).save(where / f"{number}.png")
    return where


@pytest.fixture(scope="module")
def paths(folder):
    return sorted(folder.glob("*.png"))


# Which photographs


def empty_files(folder, names: list[str]) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


@pytest.mark.parametrize(
    ("count", "held_out"), [(2, 1), (3, 1), (10, 1), (11, 2), (20, 2), (95, 10), (100, 10)]
)
def test_every_tenth_is_held_out(tmp_path, count, held_out):
    empty_files(tmp_path, [f"{i:03}.jpg" for i in range(count)])
    train, test = (photographs(tmp_path, split=split) for split in ("train", "test"))
    assert len(test) == held_out
    assert not set(train) & set(test)
    assert sorted(train + test) == sorted(tmp_path.iterdir())
    assert train == sorted(train)
    assert test == sorted(test)
    assert photographs(tmp_path) == train


def test_photographs_are_found_in_subfolders_by_their_suffix(tmp_path):
    wanted = [f"b/{suffix[1:]}/x{suffix}" for suffix in SUFFIXES] + ["A.JPG", "b/y.Png"]
    empty_files(tmp_path, [*wanted, "SOURCES.csv", "x.txt", "png", "b/x.gif"])
    (tmp_path / "folder.png").mkdir()
    found = photographs(tmp_path) + photographs(tmp_path, split="test")
    assert {str(p.relative_to(tmp_path)) for p in found} == set(wanted)


@pytest.mark.parametrize("names", [[], ["only.png"], ["a.txt", "b.txt"]])
def test_too_few_photographs(tmp_path, names):
    empty_files(tmp_path, names)
    count = sum(name.endswith("png") for name in names)
    with pytest.raises(DataError, match=f"holds {count} photographs; at least 2"):
        photographs(tmp_path)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="holds 0 photographs"):
        photographs(tmp_path / "nowhere")


def test_unknown_splits(tmp_path):
    with pytest.raises(ValueError, match="unknown split 'val'; known: train, test"):
        photographs(tmp_path, split="val")


# Pairs


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA"])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_pair_is_a_crop_and_what_it_shrinks_to(mode, scale):
    image = picture(45, 34).convert(mode)
    low, high = pair(image, scale)
    width, height = 45 // scale, 34 // scale
    assert low.shape == (3, height, width)
    assert high.shape == (3, scale * height, scale * width)
    assert low.dtype == high.dtype == torch.uint8
    rgb = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
    assert torch.equal(high, rgb[:, : scale * height, : scale * width])
    shrunk = 255 * data.downscale(high[None] / 255, scale)[0, :, 2:-2, 2:-2]
    # Pillow rounds and clips after each side, which tells where a palette is dithered.
    assert (low[:, 2:-2, 2:-2] - shrunk).abs().max() < (3 if mode == "P" else 1.3)


# Patches


@pytest.mark.parametrize("scale", [2, 4])
def test_both_sizes_show_the_same(paths, scale):
    """In all orientations: an ``lr`` is what its ``hr`` shrinks to, apart from the edges."""
    patches = PhotoPatches(paths, scale=scale, size=12, keep=1)
    indices = torch.arange(0, len(patches), 3)
    lr, hr = patches[indices]
    assert lr.shape == (len(indices), 3, 12, 12)
    assert hr.shape == (len(indices), 3, 12 * scale, 12 * scale)
    inside = (..., slice(3, -3), slice(3, -3))
    assert (lr - data.downscale(hr, scale))[inside].abs().max() < 1.2 / 255


def test_patches_are_for_the_training_loop(paths):
    patches = PhotoPatches(paths, size=12)
    for images in patches[torch.tensor([3, 0, 5])]:
        assert images.dtype == torch.float32
        assert 0 <= images.min() <= images.max() <= 1
        assert images.is_contiguous(memory_format=torch.channels_last)


def test_patches_are_the_same_each_time_in_any_batch(paths):
    first, again = PhotoPatches(paths, size=12), PhotoPatches(paths, size=12)
    assert torch.equal(first.places, again.places)
    indices = torch.tensor([7, 55, 7, 2])
    for batch, other in zip(first[indices], again[indices], strict=True):
        assert torch.equal(batch, other)
        assert torch.equal(batch[0], batch[2])
    lr, _ = first[torch.tensor([55])]
    assert torch.equal(lr[0], first[indices][0][1])


def test_the_eight_orientations_are_all_there(paths):
    patches = PhotoPatches(paths, size=12)
    lr, hr = patches[torch.arange(16, 24)]
    for images in (lr, hr):
        upright = images[0]
        wanted = [torch.rot90(upright, k, (1, 2)) for k in range(4)]
        wanted += [torch.rot90(upright.transpose(1, 2), k, (1, 2)) for k in range(4)]
        assert len({image.numpy().tobytes() for image in images}) == 8
        assert {i.contiguous().numpy().tobytes() for i in images} == {
            w.contiguous().numpy().tobytes() for w in wanted
        }


def test_places_lie_on_the_grid_of_each_photograph(paths):
    patches = PhotoPatches(paths, size=12, keep=1, stride=8)
    wanted = set()
    for number, (low, high) in enumerate(patches.pairs):
        _, height, width = low.shape
        assert high.shape == (3, 4 * height, 4 * width)
        wanted |= {
            (number, row, column)
            for row in range(0, height - 11, 8)
            for column in range(0, width - 11, 8)
        }
    assert set(map(tuple, patches.places.tolist())) == wanted
    assert len(patches.places) == len(wanted)
    assert len(patches) == 8 * len(wanted)


def test_each_photograph_is_there_at_both_sizes_where_it_is_large_enough(paths):
    patches = PhotoPatches(paths, size=12)
    # Whole: all three; at half size the smallest, 32 x 32, has no 48 x 48 pixels.
    assert [tuple(low.shape[1:]) for low, _ in patches.pairs] == [
        (25, 37),
        (12, 18),
        (35, 24),
        (17, 12),
        (16, 16),
    ]
    assert len(PhotoPatches(paths, size=12, zooms=(1.0,)).pairs) == 3


@pytest.mark.parametrize("keep", [0.25, 0.6])
def test_the_patches_with_most_detail_are_kept(paths, keep):
    every, kept = (PhotoPatches(paths, size=12, keep=share) for share in (1, keep))
    count = round(keep * len(every.places))
    assert torch.equal(kept.places, every.places[:count])
    details = []
    for place in range(len(every.places)):
        number, row, column = every.places[place].tolist()
        found = detail(every.pairs[number][1], window=48, stride=32)
        details.append(found[row // 8, column // 8].item())
    assert details == sorted(details, reverse=True)
    assert details[0] > details[-1]


def test_one_patch_is_always_kept(paths):
    assert len(PhotoPatches(paths, size=12, keep=0).places) == 1


@settings(max_examples=8)
@given(window=st.integers(1, 12), stride=st.integers(1, 6), seed=st.integers(0, 99))
def test_detail_is_the_distance_from_the_blurred_image(window, stride, seed):
    image = torch.from_numpy(np.array(picture(21, 17, seed))).permute(2, 0, 1)
    found = detail(image, window=window, stride=stride)
    grey = image.double().mean(0) / 255
    difference = torch.empty_like(grey)
    for y in range(17):
        for x in range(21):
            around = grey[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3]
            difference[y, x] = (grey[y, x] - around.mean()) ** 2
    windows = difference.unfold(0, window, stride).unfold(1, window, stride)
    assert_close(found.double(), windows.mean((2, 3)), rtol=1e-4, atol=1e-9)


def test_flat_parts_have_no_detail():
    flat = torch.full((3, 20, 20), 77, dtype=torch.uint8)
    assert detail(flat, window=8, stride=4).abs().max() < 1e-12


# Errors


def test_photographs_that_are_all_too_small(paths):
    with pytest.raises(DataError, match="none of the 3 photographs has 256 x 256 pixels"):
        PhotoPatches(paths, size=64)
    with pytest.raises(DataError, match="none of the 0 photographs"):
        PhotoPatches([])


def test_tiny_photographs_are_passed_over(tmp_path, paths):
    for size in ((1, 1), (3, 200), (200, 1)):
        picture(*size).save(tmp_path / f"{size[0]}.png")
    patches = PhotoPatches([*tmp_path.iterdir(), *paths], size=12)
    assert len(patches.pairs) == 5


def test_a_damaged_photograph_is_named(tmp_path, paths):
    content = paths[0].read_bytes()
    for name, damaged in {"text.png": b"no image", "cut.png": content[:2000]}.items():
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(DataError, match=f"{name} cannot be read as a photograph"):
            PhotoPatches([*paths, tmp_path / name], size=12)


# Licences


def test_licences_are_those_of_the_list(tmp_path):
    lines = ["file,licence,author", "a.png,CC0-1.0,Å", "b.png,CC-BY-4.0,B", "c.png,CC0-1.0,C"]
    (tmp_path / "SOURCES.csv").write_text("\n".join(lines), encoding="utf-8")
    assert licences(tmp_path) == "CC-BY-4.0, CC0-1.0"


def test_licences_without_a_list(tmp_path):
    assert licences(tmp_path) == "as stated by the photographs' owners"
