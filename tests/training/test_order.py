"""Which example comes when: permutations, shares, and numbers that depend on the step alone."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from course_lib.training.order import batch_indices, seeded, step_generator


@st.composite
def plans(draw):
    """A data set's size, a batch size that fits, processes that share it, and a seed."""
    world = draw(st.sampled_from([1, 2, 3, 4]))
    batch_size = world * draw(st.integers(1, 6))
    size = draw(st.integers(batch_size, 5 * batch_size))
    return {
        "size": size,
        "batch_size": batch_size,
        "world": world,
        "seed": draw(st.integers(0, 2**40)),
    }


def whole_batch(step, *, world, **plan) -> list[int]:
    """The batch of a step as a single process sees it."""
    return batch_indices(step, world=1, rank=0, **plan).tolist()


@given(plans(), st.integers(0, 20))
def test_an_epoch_is_a_permutation_cut_into_whole_batches(plan, epoch):
    steps = plan["size"] // plan["batch_size"]
    batches = [whole_batch(epoch * steps + position, **plan) for position in range(steps)]
    assert all(len(batch) == plan["batch_size"] for batch in batches)
    seen = [index for batch in batches for index in batch]
    assert len(set(seen)) == len(seen)
    assert set(seen) <= set(range(plan["size"]))
    assert plan["size"] - len(seen) < plan["batch_size"]


@given(plans(), st.integers(0, 1000))
def test_processes_share_a_batch_equally_without_overlap(plan, step):
    shares = [batch_indices(step, rank=rank, **plan).tolist() for rank in range(plan["world"])]
    assert {len(share) for share in shares} == {plan["batch_size"] // plan["world"]}
    together = [index for share in shares for index in share]
    assert sorted(together) == sorted(whole_batch(step, **plan))


@given(plans(), st.lists(st.integers(0, 1000), min_size=2, max_size=5))
def test_a_batch_depends_on_the_step_alone(plan, steps):
    forwards = {step: batch_indices(step, **plan).tolist() for step in steps}
    around = torch.get_rng_state()
    backwards = {step: batch_indices(step, **plan).tolist() for step in reversed(steps)}
    assert forwards == backwards
    assert torch.equal(torch.get_rng_state(), around)


def test_epochs_and_seeds_have_orders_of_their_own():
    def order(epoch, seed):
        return tuple(batch_indices(epoch, size=50, batch_size=50, seed=seed).tolist())

    orders = {order(epoch, seed) for epoch in range(10) for seed in range(10)}
    assert len(orders) == 100


def test_every_example_is_seen_although_some_sit_an_epoch_out():
    counts = torch.zeros(10)
    for step in range(3 * 200):
        counts[batch_indices(step, size=10, batch_size=3, seed=0)] += 1
    assert counts.sum() == 1800
    assert (counts - 180).abs().max() < 30


def test_batches_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="batch_size 11 is larger than the 10 examples"):
        batch_indices(0, size=10, batch_size=11, seed=0)
    with pytest.raises(ValueError, match="batch_size 9 cannot be shared by 2 processes"):
        batch_indices(0, size=10, batch_size=9, seed=0, world=2)


def test_random_numbers_differ_between_steps_ranks_and_seeds():
    draws = {
        tuple(torch.rand(4, generator=step_generator(step, seed=seed, rank=rank)).tolist())
        for step in range(20)
        for seed in range(4)
        for rank in range(4)
    }
    assert len(draws) == 20 * 4 * 4


def test_random_numbers_of_a_step_are_always_the_same():
    first = torch.rand(4, generator=step_generator(3, seed=1, rank=2))
    assert torch.equal(first, torch.rand(4, generator=step_generator(3, seed=1, rank=2)))


@given(st.lists(st.integers(0, 2**62), min_size=1, max_size=3))
def test_mixed_seeds_are_valid_whatever_the_numbers(numbers):
    assert 0 <= seeded(*numbers).initial_seed() < 2**63


def test_mixing_depends_on_the_order_of_the_numbers():
    seeds = {seeded(a, b, c).initial_seed() for a in range(8) for b in range(8) for c in range(8)}
    assert len(seeds) == 8**3
