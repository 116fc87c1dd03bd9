"""The random numbers: their distribution, and where they come from."""

import itertools

import pytest
import scipy.stats
import torch

from course_lib.noise import seeded, standard_normal


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_standard_normal_is_standard_normal():
    like = torch.zeros(1, dtype=torch.float64)
    draws = standard_normal(4000, 5, like=like, generator=generator(3))
    assert draws.dtype == torch.float64
    assert scipy.stats.kstest(draws.flatten().numpy(), "norm").pvalue > 0.01
    correlation = torch.corrcoef(draws.T) - torch.eye(5)
    assert correlation.abs().max() < 4 / 4000**0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_standard_normal_depends_on_the_generator_alone(dtype):
    like = torch.zeros(1, dtype=dtype)
    before = torch.get_rng_state()
    first = standard_normal(3, 4, like=like, generator=generator(1))
    again = standard_normal(3, 4, like=like, generator=generator(1))
    other = standard_normal(3, 4, like=like, generator=generator(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == (3, 4)


def test_standard_normal_without_generator_follows_the_global_seed():
    like = torch.zeros(1)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        first = standard_normal(3, like=like, generator=None)
        torch.manual_seed(5)
        assert torch.equal(first, torch.randn(3))
        assert not torch.equal(standard_normal(3, like=like, generator=None), first)


def test_standard_normal_is_drawn_where_the_generator_lives(monkeypatch):
    """And then moved, so that one on the CPU gives the same numbers on every device."""
    drawn_on = []

    def randn(shape, *, device, **options):
        drawn_on.append(torch.device(device).type)
        return torch.zeros(shape)

    monkeypatch.setattr(torch, "randn", randn)
    here, elsewhere = torch.zeros(1), torch.zeros(1, device="meta")
    assert standard_normal(2, 3, like=elsewhere, generator=generator()).device.type == "meta"
    assert standard_normal(2, 3, like=elsewhere, generator=None).device.type == "meta"
    assert standard_normal(2, 3, like=here, generator=None).device.type == "cpu"
    assert drawn_on == ["cpu", "meta", "cpu"]


# Seeds of several numbers


def test_the_same_numbers_give_the_same_stream():
    for numbers in ((), (0,), (5, 3, 1), (2**31, 0, 7)):
        first, again = (torch.randn(4, generator=seeded(*numbers)) for _ in range(2))
        assert torch.equal(first, again)
        assert seeded(*numbers).device.type == "cpu"


def test_the_numbers_their_order_and_their_count_matter():
    numbers = [(), (0,), (1,), (0, 0), (0, 1), (1, 0), (0, 0, 0), (0, 1, 0), (1, 1)]
    draws = {tuple(torch.randn(4, generator=seeded(*each)).tolist()) for each in numbers}
    assert len(draws) == len(numbers)


@pytest.mark.parametrize("shape", [(1, 100, 16, 16), (16, 1, 40, 40), (64, 9, 8, 8)])
def test_no_two_blocks_of_noise_share_a_stream(shape):
    """Seeds, draws, rows and columns; PyTorch's generator keeps 32 bits of a seed."""
    kept = {
        seeded(*numbers).initial_seed() % 2**32 for numbers in itertools.product(*map(range, shape))
    }
    assert len(kept) == torch.Size(shape).numel()


def test_neighbouring_seeds_are_independent():
    places = itertools.product(range(4), range(4), range(4))
    draws = torch.stack([torch.randn(4000, generator=seeded(*place)) for place in places])
    correlation = torch.corrcoef(draws) - torch.eye(64)
    assert correlation.abs().max() < 5 / 4000**0.5
    assert scipy.stats.kstest(draws[:, 0].numpy(), "norm").pvalue > 0.01


def test_a_generator_of_its_own_leaves_the_global_one_alone():
    before = torch.get_rng_state()
    torch.randn(3, generator=seeded(1, 2))
    assert torch.equal(torch.get_rng_state(), before)
