"""Reading the masters in ``exercises/``: one MyST file for each assignment.

A master is an ordinary MyST notebook. Its front matter names the chapter and the minutes
that a student needs; its cells say in their options what they are:

- a code cell with ``:solution: kl`` is where students write; what stands between
  ``### BEGIN SOLUTION`` and ``### END SOLUTION`` is taken out of their copy;
- a code cell with ``:test: kl`` and ``:points: 6`` is graded by running it; what stands
  between ``### BEGIN HIDDEN TESTS`` and ``### END HIDDEN TESTS`` is there only in grading,
  and ``INSTRUCTOR_SEED`` in it becomes a number that belongs to the class;
- a text cell begun by ``+++ {"derivation": "bound", "points": 8}`` is graded by a person;
- all other cells are given, and restored before grading.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import jupytext.myst
import yaml
from nbformat import NotebookNode, v4

from .errors import AssignmentError
from .references import References

FRONT_MATTER = re.compile(r"---\n(.*?)^---\n", re.S | re.M)
SEED = "INSTRUCTOR_SEED"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


@dataclass(frozen=True)
class Part:
    """One thing that earns points: a test cell, or a derivation that a person reads."""

    name: str
    points: int
    manual: bool


@dataclass(frozen=True)
class Assignment:
    """One master, read from ``path``; its name is the file's without the ending."""

    path: Path
    chapter: str
    minutes: int
    cells: tuple[NotebookNode, ...]

    @property
    def name(self) -> str:
        return self.path.stem

    @cached_property
    def title(self) -> str:
        """The first heading."""
        return re.search(r"^# +(.+)$", self.cells[0].source, re.M)[1]

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """What earns points, in the order of the cells."""
        return tuple(
            Part(grade_id(cell), cell.metadata["points"], cell.cell_type == "markdown")
            for cell in self.cells
            if "points" in cell.metadata
        )

    @property
    def points(self) -> int:
        return sum(part.points for part in self.parts)

    @cached_property
    def version(self) -> str:
        """A fingerprint of the master: students' copies carry it."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()[:12]

    def notebook(
        self, *, seed: int, first: list[NotebookNode], references: References
    ) -> NotebookNode:
        """Return the instructor's notebook with nbgrader's marks and all that is hidden.

        ``first`` are cells to stand before the others, ``references`` turns the roles of
        the text into links, and ``seed`` is the class's.
        """
        cells = []
        for number, cell in enumerate([*first, *self.cells]):
            made = {"markdown": v4.new_markdown_cell, "code": v4.new_code_cell}[cell.cell_type]
            source = cell.source.replace(SEED, str(derived(seed, grade_id(cell))))
            if cell.cell_type == "markdown":
                source = references.resolve(source, f"{self.path.name}")
            new = made(source)
            new.id = new_id = grade_id(cell) or f"given-{number:02d}"
            new.metadata = {"nbgrader": marks(cell, new_id)}
            cells.append(new)
        about = {"assignment": self.name, "version": self.version}
        return v4.new_notebook(cells=cells, metadata=METADATA | {"course_lib": about})


def grade_id(cell: NotebookNode) -> str | None:
    """Return the name by which the gradebook knows a cell; None for what is given.

    A solution and its test may have the same name in the master: the test's gets '-test'.
    """
    about = cell.metadata
    if "test" in about:
        return f"{about['test']}-test"
    return about.get("solution") or about.get("derivation")


def marks(cell: NotebookNode, name: str) -> dict:
    """Return nbgrader's metadata for a cell of a master."""
    about = cell.metadata
    manual, test = "derivation" in about, "test" in about
    solution = manual or "solution" in about
    found = {
        "grade": manual or test,
        "grade_id": name,
        "locked": not solution,
        "schema_version": 3,
        "solution": solution,
        "task": False,
    }
    return found | ({"points": about["points"]} if manual or test else {})


def derived(seed: int, name: str | None) -> int:
    """Return the seed of one cell: numbers of one task tell nothing about another's."""
    return int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:4], "big")


def read(path: Path) -> Assignment:
    """Read a master. Raises :class:`AssignmentError`, naming file and cell, where it is wrong."""
    text = path.read_text(encoding="utf-8")
    front = FRONT_MATTER.match(text)
    about = (yaml.safe_load(front[1]) if front else {}).get("assignment") or {}
    if about.keys() != {"chapter", "minutes"}:
        raise AssignmentError(f"{path}: 'assignment' must state 'chapter' and 'minutes'")
    cells = tuple(
        cell for cell in jupytext.myst.myst_to_notebook(text).cells if cell.source.strip()
    )
    assignment = Assignment(path, about["chapter"], about["minutes"], cells)
    complaints = list(problems(assignment))
    if complaints:
        raise AssignmentError("\n".join(f"{path}: {problem}" for problem in complaints))
    return assignment


def problems(assignment: Assignment):
    """Yield what is wrong with a master, in words."""
    if not assignment.cells or not assignment.cells[0].source.startswith("# "):
        yield "the first cell must begin with a title, '# ...'"
    seen = set()
    for cell in assignment.cells:
        about, source = cell.metadata, cell.source
        name = grade_id(cell)
        if name:
            if name in seen:
                yield f"two cells are called {name!r}"
            seen.add(name)
        solution = "solution" in about or "derivation" in about
        if solution != ("### BEGIN SOLUTION" in source):
            yield f"{name or source[:40]!r}: solutions need '### BEGIN SOLUTION', others have none"
        if "### BEGIN HIDDEN TESTS" in source and "test" not in about:
            yield f"{name or source[:40]!r}: hidden tests stand in test cells only"
        if ("test" in about or "derivation" in about) != ("points" in about):
            yield f"{name or source[:40]!r}: tests and derivations have points, others have none"
    if not any("test" in cell.metadata for cell in assignment.cells):
        yield "no cell is graded"


def find(folder: Path) -> dict[str, Assignment]:
    """Read all masters of a folder, sorted by the chapters' names.

    Raises :class:`AssignmentError` where the folder holds none.
    """
    paths = sorted(folder.glob("[a-z]*.md")) if folder.is_dir() else []
    if not paths:
        raise AssignmentError(
            f"there are no masters in {folder}: run the command in a clone of the course, "
            "or name the folder with --masters"
        )
    return {path.stem: read(path) for path in paths}
