"""What a run leaves: samples, spread and measures that agree with each other."""

import zipfile
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from course_lib import data, metrics
from course_lib.upscaling import Cancelled, load
from pictures import Cut, prepare
from results import Settings, archive, run, samples_allowed, spread_of


def settings(**options) -> Settings:
    return Settings(("key",), "picture.png", options.pop("truth", False), **options)


def image_of(file: bytes) -> Image.Image:
    return Image.open(BytesIO(file))


@pytest.fixture
def example() -> data.UserImage:
    rgb = data.to_image(data.example("bridge")).crop((100, 100, 196, 180))
    return data.UserImage(rgb, None, "PNG", ())


def test_samples_are_those_of_the_upscaler(example):
    prepared = prepare(example, 256, Cut(), scale=4, truth=True)
    srdiff, seen = load("srdiff"), []
    options = {"sampler": "ddim", "steps": 2, "seed": 5, "samples": 2}
    result = run(srdiff, settings(truth=True, model="srdiff", **options), prepared, seen.append)
    again = srdiff.upscale(prepared.lr, **options).images
    for file, expected in zip(result.samples, again, strict=True):
        assert np.array_equal(np.asarray(image_of(file)), np.asarray(expected))
    assert [progress.done for progress in seen] == [1, 2, 3, 4]
    assert len(result.scores) == 3
    hr, sample = data.to_tensor(prepared.hr), data.to_tensor(again[0])
    assert result.border == 4
    assert result.scores[1].psnr == metrics.psnr(sample, hr, border=4).item()
    assert result.scores[1].ssim == metrics.ssim(sample, hr, border=4).item()
    mean = (data.to_tensor(again[0]) + data.to_tensor(again[1])) / 2
    assert result.scores[2].psnr == pytest.approx(metrics.psnr(mean, hr, border=4).item())


def test_spread_is_the_standard_deviation():
    levels = np.random.default_rng(0).integers(0, 256, (5, 30, 20, 3), dtype=np.uint8)
    spread = spread_of([Image.fromarray(picture) for picture in levels])
    deviation = levels.std(axis=0, ddof=1, dtype=np.float64).mean(axis=2)
    assert spread.mean == pytest.approx(deviation.mean(), rel=1e-4)
    assert spread.top == pytest.approx(np.percentile(deviation, 99.5), rel=1e-4)
    colours = np.asarray(image_of(spread.map))
    brightest = tuple(colours[np.unravel_index(deviation.argmax(), deviation.shape)])
    assert brightest == (253, 231, 37)


def test_equal_samples_have_no_spread():
    spread = spread_of([Image.new("RGB", (9, 9), "teal")] * 3)
    assert spread.mean == 0
    assert spread.top > 0


def test_transparency_is_enlarged_and_kept(example):
    alpha = Image.linear_gradient("L").resize(example.rgb.size)
    image = data.UserImage(example.rgb, alpha, "PNG", ())
    prepared = prepare(image, 256, Cut(), scale=4, truth=False)
    regression = load("regression")
    result = run(regression, settings(model="regression"), prepared, lambda progress: None)
    for file in (result.before, result.samples[0]):
        assert image_of(file).mode == "RGBA"
        assert image_of(file).size == result.size == (384, 320)
    assert (result.spread, result.scores, result.original) == (None, (), None)


def test_an_icon_is_measured_as_far_as_it_goes(picture_file):
    image = data.read_image(picture_file(8, 8))
    prepared = prepare(image, 256, Cut(), scale=4, truth=True)
    result = run(
        load("regression"), settings(truth=True, model="regression"), prepared, lambda p: None
    )
    assert result.border == 0
    assert [scores.ssim for scores in result.scores] == [None, None]
    assert all(np.isfinite(scores.psnr) for scores in result.scores)


def test_a_run_can_be_cancelled(example):
    def cancel(progress):
        raise Cancelled

    prepared = prepare(example, 128, Cut(), scale=4, truth=True)
    with pytest.raises(Cancelled):
        run(load("srdiff"), settings(model="srdiff", steps=50, seed=0), prepared, cancel)


@pytest.mark.parametrize(("limit", "samples"), [(128, 8), (256, 8), (512, 2)])
def test_results_are_bounded(limit, samples):
    assert samples_allowed(limit) == samples
    # Three bytes for each of the 16 pixels that one becomes: what no PNG exceeds by much.
    assert samples * limit**2 * 16 * 3 <= 26e6


def test_archive_holds_all_files_and_is_always_the_same():
    packed = archive(["a.png", "b.png"], [b"one", b"two"])
    assert packed == archive(["a.png", "b.png"], [b"one", b"two"])
    with zipfile.ZipFile(BytesIO(packed)) as files:
        assert files.testzip() is None
        assert {name: files.read(name) for name in files.namelist()} == {
            "a.png": b"one",
            "b.png": b"two",
        }
