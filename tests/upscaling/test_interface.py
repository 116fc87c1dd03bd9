"""What all upscalers share: what goes in and comes out, seeds, progress, refusals."""

import itertools
import subprocess
import sys

import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from course_lib.upscaling import Cancelled, Progress, Upscaled, Upscaler, UpscalingError
from course_lib.upscaling.interface import AUTO_TILE, OVERLAP, SEEDS, Request


class Noisy(Upscaler):
    """Adds the noise of a tile's place to its pixels, in as many steps as are asked for."""

    name = "noisy"
    scale = 2
    samplers = ("plain", "other")

    def __init__(self):
        self.requests: list[Request] = []

    def steps_for(self, steps: int | None, sampler: str | None) -> int:
        if steps is not None and not 1 <= steps <= 9:
            raise UpscalingError(f"steps must be between 1 and 9, not {steps}")
        return steps or 3

    def enlarge(self, lr: torch.Tensor, request: Request) -> torch.Tensor:
        self.requests.append(request)
        sr = lr.repeat_interleave(2, 2).repeat_interleave(2, 3)
        for step in range(self.steps_for(request.steps, request.sampler)):
            sr = sr + 0.01 * request.noise(step, 2)
            request.on_step(step, sr.clamp(0, 1), sr.clamp(0, 1))
        return sr


class Still(Upscaler):
    """Repeats the pixels; nothing is random."""

    name = "still"
    scale = 3

    def enlarge(self, lr: torch.Tensor, request: Request) -> torch.Tensor:
        return lr.repeat_interleave(3, 2).repeat_interleave(3, 3)


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


# What goes in comes out


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "LA", "1", "CMYK"])
def test_a_pil_image_gives_a_pil_image(mode):
    image = Image.effect_noise((7, 5), 60).convert(mode)
    result = Still().upscale(image)
    assert isinstance(result, Upscaled)
    assert isinstance(result.image, Image.Image)
    assert result.image.mode == "RGB"
    assert result.image.size == (21, 15)
    assert result.image.resize((7, 5), 0).tobytes() == image.convert("RGB").tobytes()
    assert image.mode == mode


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_a_batch_of_tensors_gives_a_batch_of_tensors(dtype):
    batch = images(4, 3, 6, 9).to(dtype)
    result = Still().upscale(batch)
    assert result.image.shape == (4, 3, 18, 27)
    assert result.image.dtype == torch.float32
    assert_close(result.image[..., ::3, ::3], batch.float())


def test_the_input_is_not_changed_and_no_graph_is_kept():
    batch = images(1, 3, 90, 70).requires_grad_()
    before = batch.detach().clone()
    for upscaler in (Still(), Noisy()):
        result = upscaler.upscale(batch, tile=64).image
        assert not result.requires_grad
        result.zero_()
        assert torch.equal(batch, before)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (1, 200), (200, 1), (65, 64), (129, 67)])
@pytest.mark.parametrize("tile", ["auto", 64])
def test_every_size_is_enlarged_whole(size, tile):
    batch = images(2, 3, *size)
    result = Still().upscale(batch, tile=tile).image
    assert_close(result, Still().enlarge(batch, None), rtol=0, atol=1e-6)


def test_what_lies_outside_the_range_is_clipped():
    class Wild(Still):
        def enlarge(self, lr, request):
            return 10 * super().enlarge(lr, request) - 5

    result = Wild().upscale(images(1, 3, 8, 8)).image
    assert result.min() == 0
    assert result.max() == 1


# Tiles


def tiles_of(height: int, width: int, tile) -> list:
    upscaler = Noisy()
    upscaler.upscale(images(1, 3, height, width), steps=1, tile=tile)
    return [request.tile for request in upscaler.requests]


