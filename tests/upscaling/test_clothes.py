"""The small models of clothes behind the interface of all upscalers."""

import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from course_lib import data, weights
from course_lib.metrics import measure_upscaler
from course_lib.noise import seeded
from course_lib.upscaling import CLOTHES, UpscalingError, conditional, load

DRAWN = [name for name in CLOTHES if name != "fashion-mean"]
ONE_GO = ["fashion-vae", "fashion-gan", "fashion-wgan-gp"]


@pytest.fixture(scope="module")
def lr() -> torch.Tensor:
    return conditional.shrunk(data.load(split="test").images[:4])


@pytest.fixture(scope="module")
def upscalers() -> dict:
    return {name: load(name) for name in CLOTHES}


@pytest.mark.parametrize("name", CLOTHES)
def test_tensors_and_pictures_go_in_and_come_out(upscalers, lr, name):
    upscaler = upscalers[name]
    assert (upscaler.name, upscaler.scale) == (name, 4)
    options = {"seed": 3} if upscaler.random else {}
    answer = upscaler.upscale(lr.expand(-1, 3, -1, -1), **options).image
    assert answer.shape == (4, 3, 28, 28)
    assert torch.equal(answer[:, 0], answer[:, 1])
    levels = lr[0, 0].mul(255).round().byte().numpy()
    picture = upscaler.upscale(Image.fromarray(levels), **options).image
    assert (picture.mode, picture.size) == ("RGB", (28, 28))


@pytest.mark.parametrize("name", DRAWN)
def test_a_seed_is_a_draw_of_the_model(upscalers, lr, name):
    upscaler = upscalers[name]
    three = lr.expand(-1, 3, -1, -1)
    answer = upscaler.upscale(three, seed=5, samples=2, temperature=0.5)
    with torch.inference_mode():
        for index, image in enumerate(answer.images):
            wanted = weights.load(name).sample(lr, generator=seeded(5 + index), temperature=0.5)
            assert_close(image[:, :1], wanted)
    assert not torch.equal(*answer.images)


def test_the_mean_has_one_answer(upscalers, lr):
    with pytest.raises(UpscalingError, match="fashion-mean draws nothing, so it has no temperat"):
        upscalers["fashion-mean"].upscale(lr.expand(-1, 3, -1, -1), temperature=0.5)
    with pytest.raises(UpscalingError, match="samples must be 1"):
        upscalers["fashion-mean"].upscale(lr.expand(-1, 3, -1, -1), samples=2)


@pytest.mark.parametrize("name", ONE_GO)
def test_models_of_one_go_have_no_steps(upscalers, lr, name):
    for option in ({"steps": 3}, {"sampler": "ddim"}):
        with pytest.raises(UpscalingError, match=f"{name} draws in one go, so it has no"):
            upscalers[name].upscale(lr.expand(-1, 3, -1, -1), **option)


def test_diffusion_has_steps_and_keeps_its_states(upscalers, lr):
    upscaler, seen = upscalers["fashion-ddpm"], []
    answer = upscaler.upscale(
        lr.expand(-1, 3, -1, -1),
        steps=4,
        sampler="dpm-solver",
        seed=1,
        keep_states=True,
        progress=lambda p: seen.append((p.done, p.total)),
    )
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [state.state.shape for state in answer.states] == [(1, 3, 28, 28)] * 4
    assert_close(answer.states[-1].estimate, answer.image[:1])
    for wrong in ({"steps": 0}, {"steps": 2000}, {"sampler": "ddpm", "steps": 5}):
        with pytest.raises(UpscalingError, match="steps"):
            upscaler.upscale(lr.expand(-1, 3, -1, -1), **wrong)


@pytest.mark.parametrize("name", CLOTHES)
@pytest.mark.parametrize("size", [(8, 7), (7, 28), (300, 300)])
def test_other_sizes_are_refused(upscalers, name, size):
    with pytest.raises(UpscalingError, match=f"{name} enlarges images of 7 x 7 pixels, not of"):
        upscalers[name].upscale(torch.zeros(1, 3, *size))


def test_they_can_be_measured_like_the_others(upscalers):
    images = data.load(split="test").images[:2].expand(-1, 3, -1, -1)
    pairs = [(str(i), image[None]) for i, image in enumerate(images)]
    found = measure_upscaler(upscalers["fashion-vae"], pairs, samples=2)
    assert found["samples"] == 2
    assert found["steps"] is None
