"""What checks demand of random numbers."""

from collections.abc import Callable

import torch

from .verdict import must


def repeats(draw: Callable[[], torch.Tensor]) -> bool:
    """Return whether a function draws the same twice, whatever PyTorch's own seed is.

    It must seed a generator of its own each time: what else it draws is then found out.
    """
    found = []
    for seed in (1, 2):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            found.append(draw())
    return torch.equal(*found)


def demand_noise(draw: Callable[[torch.Generator], torch.Tensor]) -> None:
    """Demand noise from a generator alone: new with each call, a number each, and normal.

    ``draw`` returns at least 2,000 numbers that should be a multiple of standard normal ones.
    Raises :class:`~course_lib.checks.verdict.Wrong`.
    """
    source = torch.Generator()
    must(
        repeats(lambda: draw(source.manual_seed(1))),
        "the same generator gives other noise: draw all of it from the generator.",
    )
    source.manual_seed(1)
    first, second = draw(source), draw(source)
    must(
        not torch.equal(first, second),
        "a second call gives the same noise: take the generator as it is, without a seed.",
    )
    z = (first - first.mean()) / first.std()
    for axis, size in enumerate(z.shape):
        shared = (z.narrow(axis, 0, size - 1) * z.narrow(axis, 1, size - 1)).mean().abs()
        must(
            shared < 0.2,
            f"numbers along axis {axis} of {tuple(z.shape)} share their noise: every number "
            "needs its own.",
        )
    must((z**4).mean() > 2.4, "the noise is not normal: take randn, not uniform numbers.")
