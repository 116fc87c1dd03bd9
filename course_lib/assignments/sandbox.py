"""Running a student's notebook apart from everything else.

What the system allows is used, and ``Isolation.describe`` says what that is: bubblewrap
(Debian's package 'bubblewrap') gives a notebook a file system that it can only read, without
the folders with solutions and other students' work, an empty /tmp, and no network;
``unshare`` gives it no network; without both there are limits of time and memory alone.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from nbformat import NotebookNode

KINDS = ("bubblewrap", "unshare", "none")


@dataclass(frozen=True)
class Limits:
    """Seconds for one cell and for the whole notebook, and gigabytes of memory."""

    cell_seconds: float = 30.0
    seconds: float = 300.0
    gigabytes: float = 4.0


@dataclass(frozen=True)
class Isolation:
    """``kind`` is one of ``KINDS``; ``hidden`` are folders that a notebook must not see."""

    kind: str
    hidden: tuple[Path, ...] = ()

    def describe(self) -> str:
        """Return a sentence for the instructor."""
        return {
            "bubblewrap": "no network, files read-only, solutions out of sight (bubblewrap)",
            "unshare": "no network (unshare); install bubblewrap to close the file system too",
            "none": "only time and memory are limited: neither bubblewrap nor unshare works here",
        }[self.kind]

    def command(self, home: Path) -> list[str]:
        """Return what stands before the command of a notebook that may write to ``home``."""
        if self.kind == "bubblewrap":
            hide = [part for folder in self.hidden for part in ("--tmpfs", str(folder))]
            return [
                *("bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"),
                *("--tmpfs", "/tmp", *needed_below("/tmp"), *hide),
                *("--bind", str(home), str(home)),
                *("--unshare-all", "--die-with-parent", "--new-session", "--chdir", str(home)),
            ]
        if self.kind == "unshare":
            options = ("--user", "--map-root-user", "--net", "--pid", "--fork", "--kill-child")
            return ["unshare", *options]
        return []


def needed_below(folder: str) -> list[str]:
    """Return bubblewrap's options that bring back Python and the package from below a folder."""
    places = {Path(sys.prefix), Path(sys.base_prefix), Path(__file__).parents[1]}
    return [
        part
        for place in sorted(places)
        if place.is_relative_to(folder)
        for part in ("--ro-bind", str(place), str(place))
    ]


@cache
def strongest() -> str:
    """Return the strongest kind of isolation in which Python and the package can be run."""
    for kind in KINDS[:-1]:
        with tempfile.TemporaryDirectory() as home:
            python = [sys.executable, "-c", "import course_lib"]
            command = [*Isolation(kind).command(Path(home)), *python]
            if (
                shutil.which(command[0])
                and not subprocess.run(command, capture_output=True).returncode
            ):
                return kind
    return "none"


def isolate(hidden: Iterable[Path]) -> Isolation:
    """Return the strongest isolation, with these folders out of a notebook's sight."""
    return Isolation(strongest(), tuple(folder.resolve() for folder in hidden if folder.is_dir()))


def execute(
    notebook: NotebookNode, *, limits: Limits, isolation: Isolation
) -> tuple[list | None, str | None]:
    """Run a notebook in a process of its own.

    Returns the outputs of each cell (None where nothing came back at all) and, where not
    everything was run, the reason. The notebook itself is not changed.
    """
    request = {
        "notebook": notebook,
        "own_network": isolation.kind == "unshare",
        "gigabytes": limits.gigabytes,
        "cell_seconds": limits.cell_seconds,
        "seconds": limits.seconds,
    }
    with tempfile.TemporaryDirectory(prefix="notebook-") as home:
        process = subprocess.Popen(
            [*isolation.command(Path(home)), sys.executable, "-m", f"{__package__}.runner"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=home,
            env=environment(Path(home)),
            start_new_session=True,
        )
        try:
            # Starting kernels again takes time beyond the limit, but not without end.
            answer, _ = process.communicate(
                json.dumps(request).encode(), timeout=limits.seconds + 120
            )
            result = json.loads(answer)
        except subprocess.TimeoutExpired:
            return None, f"the notebook did not end within {limits.seconds:.0f} s"
        except json.JSONDecodeError:
            return None, "the notebook could not be run: its process died"
        finally:
            # Whatever the notebook has started goes with it.
            with_group(process.pid)
            process.wait()
    return result["outputs"], result["reason"]


def with_group(leader: int) -> None:
    """End a process and all of its group; it may have ended already."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return


def environment(home: Path) -> dict[str, str]:
    """Return the variables that a notebook sees: none of the instructor's own."""
    kept = ("PATH", "LANG", "LC_ALL", "VIRTUAL_ENV", "PYTHONPATH", "LD_LIBRARY_PATH")
    return {name: os.environ[name] for name in kept if name in os.environ} | {
        "HOME": str(home),
        "TMPDIR": str(home),
        "IPYTHONDIR": str(home / ".ipython"),
        "JUPYTER_RUNTIME_DIR": str(home / ".jupyter"),
        "MPLBACKEND": "agg",
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "NBGRADER_EXECUTION": "autograde",
    }
