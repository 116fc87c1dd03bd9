"""What self-attention over all the codes of an image costs in memory.

Chapter: *Stable Diffusion upscaling*. The autoencoder of the published upscaler has an attention
in its middle, in which each code looks at every other: the reason why large images are decoded
in tiles.
"""

import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def attention_bytes(height: int, width: int, *, heads: int = 1, bytes_per_number: int = 4) -> int:
    """Return the bytes of the scores of attention over h x w codes: :eq:`latent-attention-memory`.

    They are one number for each head and each pair of codes. Plain attention holds two such
    arrays at its peak, the scores and their softmax.
    """
    return (height * width) ** 2 * heads * bytes_per_number


def measure_attention(side: int, *, fused: bool = False) -> int:
    """Return how many bytes an attention over side x side codes has allocated at its peak.

    It is diffusers' own layer as the middle of an ``AutoencoderKL`` has it, with one head, in
    float32 and with few channels, which the scores do not depend on. ``fused`` uses PyTorch's
    kernel, which never holds all the scores at once, where the device and the numbers allow it.
    """
    from diffusers.models.attention_processor import Attention, AttnProcessor, AttnProcessor2_0

    channels = 8
    layer = Attention(
        channels,
        heads=1,
        dim_head=channels,
        norm_num_groups=channels,
        residual_connection=True,
        processor=AttnProcessor2_0() if fused else AttnProcessor(),
    )
    codes = torch.zeros(1, channels, side, side)
    with torch.no_grad(), PeakMemory() as memory:
        layer(codes)
    return memory.peak


class PeakMemory(TorchDispatchMode):
    """Counts the bytes of the tensors that are made inside its ``with`` block.

    ``peak`` is the most that there was at once, ``largest`` the largest single one. What an
    operation needs inside itself is not seen.
    """

    def __init__(self):
        super().__init__()
        self.peak = self.largest = 0
        self._alive: dict[int, int] = {}

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        """Run an operation, and count what it returns unless that shares an input's memory."""
        given = {id(storage) for storage in _storages((args, kwargs))}
        result = operation(*args, **(kwargs or {}))
        for storage in _storages(result):
            key, size = id(storage), storage.nbytes()
            if key not in given and key not in self._alive:
                self._alive[key] = size
                weakref.finalize(storage, self._alive.pop, key)
                self.largest = max(self.largest, size)
        self.peak = max(self.peak, sum(self._alive.values()))
        return result


def _storages(tree: Any) -> list[torch.UntypedStorage]:
    return [t.untyped_storage() for t in tree_leaves(tree) if isinstance(t, torch.Tensor)]
