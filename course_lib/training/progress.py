"""What is seen of a training run: a bar, a log, a live plot."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from .checkpoint import Log


class Bar:
    """A progress bar with the loss beside it."""

    def __init__(self, progress: Progress, steps: int, done: int):
        self.progress = progress
        self.task = progress.add_task("training", total=steps, completed=done, loss="")

    def update(self, step: int, loss: float | None = None) -> None:
        """Move to ``step`` and, where one is given, show a loss."""
        fields = {} if loss is None else {"loss": f"loss {loss:.4g}"}
        self.progress.update(self.task, completed=step, **fields)


@contextmanager
def progress_bar(steps: int, done: int, show: bool) -> Iterator[Bar | None]:
    """Show a bar with the loss and the time left, or nothing."""
    if not show:
        yield None
        return
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[loss]}"),
        TimeRemainingColumn(),
    ) as progress:
        yield Bar(progress, steps, done)


class Report:
    """Averages the losses between two logged steps and passes them on."""

    def __init__(
        self,
        bar: Bar | None,
        log: Log | None,
        on_log: Callable[[dict[str, float]], None] | None,
        every: int,
        mean_over_processes: Callable[[torch.Tensor], torch.Tensor] = lambda value: value,
    ):
        self.bar, self.log, self.on_log, self.every = bar, log, on_log, every
        self.mean_over_processes = mean_over_processes
        self.sums: dict[str, torch.Tensor] = {}
        self.count = 0

    def step(self, step: int, logs: dict[str, torch.Tensor], rate: float) -> None:
        """Take in one step; at every ``every``-th step, report the means since the last.

        The windows are aligned to the step number, not to where the run was resumed.
        """
        for name, value in logs.items():
            self.sums[name] = self.sums.get(name, 0) + value
        self.count += 1
        if step % self.every:
            if self.bar:
                self.bar.update(step)
            return
        means = {
            name: float(self.mean_over_processes(total)) / self.count
            for name, total in self.sums.items()
        }
        line = {"step": step, **means, "learning_rate": rate}
        self.sums, self.count = {}, 0
        if self.bar:
            self.bar.update(step, means["loss"])
        if self.log:
            self.log.write(**line)
        if self.on_log:
            self.on_log(line)
