"""A class of invented students, each with a notebook that graders have seen."""

import json
from collections.abc import Callable
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from course_lib.assignments import handout
from course_lib.assignments.gradebook import students_copy
from course_lib.assignments.masters import Assignment

LOOP = "def bound(log_weights):\n    while True:\n        pass"
CRASH = "import os\n\ndef bound(log_weights):\n    os._exit(3)"
MEMORY = "def bound(log_weights):\n    return torch.ones(10**11).sum() + log_weights[0]"
NOISE = "def bound(log_weights):\n    while True:\n        print('spam' * 1000)"
STUBBORN = """\
import time

def bound(log_weights):
    while True:
        try:
            time.sleep(0.1)
        except BaseException:
            continue
"""
THIEF = """\
from pathlib import Path

def bound(log_weights):
    text = Path({master!r}).read_text()
    source = text.split("def bound(log_weights):")[1].split("### BEGIN SOLUTION")[1]
    names = {{"torch": torch, "math": math}}
    exec("def stolen(log_weights):\\n" + source.split("### END SOLUTION")[0], names)
    return names["stolen"](log_weights)
"""
CALLER = """\
import urllib.request

def bound(log_weights):
    urllib.request.urlopen("http://{address}/", timeout=3).read()
    return torch.logsumexp(log_weights, 0) - math.log(len(log_weights))
"""
BORROWER = """\
from course_lib.models.vae import kl_divergence
from torch.distributions import Normal

def bound(log_weights):
    return torch.logsumexp(log_weights, 0) - math.log(len(log_weights))
"""
WARNER = """\
import warnings

def bound(log_weights):
    warnings.warn("this is only a warning")
    return torch.logsumexp(log_weights, 0) - math.log(len(log_weights))
"""


def cell_of(notebook: NotebookNode, name: str) -> NotebookNode:
    """Return the cell with a grade_id."""
    return next(c for c in notebook.cells if c.metadata.nbgrader.grade_id == name)


def solved(assignment: Assignment, **answers: str) -> NotebookNode:
    """Return a student's copy with the reference solutions, some of them replaced."""
    notebook = students_copy(handout.instructors_notebook(assignment, seed=0))
    for cell in assignment.cells:
        name = cell.metadata.get("solution") or cell.metadata.get("derivation")
        if name:
            cell_of(notebook, name).source = answers.get(name, cell.source)
    return notebook


def write(notebook: NotebookNode, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)


def stripped(notebook: NotebookNode) -> NotebookNode:
    """Return a notebook as a host leaves it that keeps no foreign metadata and no ids."""
    for cell in notebook.cells:
        cell.metadata = {}
        cell.id = f"x{cell.id}"[:60]
    return notebook


def cheated(notebook: NotebookNode) -> NotebookNode:
    """Return a notebook whose visible tests pass everything."""
    for cell in notebook.cells:
        if cell.metadata.nbgrader.grade_id.endswith("-test"):
            cell.source = "assert True"
    return notebook


def with_own_cells(notebook: NotebookNode) -> NotebookNode:
    """Return a notebook to which cells were added, one of which raises."""
    for source in ("scratch = bound(torch.zeros(3))", "scratch.this_is_no_method()"):
        notebook.cells.insert(3, nbformat.v4.new_code_cell(source))
    return notebook


def from_an_older_release(notebook: NotebookNode) -> NotebookNode:
    """Return a notebook with given and graded cells that the master no longer has."""
    for name, grade in (("given-of-last-year", False), ("kl-test", True)):
        about = {"grade_id": name, "grade": grade, "locked": True, "solution": False}
        about |= {"schema_version": 3, "task": False} | ({"points": 5} if grade else {})
        cell = nbformat.v4.new_code_cell("assert True", metadata={"nbgrader": about})
        notebook.cells.insert(4, cell)
    notebook.metadata.course_lib.version = "0123456789ab"
    return notebook


def spoilt(notebook: NotebookNode) -> NotebookNode:
    """Return a notebook whose marks are not what a program expects."""
    cell_of(notebook, "bound").metadata["nbgrader"] = ["not", "a", "mark"]
    return notebook


def class_of_students(assignment: Assignment, folder: Path, address: str) -> None:
    """Write the submissions; ``address`` is a server that nobody should reach."""
    master = str(assignment.path.resolve())
    zero = "def bound(log_weights):\n    return 0.0 * log_weights[0]"
    written: dict[str, Callable[[], NotebookNode]] = {
        "01-right": lambda: solved(assignment),
        "02-stub": lambda: students_copy(handout.instructors_notebook(assignment, seed=0)),
        "03-wrong": lambda: solved(assignment, bound=zero),
        "04-no-proof": lambda: solved(assignment, proof="YOUR ANSWER HERE"),
        "05-loop": lambda: solved(assignment, bound=LOOP),
        "06-crash": lambda: solved(assignment, bound=CRASH),
        "07-memory": lambda: solved(assignment, bound=MEMORY),
        "08-noise": lambda: solved(assignment, bound=NOISE),
        "09-stubborn": lambda: solved(assignment, bound=STUBBORN),
        "10-syntax": lambda: solved(assignment, bound="def bound(log_weights)\n    return 0"),
        "11-cheat": lambda: cheated(solved(assignment, bound=zero)),
        "12-stripped": lambda: stripped(solved(assignment)),
        "13-thief": lambda: solved(assignment, bound=THIEF.format(master=master)),
        "14-caller": lambda: solved(assignment, bound=CALLER.format(address=address)),
        "15-borrower": lambda: solved(assignment, bound=BORROWER),
        "16-warner": lambda: solved(assignment, bound=WARNER),
        "21-own-cells": lambda: with_own_cells(solved(assignment)),
        "22-older": lambda: from_an_older_release(solved(assignment)),
        "23-spoilt": lambda: spoilt(solved(assignment)),
    }
    for student, make in written.items():
        write(make(), folder / student / assignment.name / f"{assignment.name}.ipynb")
    gone = solved(assignment)
    gone.cells = [c for c in gone.cells if c.metadata.nbgrader.grade_id != "bound-test"]
    write(gone, folder / f"17-gone_{assignment.name}.ipynb")
    (folder / "18-broken.ipynb").write_text(json.dumps(solved(assignment))[:2000])
    (folder / "19-pdf").mkdir()
    (folder / "19-pdf" / "answers.pdf").write_bytes(b"%PDF-1.4")
    other = solved(assignment)
    other.metadata.course_lib.assignment = "gan"
    write(other, folder / "20-other.ipynb")
