"""Checkpoints that are whole or not there, and a log that agrees with them."""

import json
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import torch

from ..files import replace_atomically
from .errors import SettingsError

STATE, LOG = "checkpoint.pt", "log.jsonl"


def save(folder: Path, state: dict[str, Any]) -> None:
    """Write the training state; a crash at any moment leaves the previous one intact."""
    folder.mkdir(parents=True, exist_ok=True)
    replace_atomically(folder / STATE, lambda path: torch.save(state, path))


def load(folder: Path, settings: dict[str, Any]) -> dict[str, Any] | None:
    """Return the saved state of a run with the same settings, or ``None`` for a new one.

    Raises ``SettingsError`` where the folder holds a run with other settings, naming them:
    going on with it would give a model that no single command produces.
    """
    if not (folder / STATE).exists():
        return None
    # Wherever it was saved; accelerate and load_state_dict move it to where it is needed.
    state = torch.load(folder / STATE, weights_only=True, map_location="cpu")
    saved = json.loads(state["settings"])
    differing = [
        f"{key} was {saved.get(key)!r}, now {settings.get(key)!r}"
        for key in sorted(saved.keys() | settings.keys())
        if saved.get(key) != settings.get(key)
    ]
    if differing:
        raise SettingsError(
            f"{folder} holds a run with other settings ({'; '.join(differing)}). "
            "Give the same settings to resume it, or another folder."
        )
    return state


def plain(*configs: Any) -> dict[str, Any]:
    """Return dataclasses or dictionaries merged into one that JSON can hold."""
    merged: dict[str, Any] = {}
    for config in configs:
        merged |= asdict(config) if is_dataclass(config) else dict(config)
    return json.loads(json.dumps(merged))


class Log:
    """A file of JSON lines, one for every logged step."""

    def __init__(self, folder: Path, step: int):
        """Open the log for a run at ``step``; lines past it, of lost steps, are dropped."""
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / LOG
        lines = self.path.read_text().splitlines(keepends=True) if self.path.exists() else []
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
        replace_atomically(self.path, lambda path: path.write_text("".join(kept)))

    def write(self, **values: float) -> None:
        """Append one line."""
        with self.path.open("a") as file:
            file.write(json.dumps(values) + "\n")
