"""Random numbers that are the same on every device, and seeds made of several numbers."""

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


def seeded(*numbers: int) -> torch.Generator:
    """Return a generator whose seed is a mix of the given numbers."""
    mixed = 0
    for number in numbers:  # an odd multiplier: no two steps or ranks share a stream
        mixed = (mixed * 6_364_136_223_846_793_005 + number + 1_442_695_040_888_963_407) % 2**63
    return torch.Generator().manual_seed(mixed)
