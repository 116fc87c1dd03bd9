"""Drawing images: batches, seeds, options and time."""

import pytest
import torch
from torch import nn

from course_lib.metrics import MetricsError, draw, sampling, sampling_options


def test_images_come_in_batches_from_one_generator(copier):
    images, seconds = draw(copier, 1203, seed=5)
    assert copier.calls == [500, 500, 203]
    assert copier.inference == [True] * 3
    generator = torch.Generator().manual_seed(5)
    expected = torch.cat([copier.sample(n, generator=generator) for n in (500, 500, 203)])
    assert torch.equal(images, expected)
    assert seconds > 0
    assert torch.equal(draw(copier, 10, seed=5)[0], images[:10])
    assert not torch.equal(draw(copier, 10, seed=6)[0], images[:10])


def test_nothing_else_is_random(copier):
    before = torch.get_rng_state()
    draw(copier, 10)
    assert torch.equal(torch.get_rng_state(), before)


def test_time_is_that_of_sampling_alone(copier, monkeypatch):
    """A clock that goes on by one second in every call of `sample`, and otherwise stands still."""
    clock = [0.0]
    sample = copier.sample

    def slow(n, *, generator):
        clock[0] += 1
        return sample(n, generator=generator)

    monkeypatch.setattr(copier, "sample", slow)
    monkeypatch.setattr(sampling.time, "perf_counter", lambda: clock[0])

    def on_batch(done: int) -> None:
        clock[0] += 100

    assert draw(copier, 1001, on_batch=on_batch)[1] == 3


def test_progress_is_told(copier):
    told = []
    draw(copier, 1001, on_batch=told.append)
    assert told == [500, 1000, 1001]


def test_only_options_that_are_given_are_passed_on(stepped_copier):
    draw(stepped_copier, 5)
    assert stepped_copier.options == ("ddim", 50)
    draw(stepped_copier, 5, steps=3)
    assert stepped_copier.options == ("ddim", 3)
    draw(stepped_copier, 5, sampler="ddpm")
    assert stepped_copier.options == ("ddpm", 50)
    assert sampling_options(stepped_copier, name="x", steps=3) == {"steps": 3}
    assert sampling_options(stepped_copier, name="x") == {}


def test_options_that_a_model_lacks_or_refuses_are_explained(copier, stepped_copier):
    with pytest.raises(MetricsError, match=r"'vae' is not sampled by steps, .* no option 'steps'"):
        draw(copier, 5, name="vae", steps=3)
    with pytest.raises(MetricsError, match=r"'Copier' .* no option 'sampler'"):
        draw(copier, 5, sampler="ddim")
    with pytest.raises(MetricsError, match="unknown sampler 'euler'"):
        draw(stepped_copier, 5, sampler="euler")
    with pytest.raises(MetricsError, match="'ae' is not a generative model"):
        draw(nn.Linear(2, 2), 5, name="ae")


def test_errors_of_the_model_itself_stay_what_they_are(copier, monkeypatch):
    def broken(n, *, generator):
        raise ValueError("a bug")

    monkeypatch.setattr(copier, "sample", broken)
    with pytest.raises(ValueError, match="a bug") as raised:
        draw(copier, 5)
    assert not isinstance(raised.value, MetricsError)
