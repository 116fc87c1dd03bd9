"""The sandbox: what a notebook can do to itself, and what it cannot do to anyone else."""

import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from nbformat import v4

import course_lib
from course_lib.assignments import sandbox
from course_lib.assignments.sandbox import Isolation, Limits

LIMITS = Limits(cell_seconds=3, seconds=60, gigabytes=1)


def notebook(*sources: str):
    metadata = {"kernelspec": {"name": "python3", "display_name": "", "language": "python"}}
    return v4.new_notebook(
        cells=[v4.new_code_cell(source) for source in sources], metadata=metadata
    )


def shown(outputs: list) -> str:
    """Return what a cell printed, or its error."""
    return "".join(o.get("text") or o.get("evalue") or "" for o in outputs).strip()


def run(*sources: str, isolation: Isolation, limits: Limits = LIMITS) -> tuple[list[str], str]:
    outputs, reason = sandbox.execute(notebook(*sources), limits=limits, isolation=isolation)
    return [shown(each) for each in outputs], reason


@pytest.fixture(params=(sandbox.strongest(), "none"))
def kind(request) -> str:
    """The strongest isolation that this system has, and none."""
    return request.param


@pytest.fixture
def server() -> Iterator[int]:
    """The port of a server on this machine that a notebook should not reach."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"reached")

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    found = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=found.serve_forever, daemon=True).start()
    yield found.server_port
    found.shutdown()


def test_each_cell_loses_only_itself(kind):
    said, reason = run(
        "x = 1",
        "while True: pass",
        "print(x)",
        "import os; os._exit(3)",
        "print(x + 1)",
        "import numpy; numpy.ones(10**9)",
        "print('a line')\nfor _ in range(10**4): print('spam' * 100)",
        "print('end')",
        isolation=Isolation(kind),
    )
    assert said[0] == ""
    assert said[1] == "it ran longer than 3 s"
    assert said[2] == "1"
    assert said[3] == "it took Python down: out of memory, or a crash"
    assert said[4] == "2"
    assert "allocate" in said[5]
    assert said[6].startswith("a line")
    assert said[6].endswith("[more output left out]")
    assert len(said[6]) < 250_000
    assert said[7] == "end"
    assert reason == (
        "cell 2 was stopped: it ran longer than 3 s; "
        "cell 4 was stopped: it took Python down: out of memory, or a crash"
    )


def test_what_is_hidden_is_out_of_sight_and_nothing_else_is_written(kind, tmp_path, server):
    secret, target = tmp_path / "exercises", tmp_path / "written"
    secret.mkdir()
    (secret / "vae.md").write_text("the solution")
    said, _ = run(
        f"from pathlib import Path\nprint(Path({str(secret / 'vae.md')!r}).exists())",
        f"Path({str(target)!r}).write_text('x')",
        "Path('here').write_text('x'); print(Path('here').exists())",
        "from urllib.request import urlopen\n"
        f"print(urlopen('http://127.0.0.1:{server}/', timeout=2).read())",
        "import os; print(os.environ.get('SECRET'))",
        isolation=Isolation(kind, (secret,)),
    )
    assert said[2] == "True"
    if kind == "bubblewrap":
        assert said[0] == "False"
        assert not target.exists()
    if kind != "none":
        assert "refused" in said[3]


def test_the_instructors_variables_are_not_passed_on(monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "s3cret")
    said, _ = run("import os; print('SECRET_TOKEN' in os.environ)", isolation=Isolation("none"))
    assert said == ["False"]


def test_the_whole_notebook_has_a_limit(kind):
    # Starting Python counts too, and may take ten seconds on a busy machine.
    said, reason = run(
        *["import time; time.sleep(4)"] * 6,
        isolation=Isolation(kind),
        limits=Limits(cell_seconds=20, seconds=18, gigabytes=1),
    )
    assert said[0] == ""
    assert said[-1] == "the time for the notebook was over"
    assert "nothing was run after cell" in reason


def test_what_a_notebook_started_ends_with_it(kind, tmp_path):
    mark = f"sleep-{tmp_path.name}"
    code = f"import subprocess; subprocess.Popen(['sh', '-c', 'sleep 600 # {mark}'])"
    run(code, isolation=Isolation(kind))
    running = [path for path in Path("/proc").glob("[0-9]*/cmdline") if mark.encode() in read(path)]
    assert not running


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_nothing_that_comes_back_is_said():
    class Dead(Isolation):
        def command(self, home):
            return ["false"]

    outputs, reason = sandbox.execute(notebook("1"), limits=LIMITS, isolation=Dead("none"))
    assert (outputs, reason) == (None, "the notebook could not be run: its process died")


def test_python_and_the_package_are_seen_wherever_they_lie():
    """Below the /tmp that a notebook gets instead of the real one, too."""
    options = sandbox.needed_below("/")
    for place in (Path(sys.prefix), Path(course_lib.__file__).parent):
        at = options.index(str(place))
        assert options[at - 1 : at + 2] == ["--ro-bind", str(place), str(place)]
    assert sandbox.needed_below("/nowhere") == []


def test_the_instructor_is_told_how_strong_it_is():
    words = [Isolation(kind).describe() for kind in sandbox.KINDS]
    assert "no network" in words[0]
    assert "install bubblewrap" in words[1]
    assert "only time and memory" in words[2]