def test_auto_uses_tiles_for_large_images_only():
    side = AUTO_TILE + 2 * OVERLAP
    assert len(tiles_of(side, side, "auto")) == 1
    assert len(tiles_of(10, side * side // 10, "auto")) == 1
    several = tiles_of(side, side + 1, "auto")
    assert len(several) > 1
    assert max(max(tile.height, tile.width) for tile in several) == AUTO_TILE


def test_a_tile_larger_than_the_image_is_the_image():
    (only,) = tiles_of(30, 40, 64)
    assert (only.height, only.width) == (30, 40)


def test_noise_belongs_to_the_place_and_not_to_the_tile():
    batch = torch.full((2, 3, 100, 150), 0.5)
    whole = Noisy().upscale(batch, seed=4, tile=152).image
    for tile in (64, 72, 96):
        assert_close(Noisy().upscale(batch, seed=4, tile=tile).image, whole, rtol=0, atol=1e-6)


# Seeds and samples


def test_the_same_seed_gives_the_same_bits():
    first, again, other = (Noisy().upscale(images(1, 3, 9, 9), seed=s).image for s in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_without_a_seed_there_is_a_new_one_that_repeats_the_result():
    batch = images(1, 3, 9, 9)
    first, second = Noisy().upscale(batch), Noisy().upscale(batch)
    assert first.seed != second.seed
    assert torch.equal(Noisy().upscale(batch, seed=first.seed).image, first.image)


def test_samples_differ_and_each_has_its_own_seed():
    batch = images(1, 3, 9, 9)
    result = Noisy().upscale(batch, seed=7, samples=3)
    assert len(result.images) == 3
    for number, sample in enumerate(result.images):
        assert torch.equal(sample, Noisy().upscale(batch, seed=7 + number).image)
    assert not torch.equal(result.images[0], result.images[1])
    assert result.image is result.images[0]


def test_randomness_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    Noisy().upscale(images(1, 3, 9, 9))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("seed", [None, 5])
def test_a_model_that_draws_nothing_has_no_seed(seed):
    assert Still().upscale(images(1, 3, 4, 4), seed=seed).seed is None


# Progress and states


@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize(("tile", "parts"), [("auto", 1), (64, 4)])
def test_progress_counts_every_step_to_the_end(samples, tile, parts):
    told: list[Progress] = []
    Noisy().upscale(images(2, 3, 80, 90), steps=5, samples=samples, tile=tile, progress=told.append)
    total = samples * parts * 5
    assert [p.done for p in told] == list(range(1, total + 1))
    assert {p.total for p in told} == {total}
    assert all(a.seconds <= b.seconds for a, b in itertools.pairwise(told))
    assert told[-1].seconds_left == 0


def test_progress_of_a_model_without_steps_counts_tiles():
    told: list[Progress] = []
    Still().upscale(images(1, 3, 80, 90), tile=64, progress=told.append)
    assert [(p.done, p.total) for p in told] == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_time_left_is_at_the_rate_so_far():
    assert Progress(3, 12, 6.0).seconds_left == 18
    assert Progress(0, 12, 0.5).seconds_left is None


@pytest.mark.parametrize("upscaler", [Noisy(), Still()], ids=lambda u: u.name)
def test_cancelling_stops_at_once(upscaler):
    told = []

    def stop(progress: Progress) -> None:
        told.append(progress)
        if progress.done == 2:
            raise Cancelled

    with pytest.raises(Cancelled):
        upscaler.upscale(images(1, 3, 80, 90), tile=64, progress=stop)
    assert len(told) == 2


def test_states_are_those_of_the_first_sample_and_image():
    batch = images(2, 3, 6, 6)
    plain = Noisy().upscale(batch, seed=1, samples=2, steps=4)
    kept = Noisy().upscale(batch, seed=1, samples=2, steps=4, keep_states=True)
    assert plain.states == ()
    assert [state.t for state in kept.states] == [0, 1, 2, 3]
    assert all(s.state.shape == s.estimate.shape == (1, 3, 12, 12) for s in kept.states)
    assert_close(kept.states[-1].state, kept.image[:1])
    assert torch.equal(kept.image, plain.image)


# Refusals


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "between 1 and 9, not 0"),
        ({"steps": 10}, "between 1 and 9, not 10"),
        ({"steps": 2.5}, "whole number, not 2.5"),
        ({"steps": True}, "whole number, not True"),
        ({"sampler": "euler"}, "no sampler 'euler'; known: plain, other"),
        ({"samples": 0}, "samples must be a whole number from 1 on, not 0"),
        ({"samples": 1.5}, "samples must be a whole number from 1 on, not 1.5"),
        ({"seed": -1}, "seed must be a whole number from 0 to 4,294,967,295, not -1"),
        ({"seed": SEEDS}, f"not {SEEDS}"),
        ({"seed": SEEDS - 1, "samples": 2}, f"to 4,294,967,294, not {SEEDS - 1}"),
        ({"seed": 0.5}, "seed must be a whole number"),
        ({"seed": "0"}, "seed must be a whole number"),
        ({"seed": True}, "seed must be a whole number"),
        ({"temperature": -0.1}, "temperature must be a number from 0 on, not -0.1"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": float("inf")}, "temperature"),
        ({"tile": 0}, "tile must be 'auto' or a multiple of 4 from 64 on, not 0"),
        ({"tile": 60}, "not 60"),
        ({"tile": 66}, "not 66"),
        ({"tile": 64.0}, "not 64.0"),
        ({"tile": True}, "not True"),
        ({"tile": "64"}, "not '64'"),
        ({"tile": None}, "not None"),
        ({"tile": 64, "keep_states": True}, "fit into one tile"),
    ],
)
def test_impossible_requests_are_explained(options, message):
    with pytest.raises(UpscalingError, match=message):
        Noisy().upscale(images(1, 3, 80, 90), **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 4}, "still draws nothing, so it has no steps"),
        ({"sampler": "ddim"}, "no sampler"),
        ({"temperature": 0.5}, "no temperature"),
        ({"samples": 2}, "still has one answer, so samples must be 1"),
        ({"keep_states": True}, "for models whose steps"),
    ],
)
def test_options_of_randomness_need_a_model_that_draws(options, message):
    with pytest.raises(UpscalingError, match=message):
        Still().upscale(images(1, 3, 8, 8), **options)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("photo.png", "PIL image or a tensor"),
        (None, "PIL image or a tensor"),
        (torch.rand(3, 8, 8), r"\(N, 3, H, W\), not \(3, 8, 8\)"),
        (torch.rand(1, 1, 8, 8), r"not \(1, 1, 8, 8\)"),
        (torch.rand(0, 3, 8, 8), r"not \(0, 3, 8, 8\)"),
        (torch.rand(1, 3, 0, 8), r"not \(1, 3, 0, 8\)"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "floating point"),
        (torch.full((1, 3, 8, 8), 1.01), r"in \[0, 1\]"),
        (torch.full((1, 3, 8, 8), -0.01), r"in \[0, 1\]"),
        (torch.full((1, 3, 8, 8), torch.nan), r"in \[0, 1\]"),
        (Image.new("RGB", (0, 5)), "empty: 0 x 5"),
    ],
)
def test_other_things_than_images_are_refused(image, message):
    with pytest.raises(UpscalingError, match=message):
        Still().upscale(image)


# Memory


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_large_photograph_fits_into_memory(environment):
    """1024 x 1024 pixels to 4096 x 4096 within 2 GB.

    The network is seen on an image of one tile; what the larger image adds is
    seen without a network, since it is the same for all.
    """
    script = """
from PIL import Image
import torch
from course_lib.upscaling import load

def peak():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**20

def upscale(name, side):
    image = load(name).upscale(Image.new("RGB", (side, side), "teal")).image
    assert image.size == (4 * side, 4 * side)

torch.set_num_threads(1)
upscale("nearest", 192)
start = peak()
upscale("regression", 192)
network = peak() - start
upscale("nearest", 1024)
print(start, network, peak() - start)
"""
    finished = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    start, network, large = map(float, finished.stdout.split())
    assert large < 0.9  # gibibytes: 57 bytes for each of the 16 million pixels
    assert start + network + large < 1.86
