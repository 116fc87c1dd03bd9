"""Trying a master without Jupyter: what does this or that solution earn?

The cells run in this process, one after another, and a test cell earns its points if it
raises nothing, which is nbgrader's rule. So an assignment and its wrong answers are held to
their promises in seconds. Submissions are never run like this: see ``sandbox``.
"""

import contextlib
import io
import linecache
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import jupytext.myst

from .errors import AssignmentError
from .masters import SEED, Assignment, derived, grade_id

SOLUTION = re.compile(r"^( *)### BEGIN SOLUTION\n.*?^ *### END SOLUTION$", re.S | re.M)
HEADING = re.compile(r"^## +(.+)$", re.M)


@dataclass(frozen=True)
class Answer:
    """What may stand in a task's cell: a plausible mistake and the points it loses, or none."""

    title: str
    task: str
    code: str
    loses: Mapping[str, int] = field(default_factory=dict)


def stub(source: str) -> str:
    """Return a solution cell as students get it."""
    return SOLUTION.sub(r"\1# YOUR CODE HERE\n\1raise NotImplementedError()", source)


def earned(
    assignment: Assignment,
    answers: Mapping[str, str] | None = None,
    *,
    seed: int = 0,
    stubs: bool = False,
    hidden_only: bool = False,
) -> dict[str, int]:
    """Return the points that every test cell gives.

    ``answers`` are sources for some of the solution cells; the others keep the reference
    solution, or with ``stubs`` nothing. With ``hidden_only`` the visible check passes
    everything, as where a student has redefined it. Raises what a given cell raises.
    """
    answers = answers or {}
    unknown = answers.keys() - {cell.metadata.get("solution") for cell in assignment.cells}
    if unknown:
        raise AssignmentError(f"{assignment.name} has no task {', '.join(sorted(unknown))}")
    names: dict = {"__name__": "__main__"}
    points = {}
    for number, cell in enumerate(assignment.cells):
        if cell.cell_type != "code":
            continue
        task, source = cell.metadata.get("solution"), cell.source
        if task:
            source = answers.get(task, stub(source) if stubs else source)
        name = grade_id(cell)
        source = source.replace(SEED, str(derived(seed, name)))
        graded = "test" in cell.metadata
        file = f"<{assignment.name}, cell {number}>"
        linecache.cache[file] = (len(source), None, source.splitlines(True), file)
        if hidden_only and graded:
            names["check"] = lambda name, answer: True
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(source, file, "exec"), names)
        except Exception:
            if not graded and not (task and (stubs or task in answers)):
                raise
            if graded:
                points[name] = 0
        else:
            if graded:
                points[name] = cell.metadata["points"]
    return points


def full(assignment: Assignment) -> dict[str, int]:
    """Return the points of every test cell."""
    return {part.name: part.points for part in assignment.parts if not part.manual}


def read_answers(assignment: Assignment, kind: str) -> list[Answer]:
    """Read the 'wrong' answers to an assignment, or other 'right' ones, beside the masters.

    Each has a heading ``##`` that says what is wrong, or another way, and a code cell with
    ``:task: kl``; a wrong one has ``:loses: {kl-test: 6}`` as well. Raises
    :class:`AssignmentError` where one of these is missing.
    """
    path = assignment.path.parent / kind / assignment.path.name
    if kind == "right" and not path.is_file():
        return []
    needed = {"task", "loses"} if kind == "wrong" else {"task"}
    found, title = [], ""
    for cell in jupytext.myst.myst_to_notebook(path.read_text(encoding="utf-8")).cells:
        if cell.cell_type == "markdown":
            heading = HEADING.search(cell.source)
            title = heading[1] if heading else title
        elif needed <= cell.metadata.keys():
            about = cell.metadata
            found.append(Answer(title, about["task"], cell.source, about.get("loses", {})))
        else:
            lacks = " or ".join(f":{name}:" for name in sorted(needed, reverse=True))
            raise AssignmentError(f"{path}: under {title!r} a cell lacks {lacks}")
    return found


def complaints(assignment: Assignment, *, seed: int = 0) -> list[str]:
    """Return, in words, every promise that an assignment does not keep.

    The reference solution and other right answers must earn all points, the stub none, and
    every wrong answer must lose exactly what its file says, by the hidden tests alone as well.
    """
    everything, found = full(assignment), []

    def compare(what: str, got: Mapping[str, int], wanted: Mapping[str, int]) -> None:
        found.extend(
            f"{what}: {part} earns {got[part]} of {everything[part]} points, not {wanted[part]}"
            for part in everything
            if got[part] != wanted[part]
        )

    compare("the solution", earned(assignment, seed=seed), everything)
    compare("the stub", earned(assignment, stubs=True, seed=seed), dict.fromkeys(everything, 0))
    for answer in read_answers(assignment, "wrong") + read_answers(assignment, "right"):
        left = {part: points - answer.loses.get(part, 0) for part, points in everything.items()}
        for hidden_only, which in ((False, ""), (True, ", by the hidden tests alone")):
            got = earned(assignment, {answer.task: answer.code}, seed=seed, hidden_only=hidden_only)
            compare(f"'{answer.title}'{which}", got, left)
    return found
