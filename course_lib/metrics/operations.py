"""Counting arithmetic, so that models can be given equal budgets."""

from collections.abc import Callable
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class _Counter(TorchDispatchMode):
    """Adds up what PyTorch's own registry says of every operation, forwards and backwards.

    PyTorch's ``FlopCounterMode`` also follows modules by hooks, which a gradient within a
    loss, as in a gradient penalty, does not allow.
    """

    def __init__(self):
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if operation.overloadpacket not in flop_registry:
            with self:  # in inference mode convolutions arrive whole: look into them
                result = operation.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        result = operation(*args, **kwargs)
        if count := flop_registry.get(operation.overloadpacket):
            self.total += count(*args, **kwargs, out_val=result)
        return result


def count_operations(function: Callable[[], Any]) -> int:
    """Call ``function`` and return the floating-point operations that it took.

    Counted are convolutions and matrix products, a multiplication and an addition as two;
    all else is small beside them. Backward passes within the call are counted too.
    """
    with _Counter() as counter:
        function()
    return counter.total
