"""The report: means over windows that are aligned to the step number."""

import json

import pytest
import torch

from course_lib.training.checkpoint import LOG, Log
from course_lib.training.progress import Report, progress_bar


def test_losses_are_averaged_between_two_lines(tmp_path):
    lines = []
    report = Report(None, Log(tmp_path, 0), lines.append, every=3)
    for step in range(1, 8):
        logs = {"loss": torch.tensor(float(step)), "kl": torch.tensor(2.0 * step)}
        report.step(step, logs, 0.1 * step)
    assert [line["step"] for line in lines] == [3, 6]
    assert [line["loss"] for line in lines] == [2.0, 5.0]
    assert [line["kl"] for line in lines] == [4.0, 10.0]
    assert lines[1]["learning_rate"] == pytest.approx(0.6)
    assert [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()] == lines


def test_windows_do_not_move_when_a_run_is_resumed():
    lines = []
    report = Report(None, None, lines.append, every=5)
    for step in range(9, 17):  # resumed after step 8
        report.step(step, {"loss": torch.tensor(1.0)}, 0.1)
    assert [line["step"] for line in lines] == [10, 15]


def test_bar_shows_step_and_loss(capsys):
    with progress_bar(10, 4, True) as bar:
        report = Report(bar, None, None, every=5)
        report.step(5, {"loss": torch.tensor(3.25)}, 0.1)
        task = bar.progress.tasks[0]
        assert (task.completed, task.total, task.fields["loss"]) == (5, 10, "loss 3.25")
        report.step(6, {"loss": torch.tensor(3.0)}, 0.1)
        assert bar.progress.tasks[0].completed == 6
    assert "3.25" in capsys.readouterr().out


def test_quiet_means_no_bar(capsys):
    with progress_bar(10, 0, False) as bar:
        assert bar is None
    assert capsys.readouterr().out == ""
