"""The random numbers: their distribution, and where they come from."""

import pytest
import scipy.stats
import torch

from course_lib.noise import standard_normal


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_standard_normal_is_standard_normal():
    like = torch.zeros(1, dtype=torch.float64)
    draws = standard_normal(4000, 5, like=like, generator=seeded(3))
    assert draws.dtype == torch.float64
    assert scipy.stats.kstest(draws.flatten().numpy(), "norm").pvalue > 0.01
    correlation = torch.corrcoef(draws.T) - torch.eye(5)
    assert correlation.abs().max() < 4 / 4000**0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_standard_normal_depends_on_the_generator_alone(dtype):
    like = torch.zeros(1, dtype=dtype)
    before = torch.get_rng_state()
    first = standard_normal(3, 4, like=like, generator=seeded(1))
    again = standard_normal(3, 4, like=like, generator=seeded(1))
    other = standard_normal(3, 4, like=like, generator=seeded(2))
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
    assert standard_normal(2, 3, like=elsewhere, generator=seeded()).device.type == "meta"
    assert standard_normal(2, 3, like=elsewhere, generator=None).device.type == "meta"
    assert standard_normal(2, 3, like=here, generator=None).device.type == "cpu"
    assert drawn_on == ["cpu", "meta", "cpu"]
