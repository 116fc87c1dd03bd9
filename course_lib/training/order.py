"""Which images are seen at which step, and with which random numbers.

Both are pure functions of the seed and the step. So a resumed run needs no stored state
of any random generator to continue as if it had never stopped.
"""

import torch

from ..noise import seeded
from .errors import SettingsError


def batch_indices(
    step: int, *, size: int, batch_size: int, seed: int, rank: int = 0, world: int = 1
) -> torch.Tensor:
    """Return the indices of the examples that process ``rank`` sees at ``step``.

    Every epoch is a fresh permutation of ``size`` examples, cut into whole batches of
    ``batch_size`` (the few left over sit the epoch out); each batch is shared among the
    ``world`` processes. Raises ``SettingsError`` where no whole batch, or no equal share,
    is possible.
    """
    if batch_size > size:
        raise SettingsError(f"batch_size {batch_size} is larger than the {size} examples")
    if batch_size % world:
        raise SettingsError(f"batch_size {batch_size} cannot be shared by {world} processes")
    steps_per_epoch = size // batch_size
    epoch, position = divmod(step, steps_per_epoch)
    order = torch.randperm(size, generator=seeded(seed, epoch, 0))
    batch = order[position * batch_size : (position + 1) * batch_size]
    return batch[rank::world]


def step_generator(step: int, *, seed: int, rank: int = 0) -> torch.Generator:
    """Return the generator for all that is random in one process at one step."""
    return seeded(seed, step, rank + 1)
