"""Signals: noted, obeyed the second time, and sent to a real training process."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch

from course_lib.training.checkpoint import LOG, STATE
from course_lib.training.interruption import catch_signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_is_noted(number):
    before = signal.getsignal(number)
    with catch_signals() as interruption:
        assert not interruption.requested
        signal.raise_signal(number)
        assert interruption.requested
    assert signal.getsignal(number) is before


def test_second_ctrl_c_is_obeyed_and_handlers_are_given_back():
    before = signal.getsignal(signal.SIGINT)

    def press_twice():
        with catch_signals():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        press_twice()
    assert signal.getsignal(signal.SIGINT) is before


def test_second_sigterm_is_patient():
    with catch_signals() as interruption:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert interruption.requested


def test_outside_the_main_thread_nothing_changes():
    found = []

    def look():
        with catch_signals() as interruption:
            found.append((interruption.requested, signal.getsignal(signal.SIGINT)))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [(False, before)]


SAVE_SECONDS = 0.5


@pytest.fixture
def start(tmp_path, environment):
    """Start the same training command in a process of its own; kill what is left of it."""
    processes = []

    def run() -> subprocess.Popen:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "course_lib.cli", "train", "vae-2d", "--quiet"),
                *("--steps", "1000000", "--batch-size", "2", "--output", str(tmp_path)),
                *("--save-seconds", str(SAVE_SECONDS)),
            ],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield run
    for process in processes:
        process.kill()
        process.communicate()


def wait_for(condition, process, seconds=60):
    """Wait until the condition holds, and fail if the process ends before."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "nothing happened for a minute"
        time.sleep(0.02)


def saved_step(folder) -> int:
    return torch.load(folder / STATE, weights_only=True)["step"]


def log_steps(folder) -> list[int]:
    lines = (folder / LOG).read_text().splitlines(keepends=True)
    return [json.loads(line)["step"] for line in lines if line.endswith("\n")]


@pytest.mark.slow
def test_kill_loses_an_interval_at_most_and_ctrl_c_nothing(tmp_path, start):
    """One story in two processes: kill -9 amid training, resume, Ctrl-C."""
    state = tmp_path / STATE

    first = start()
    wait_for(state.exists, first)
    seen = state.stat().st_mtime
    wait_for(lambda: state.stat().st_mtime > seen, first)  # saved twice
    time.sleep(3 * SAVE_SECONDS)
    first.kill()
    killed = time.time()
    assert first.wait() == -signal.SIGKILL
    # Whatever was lost was done between the last save and the end.
    assert killed - state.stat().st_mtime < 2.5 * SAVE_SECONDS
    step, log = saved_step(tmp_path), log_steps(tmp_path)
    assert step > 0
    assert log, "no line was logged before the kill"

    second = start()
    wait_for(lambda: saved_step(tmp_path) != step, second)
    # A run begun anew would have saved a smaller step first: the other one saved twice.
    assert saved_step(tmp_path) > step
    os.kill(second.pid, signal.SIGINT)
    out, err = second.communicate(timeout=60)
    assert second.returncode == 130, err
    last = saved_step(tmp_path)
    assert last > step
    assert out == ""
    assert f"stopped after step {last:,} of 1,000,000; saved in {tmp_path}" in err
    assert "Run the same command again to go on from there." in err
    assert "Traceback" not in err
    assert log_steps(tmp_path) == list(range(50, last + 1, 50))
    assert not list(tmp_path.glob("*.tmp"))
    assert not list(tmp_path.glob("*.safetensors"))
