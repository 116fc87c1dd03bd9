"""Checkpoints that are whole or not there, refusals, and the log."""

import json
from dataclasses import dataclass

import pytest
import torch

from course_lib.training import checkpoint


def state(step: int, **settings) -> dict:
    return {"step": step, "weights": torch.arange(3.0), "settings": json.dumps(settings)}


def test_saved_state_comes_back(tmp_path):
    checkpoint.save(tmp_path / "deep" / "run", state(5, seed=1))
    loaded = checkpoint.load(tmp_path / "deep" / "run", {"seed": 1})
    assert loaded["step"] == 5
    assert torch.equal(loaded["weights"], torch.arange(3.0))


def test_no_state_means_a_new_run(tmp_path):
    assert checkpoint.load(tmp_path, {"seed": 1}) is None
    assert checkpoint.load(tmp_path / "not-there", {"seed": 1}) is None


def test_a_crash_while_saving_leaves_the_previous_state(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, state(5))

    def torn(value, path):
        path.write_bytes(b"half a file")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", torn)
    with pytest.raises(OSError, match="no space left"):
        checkpoint.save(tmp_path, state(6))
    assert checkpoint.load(tmp_path, {})["step"] == 5
    monkeypatch.undo()
    checkpoint.save(tmp_path, state(7))
    assert checkpoint.load(tmp_path, {})["step"] == 7
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.STATE]


def test_a_file_is_replaced_only_when_its_successor_is_whole(tmp_path):
    target = tmp_path / "file"
    target.write_text("old")

    def write(path):
        assert path != target
        assert path.parent == target.parent  # a rename is atomic on one file system only
        path.write_text("new")
        assert target.read_text() == "old"

    checkpoint.replace_atomically(target, write)
    assert target.read_text() == "new"


def test_other_settings_are_refused_and_named(tmp_path):
    checkpoint.save(tmp_path, state(5, seed=1, rate=0.1, old=True))
    with pytest.raises(ValueError, match="holds a run with other settings") as caught:
        checkpoint.load(tmp_path, {"seed": 2, "rate": 0.1, "new": "x"})
    message = str(caught.value)
    assert "seed was 1, now 2" in message
    assert "old was True, now None" in message
    assert "new was None, now 'x'" in message
    assert "rate" not in message
    assert str(tmp_path) in message
    assert "or another folder" in message


def test_pickled_code_is_not_executed(tmp_path):
    class Trap:
        def __reduce__(self):
            return (print, ("executed",))

    torch.save({"settings": "{}", "trap": Trap()}, tmp_path / checkpoint.STATE)
    with pytest.raises(Exception, match=r"weights_only|Weights only"):
        checkpoint.load(tmp_path, {})


def test_settings_are_merged_into_what_json_can_hold():
    @dataclass(frozen=True)
    class Config:
        channels: tuple[int, int] = (1, 2)
        rate: float = 0.1

    assert checkpoint.plain(Config(), {"data": "x"}) == {
        "channels": [1, 2],
        "rate": 0.1,
        "data": "x",
    }


def steps(folder) -> list[int]:
    lines = (folder / checkpoint.LOG).read_text().splitlines()
    return [json.loads(line)["step"] for line in lines]


def test_log_drops_lost_steps_and_a_torn_line(tmp_path):
    log = checkpoint.Log(tmp_path, 0)
    for step in (5, 10, 15, 20):
        log.write(step=step, loss=1.0 / step)
    with log.path.open("a") as file:
        file.write('{"step": 25, "lo')  # a crash amid a line
    resumed = checkpoint.Log(tmp_path, 10)
    assert steps(tmp_path) == [5, 10]
    resumed.write(step=15, loss=0.5)
    assert steps(tmp_path) == [5, 10, 15]
    assert json.loads(log.path.read_text().splitlines()[-1]) == {"step": 15, "loss": 0.5}


def test_a_new_run_starts_an_empty_log(tmp_path):
    checkpoint.Log(tmp_path, 0).write(step=1)
    checkpoint.Log(tmp_path, 0)
    assert steps(tmp_path) == []
