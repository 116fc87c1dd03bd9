"""Ctrl-C that loses nothing."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


class Interrupted(Exception):
    """Training was stopped by the user after ``step`` of ``steps``; its state is saved."""

    def __init__(self, step: int, steps: int, folder: Path | None):
        self.step, self.steps, self.folder = step, steps, folder
        kept = f"saved in {folder}" if folder else "not saved, for no folder was given"
        super().__init__(f"stopped after step {step:,} of {steps:,}; {kept}")


@dataclass
class Interruption:
    """Whether a signal has asked the loop to stop."""

    requested: bool = False


@contextmanager
def catch_signals() -> Iterator[Interruption]:
    """Note SIGINT and SIGTERM instead of dying amid a step; a second SIGINT is obeyed.

    Outside the main thread, where Python lets no one handle signals, nothing changes.
    """
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return

    def note(number: int, frame) -> None:
        if interruption.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        interruption.requested = True

    previous = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interruption
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
