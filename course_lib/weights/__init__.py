"""The shipped models: found by name, checked, described by a card."""

from .store import (
    WeightsError,
    amend,
    build,
    card,
    config_of,
    folder,
    load,
    names,
    publish,
    rounded,
    there,
)

__all__ = [
    "WeightsError",
    "amend",
    "build",
    "card",
    "config_of",
    "folder",
    "load",
    "names",
    "publish",
    "rounded",
    "there",
]
