"""Measuring upscalers: what is compared with what, over images and samples."""

from dataclasses import dataclass

import pytest
import torch
from PIL import Image

from course_lib import data
from course_lib.metrics import (
    SR_PROTOCOL,
    MetricsError,
    gradient_ratio,
    lr_psnr,
    measure_upscaler,
    psnr,
    ssim,
)
from course_lib.metrics.super_resolution import originals
from course_lib.upscaling import load
from course_lib.upscaling.interface import Upscaled


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@dataclass
class Painter:
    """An upscaler that answers with bicubic interpolation and noise of its seed."""

    name: str = "painter"
    scale: int = 4
    samplers: tuple[str, ...] = ("brush",)
    random: bool = True
    noise: float = 0.05

    def __post_init__(self):
        self.seen = []

    def steps_for(self, steps, sampler):
        return steps or 7

    def upscale(self, image, *, seed, **options):
        self.seen.append((image, seed, options))
        sr = data.upscale(image, self.scale)
        sr = sr + self.noise * images(*sr.shape, seed=seed)
        return Upscaled((sr.clamp(0, 1),), seed, 0.0)


@pytest.fixture
def photograph() -> torch.Tensor:
    """(1, 3, 50, 43): no side is a multiple of 4."""
    return data.example("arches")[..., :50, :43].contiguous()


def test_an_upscaler_with_one_answer(photograph):
    """The numbers are those of the metrics on the cropped original, by hand."""
    upscaler = load("bicubic")
    found = measure_upscaler(upscaler, [("arches", photograph)], seed=3)
    hr = photograph[..., :48, :40]
    lr = data.quantize(data.downscale(hr, 4))
    sr = data.quantize(data.upscale(lr, 4))
    assert found["mean"] == {
        "psnr_y": psnr(sr, hr, border=4).item(),
        "ssim_y": ssim(sr, hr, border=4).item(),
        "psnr_rgb": psnr(sr, hr, border=4, channel="rgb").item(),
        "lr_psnr": lr_psnr(sr, lr, 4).item(),
        "gradient_ratio": gradient_ratio(sr, hr).item(),
    }
    assert found["images"] == [{"name": "arches", **found["mean"]}]
    about = {key: found[key] for key in ("upscaler", "scale", "samples", "steps", "distance")}
    assert about == {
        "upscaler": "bicubic",
        "scale": 4,
        "samples": 1,
        "steps": None,
        "distance": None,
    }


def test_samples_are_drawn_by_consecutive_seeds_and_averaged(photograph):
    painter = Painter()
    options = {"steps": 5, "sampler": "brush", "temperature": 0.5}
    found = measure_upscaler(painter, [("a", photograph)], samples=3, seed=10, **options)
    assert [seed for _, seed, _ in painter.seen] == [10, 11, 12]
    assert all(given == options for _, _, given in painter.seen)
    assert (found["samples"], found["seed"], found["steps"]) == (3, 10, 5)
    lr = painter.seen[0][0]
    assert torch.equal(lr, data.quantize(lr))

    hr = photograph[..., :48, :40]
    samples = [data.quantize(painter.upscale(lr, seed=10 + i).image) for i in range(3)]
    each = [psnr(sr, hr, border=4).item() for sr in samples]
    assert found["mean"]["psnr_y"] == pytest.approx(sum(each) / 3)
    stacked = torch.cat(samples)
    mean = data.quantize(stacked.mean(0, keepdim=True))
    assert found["mean"]["psnr_y_of_mean"] == pytest.approx(
        psnr(mean, hr, border=4).item(), abs=1e-3
    )
    assert found["mean"]["diversity"] == pytest.approx(stacked.std(0).mean().item(), rel=1e-4)


def test_one_sample_has_no_diversity(photograph):
    mean = measure_upscaler(Painter(), [("a", photograph)], samples=1)["mean"]
    assert not {"diversity", "psnr_y_of_mean"} & mean.keys()


def test_equal_samples_have_none_either(photograph):
    mean = measure_upscaler(Painter(noise=0), [("a", photograph)], samples=3)["mean"]
    assert mean["diversity"] == 0
    assert mean["psnr_y_of_mean"] == pytest.approx(mean["psnr_y"], abs=1e-4)


def test_the_mean_is_over_images_that_are_taken_one_by_one(photograph):
    """An image is not read before the last one is measured."""
    events = []

    def pictures():
        for name, picture in (("a", photograph), ("b", data.example("stones")[..., :64, :64])):
            events.append(f"read {name}")
            yield name, picture

    found = measure_upscaler(
        load("nearest"), pictures(), on_image=lambda name, _: events.append(f"told {name}")
    )
    assert events == ["read a", "told a", "read b", "told b"]
    a, b = found["images"]
    for key, value in found["mean"].items():
        assert value == pytest.approx((a[key] + b[key]) / 2)
    assert a["psnr_y"] != b["psnr_y"]


def test_pil_images_and_tensors_give_the_same(photograph):
    as_image = data.to_image(photograph)
    results = [
        measure_upscaler(load("bicubic", scale=2), [("a", each)])["mean"]
        for each in (photograph, as_image)
    ]
    assert results[0] == results[1]


def test_the_distance_that_is_given(photograph):
    class Distance:
        name = "largest"

        def __call__(self, sr, hr):
            return (sr - hr).abs().amax((1, 2, 3))

    found = measure_upscaler(Painter(), [("a", photograph)], samples=2, distance=Distance())
    assert found["distance"] == "largest"
    assert 0 < found["mean"]["distance"] < 1


def test_what_cannot_be_measured_is_refused(photograph):
    upscaler = load("bicubic")
    with pytest.raises(MetricsError, match="no images"):
        measure_upscaler(upscaler, [])
    with pytest.raises(MetricsError, match="samples must be at least 1"):
        measure_upscaler(upscaler, [("a", photograph)], samples=0)
    least = photograph[..., :20, :20]
    assert measure_upscaler(upscaler, [("a", least)])["images"]
    with pytest.raises(MetricsError, match=r"small cannot be measured.*20 x 20"):
        measure_upscaler(upscaler, [("small", photograph[..., :19, :])])
    with pytest.raises(MetricsError, match="one image"):
        measure_upscaler(upscaler, [("two", images(2, 3, 40, 40))])


def test_the_protocol_explains_every_number(photograph):
    painter = measure_upscaler(Painter(), [("a", photograph)], samples=2)["mean"]
    for key in (*painter, "distance"):
        assert f"'{key}'" in SR_PROTOCOL


def test_originals_of_a_folder(tmp_path):
    for name in ("b.png", "a.jpg"):
        Image.new("RGB", (20, 30), "red").save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "small").mkdir()
    Image.new("RGB", (5, 5)).save(tmp_path / "small" / "c.png")
    found = list(originals(tmp_path))
    assert [name for name, _ in found] == ["a.jpg", "b.png"]
    assert {image.size for _, image in found} == {(20, 30)}
    with pytest.raises(MetricsError, match="there is no folder"):
        originals(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MetricsError, match="holds no images"):
        originals(tmp_path / "empty")
    (tmp_path / "z.png").write_bytes(b"no image")
    with pytest.raises(data.ImageError, match=r"z\.png"):
        list(originals(tmp_path))
