"""Random numbers that are the same on every device."""

import torch


def standard_normal(
    *shape: int, like: torch.Tensor, generator: torch.Generator | None
) -> torch.Tensor:
    """Draw from N(0, I) with the given shape, on the device and in the type of ``like``.

    They are drawn where the generator lives and then moved, so that a generator on the CPU
    gives the same numbers on every device; without one, on the device of ``like``.
    """
    device = generator.device if generator is not None else like.device
    return torch.randn(shape, generator=generator, device=device, dtype=like.dtype).to(like.device)
