"""What a check finds, and the comparisons that checks are made of."""

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from numbers import Real
from pathlib import Path
from typing import Any

import torch

NOT_THE_STUDENTS = (str(Path(__file__).parent), str(Path(torch.__file__).parent))


class Wrong(AssertionError):
    """An answer is not right; the message says what is wrong with it."""


@dataclass(frozen=True)
class Verdict:
    """Whether an answer passed a check, and if not, why; true where it passed."""

    name: str
    right: bool
    message: str

    def __bool__(self) -> bool:
        return self.right

    def _ipython_display_(self) -> None:
        """Show nothing more at the end of a cell: ``check`` has printed it."""

    def __repr__(self) -> str:
        return f"{'✓' if self.right else '✗'} {self.name}: {self.message}"


def examine(name: str, check: Callable[[Any], None], answer: Any) -> Verdict:
    """Run a check on an answer, and turn everything that is raised into a verdict."""
    try:
        check(guarded(answer) if callable(answer) else answer)
    except Wrong as wrong:
        return Verdict(name, False, str(wrong))
    except NotImplementedError:
        return Verdict(name, False, "nothing here yet: replace the raise by your code.")
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if not frame.filename.startswith(NOT_THE_STUDENTS)]
        if not own:
            return Verdict(name, False, f"what was returned cannot be used ({said}).")
        place = own[-1].line or own[-1].name
        return Verdict(name, False, f"your code raised {said} (line {own[-1].lineno}: {place})")
    return Verdict(name, True, "right.")


def guarded(answer: Callable) -> Callable:
    """Return the function, made to raise :class:`Wrong` where it changes a tensor it is given."""

    @wraps(answer)
    def call(*arguments: Any) -> Any:
        before = [each.clone() if isinstance(each, torch.Tensor) else each for each in arguments]
        found = answer(*arguments)
        for number, (given, kept) in enumerate(zip(arguments, before, strict=True), start=1):
            must(
                not isinstance(given, torch.Tensor) or torch.equal(given, kept),
                f"your function changes its argument number {number}; work on a copy.",
            )
        return found

    return call


def must(condition: Any, message: str) -> None:
    """Raise :class:`Wrong` with the message unless the condition holds."""
    if not condition:
        raise Wrong(message)


def agree(
    got: Any,
    wanted: torch.Tensor | float,
    what: str,
    *,
    tolerance: float = 1e-4,
    mistakes: Mapping[str, torch.Tensor | float] | None = None,
) -> None:
    """Compare what was computed with what is right, and say how it differs.

    ``what`` names the result in a sentence, such as 'the divergence'. ``mistakes`` gives
    for each explanation the value that the mistake leads to: where the result is that
    value, the explanation is the message. ``tolerance`` is absolute for numbers up to 1
    and relative above. Raises :class:`Wrong`.
    """
    wanted = torch.as_tensor(wanted)
    must(got is not None, f"{what} is None; is a return missing?")
    must(
        isinstance(got, torch.Tensor | Real) and not isinstance(got, bool),
        f"{what} is of type {type(got).__name__}, but should be a "
        f"{'tensor' if wanted.ndim else 'number or a tensor without axes'}.",
    )
    if isinstance(got, torch.Tensor):
        got = got.detach()
    got = torch.as_tensor(got)
    for explanation, value in (mistakes or {}).items():
        value = torch.as_tensor(value)
        if got.shape == value.shape and close(got, value, tolerance):
            if value.shape == wanted.shape and close(value, wanted, tolerance):
                continue  # these numbers do not tell the mistake from the right result
            raise Wrong(explanation)
    must(
        got.shape == wanted.shape,
        f"{what} has shape {tuple(got.shape)}, but should have {tuple(wanted.shape)}.",
    )
    must(not got.is_complex(), f"{what} is complex.")
    must(got.double().isfinite().all(), f"{what} is not finite: it contains inf or nan.")
    if not close(got, wanted, tolerance):
        difference = (got.double() - wanted.double()).abs()
        worst = int(difference.flatten().argmax())
        place = tuple(int(k) for k in torch.unravel_index(torch.tensor(worst), wanted.shape))
        raise Wrong(
            f"{what} is {got.flatten()[worst]:.5g}{f' at {list(place)}' if place else ''}, "
            f"but should be {wanted.flatten()[worst]:.5g}."
        )


def close(a: torch.Tensor, b: torch.Tensor, tolerance: float = 1e-4) -> bool:
    """Return whether two tensors of one shape agree up to the tolerance."""
    return bool(
        a.shape == b.shape
        and torch.allclose(a.double(), b.double(), rtol=tolerance, atol=tolerance)
    )
