"""The shipped models: found by name, checked, described by a card."""

from .store import WeightsError, build, card, config_of, folder, load, names, publish, rounded

__all__ = [
    "WeightsError",
    "build",
    "card",
    "config_of",
    "folder",
    "load",
    "names",
    "publish",
    "rounded",
]
