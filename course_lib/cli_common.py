"""What the commands of the command line share: where they write, and what they refuse."""

import json
import math
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

LARGEST_SEED = 2**63 - 1

Force = Annotated[bool, typer.Option("--force", help="Overwrite existing files.")]
Images = Annotated[Path, typer.Option("--images", help="A folder of original images.")]
JsonFile = Annotated[
    Path | None, typer.Option("--json", help="A file for all numbers and how they came about.")
]

out = Console()
err = Console(stderr=True)


class Problem(Exception):
    """Something that the user can mend; shown as one line, without a traceback."""


def say(console: Console, text: str, style: str = "") -> None:
    """Print text as it is: brackets in a path are no markup, and lines are not broken."""
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def split_names(given: Sequence[str] | None, known: Sequence[str]) -> list[str]:
    """Return names that were given with commas or one by one, each once."""
    names = [name.strip() for text in given or known for name in text.split(",")]
    return list(dict.fromkeys(name for name in names if name))


def check_writable(path: Path, force: bool) -> None:
    """Raise :class:`Problem` where no file can be written, or one would be lost unasked."""
    if not path.parent.is_dir():
        raise Problem(f"the folder {path.parent} does not exist")
    if path.is_dir():
        raise Problem(f"{path} is a folder")
    if path.exists() and not force:
        raise Problem(f"{path} exists already; --force overwrites it")


def origin() -> dict[str, str]:
    """Return when, where and by what command numbers came about, to be kept beside them."""
    import torch

    from .bench import machine

    return {
        "command": shlex.join(["course-lib", *sys.argv[1:]]),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "torch": torch.__version__,
    }


def write_json(path: Path, content: Any) -> None:
    """Write numbers to a file and say so; JSON knows no infinity, so such are ``null``."""
    from .files import replace_atomically

    text = json.dumps(finite(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    replace_atomically(path, lambda file: file.write_text(text, encoding="utf-8"))
    say(out, f"the numbers are in {path}")


def finite(content: Any) -> Any:
    """Return the content with ``None`` for every number that is infinite or none."""
    if isinstance(content, dict):
        return {key: finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
