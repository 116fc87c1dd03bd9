"""What runs inside the sandbox: execute one notebook, and say how each cell ended.

    python -m course_lib.assignments.runner < request.json > result.json

The request holds the notebook and the limits. Nothing is trusted that comes from here but
the cells' outputs; the sources and the points stay with the caller, see ``grading``. A cell
that runs too long or takes its kernel down loses only itself: the kernel is started again and
the cells before it are repeated, without those that are graded.
"""

import json
import os
import resource
import sys
import time

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import v4

RESTARTS = 4
GIVEN_SECONDS = 60.0  # for cells that are no student's: importing takes long on a busy machine


class Client(NotebookClient):
    """Keeps of each cell's outputs only the first ``largest`` characters."""

    largest = 100_000

    def output(self, outs, msg, display_id, cell_index):
        """Add a message of the kernel's to a cell's outputs; nbclient calls this."""
        left = self.largest - self.spent.get(cell_index, 0)
        size = len(json.dumps(msg["content"], default=str))
        self.spent[cell_index] = self.spent.get(cell_index, 0) + size
        if left <= 0 and msg["msg_type"] != "error":
            return None
        if size > left and msg["msg_type"] == "stream":
            msg["content"]["text"] = msg["content"]["text"][:left] + "\n[more output left out]\n"
        return super().output(outs, msg, display_id, cell_index)


def failure(name: str, message: str):
    """Return the output of a cell that could not be run to its end."""
    return v4.new_output("error", ename=name, evalue=message, traceback=[f"{name}: {message}"])


def execute(notebook, *, cell_seconds: float, seconds: float) -> str | None:
    """Execute all code cells in place; return a reason where not every cell was run.

    A student's cell and a graded one get ``cell_seconds``, all together get ``seconds``.
    """
    end = time.monotonic() + seconds
    code = [k for k, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    for k in code:
        notebook.cells[k].outputs = []
    lost, start, reasons = set(), 0, []
    for _ in range(RESTARTS + 1):
        client = Client(notebook, allow_errors=True, timeout=1, startup_timeout=60)
        client.spent = {}
        try:
            with client.setup_kernel():
                for k in code:
                    left = end - time.monotonic()
                    if left <= 0:
                        raise TimeoutError
                    if k in lost or (k < start and is_graded(notebook.cells[k])):
                        continue
                    longest = cell_seconds if is_students(notebook.cells[k]) else GIVEN_SECONDS
                    current, client.timeout = k, max(1, int(min(longest, left)))
                    client.execute_cell(notebook.cells[k], k)
            return "; ".join(reasons) or None
        except CellTimeoutError:
            reason = f"it ran longer than {client.timeout} s"
        except (DeadKernelError, CellExecutionError, RuntimeError):
            reason = "it took Python down: out of memory, or a crash"
        except TimeoutError:
            break
        reasons.append(f"{called(notebook, current)} was stopped: {reason}")
        notebook.cells[current].outputs = [failure("Stopped", reason)]
        lost.add(current)
        start = current + 1
    for k in code:
        if k >= start:
            notebook.cells[k].outputs = [failure("NotRun", "the time for the notebook was over")]
    return "; ".join([*reasons, f"nothing was run after cell {start}"])


def called(notebook, k: int) -> str:
    """Return the name of a cell for the reader: the graded ones have one."""
    return notebook.cells[k].metadata.get("nbgrader", {}).get("grade_id") or f"cell {k + 1}"


def is_students(cell) -> bool:
    """Return whether a cell's code, or what it runs, is a student's."""
    about = cell.metadata.get("nbgrader", {})
    return bool(about.get("grade")) or not about.get("locked")


def is_graded(cell) -> bool:
    """Return whether a cell earns points."""
    return bool(cell.metadata.get("nbgrader", {}).get("grade"))


def limit_memory(gigabytes: float) -> None:
    """Bound what a process may allocate, and the size of files; for children as well."""
    for kind, size in ((resource.RLIMIT_DATA, gigabytes * 1e9), (resource.RLIMIT_FSIZE, 1e8)):
        hard = resource.getrlimit(kind)[1]
        size = int(size) if hard == resource.RLIM_INFINITY else min(int(size), hard)
        resource.setrlimit(kind, (size, size))


def raise_loopback() -> None:
    """Start the loopback device of a network of its own: Jupyter speaks to its kernel there."""
    import fcntl
    import socket
    import struct

    get_flags, set_flags, up = 0x8913, 0x8914, 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16sH14x", fcntl.ioctl(control, get_flags, request))[1]
        fcntl.ioctl(control, set_flags, struct.pack("16sH14x", b"lo", flags | up))


def main() -> None:
    """Read a request from standard input and write the result to standard output."""
    request = json.load(sys.stdin)
    # The kernel inherits descriptors 1 and 2: what it writes there must not reach the result.
    result = os.fdopen(os.dup(1), "w", encoding="utf-8")
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    if request["own_network"]:
        raise_loopback()
    limit_memory(request["gigabytes"])
    notebook = nbformat.from_dict(request["notebook"])
    reason = execute(notebook, cell_seconds=request["cell_seconds"], seconds=request["seconds"])
    outputs = [cell.get("outputs") for cell in notebook.cells]
    json.dump({"outputs": outputs, "reason": reason}, result)
    result.close()


if __name__ == "__main__":
    main()
