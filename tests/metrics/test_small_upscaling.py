"""Measuring models of clothes from 7 x 7 pixels: each number against its definition."""

import pytest
import torch

from course_lib import data
from course_lib.data import downscale, quantize, upscale
from course_lib.metrics import evaluate, measure_small_upscaling

N = 200


@pytest.fixture(scope="module")
def truth() -> torch.Tensor:
    return data.load(split="test").images[:N]


def noisy(lr: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    up = upscale(lr, 4).clamp(0, 1)
    return 0.1 + 0.8 * up + 0.1 * (torch.rand(up.shape, generator=generator) - 0.5)


def measured(draw, shipped, **options):
    return measure_small_upscaling(draw, limit=N, classifier=shipped, **options)


def test_numbers_are_those_of_the_definitions(truth, shipped):
    found = measured(noisy, shipped, draws=4, seed=10)
    lr = quantize(downscale(truth, 4))
    draws = [noisy(lr, torch.Generator().manual_seed(10 + i)) for i in range(4)]
    mse = (draws[0] - truth).double().square().mean((1, 2, 3))
    assert found["mse"] == pytest.approx(mse.mean().item(), rel=1e-5)
    assert found["psnr"] == pytest.approx((-10 * mse.log10()).mean().item(), rel=1e-5)
    mean = sum(draws) / 4
    mse = (mean - truth).double().square().mean((1, 2, 3))
    assert found["mse_of_mean"] == pytest.approx(mse.mean().item(), rel=1e-5)
    assert found["psnr_of_mean"] > found["psnr"]
    error = (downscale(draws[0], 4) - lr).double().square().mean((1, 2, 3))
    assert found["lr_psnr"] == pytest.approx((-10 * error.log10()).mean().item(), rel=1e-5)
    # Uniform noise of width 0.1.
    assert found["diversity"] == pytest.approx(0.1 / 12**0.5, rel=0.01)
    guesses = shipped(draws[0]).argmax(1)
    labels = data.load(split="test").labels[:N]
    assert found["agreement"] == pytest.approx((guesses == labels).float().mean().item())
    seen = evaluate(draws[0], truth, classifier=shipped)
    for key in ("frechet", "frechet_floor", "precision", "recall"):
        assert found[key] == seen[key]
    assert found["images_per_second"] > 0


def test_a_single_answer_has_no_diversity(shipped):
    found = measured(lambda lr, _: upscale(lr, 4), shipped, draws=1)
    assert found["diversity"] == 0
    assert found["psnr"] == found["psnr_of_mean"]


def test_the_truth_itself_has_its_classes(truth, shipped):
    """A draw from the truth with a little noise: as near, as real and as consistent as can be."""

    def cheat(lr, generator):
        return truth + 0.001 * torch.randn(truth.shape, generator=generator)

    found = measured(cheat, shipped, draws=2)
    assert found["psnr"] > 55
    assert found["lr_psnr"] > 50
    assert found["agreement"] > 0.85
    assert found["frechet"] < 0.05 * found["frechet_floor"]
