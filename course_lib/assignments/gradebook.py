"""What nbgrader does for us: clearing, restoring, scoring and keeping, one notebook at a time.

nbgrader's preprocessors are used without its folders and its server; the database is its
own, so that its other tools can read it.
"""

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nbformat import NotebookNode
from nbgrader import preprocessors
from nbgrader.api import Gradebook, MissingEntry
from nbgrader.utils import is_grade, is_locked, setenv
from sqlalchemy.exc import SAWarning

LOG = logging.getLogger("nbgrader")
LOG.addHandler(logging.NullHandler())
LOG.propagate = False


def passed(notebook: NotebookNode, names: list[str], resources: dict | None = None) -> NotebookNode:
    """Send a copy of a notebook through some of nbgrader's preprocessors, in this order."""
    notebook = NotebookNode(notebook.copy())
    notebook.cells = [cell.copy() for cell in notebook.cells]
    with quiet():
        for name in names:
            step = getattr(preprocessors, name)(log=LOG)
            notebook, resources = step.preprocess(notebook, resources or {})
    return notebook


@contextmanager
def quiet() -> Iterator[None]:
    """Leave out what nbgrader's way with its database makes SQLAlchemy warn of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SAWarning)
        yield


def students_copy(notebook: NotebookNode) -> NotebookNode:
    """Return an instructor's notebook as students get it: no solutions, no hidden tests."""
    return passed(
        notebook,
        [
            *("LockCells", "ClearSolutions", "ClearOutput", "ClearHiddenTests"),
            *("ComputeChecksums", "CheckCellMetadata"),
        ],
    )


@dataclass(frozen=True)
class Score:
    """What a student has for one part. ``points`` is None until a person has graded it."""

    part: str
    points: float | None
    largest: float
    comment: str | None = None


@dataclass(frozen=True)
class Book:
    """The scores of one assignment in the database at ``path``."""

    path: Path
    assignment: str

    @property
    def url(self) -> str:
        return f"sqlite:///{self.path.resolve()}"

    @contextmanager
    def opened(self) -> Iterator[Gradebook]:
        with quiet(), Gradebook(self.url) as book:
            yield book

    def resources(self, student: str = "") -> dict:
        about = {"assignment": self.assignment, "notebook": self.assignment, "student": student}
        return {"nbgrader": about | {"db_url": self.url}}

    def register(self, notebook: NotebookNode) -> None:
        """Keep the sources and the points of an instructor's notebook.

        Where the assignment is known already with other cells, all of its scores are
        forgotten: they belong to another assignment.
        """
        # A new database is set up by the program 'alembic', which lies beside Python even
        # where the environment was not activated.
        programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        with setenv(PATH=programs), self.opened() as book:
            try:
                known = book.find_notebook(self.assignment, self.assignment)
            except MissingEntry:
                book.update_or_create_assignment(self.assignment)
            else:
                wanted = {c.metadata.nbgrader.grade_id for c in notebook.cells}
                if {cell.name for cell in known.source_cells} != wanted:
                    book.remove_assignment(self.assignment)
                    book.update_or_create_assignment(self.assignment)
        passed(
            notebook,
            ["LockCells", "ClearSolutions", "ClearOutput", "ComputeChecksums", "SaveCells"],
            self.resources(),
        )

    def restored(self, notebook: NotebookNode, student: str) -> NotebookNode:
        """Return a submission ready to be run: given cells and tests are the instructor's."""
        with self.opened() as book:
            book.update_or_create_student(student)
            book.update_or_create_submission(self.assignment, student)
        return passed(
            notebook,
            [
                *("ClearOutput", "DeduplicateIds", "OverwriteKernelspec"),
                *("OverwriteCells", "CheckCellMetadata"),
            ],
            self.resources(student),
        )

    def save(self, notebook: NotebookNode, student: str) -> NotebookNode:
        """Score a notebook that was run, keep the scores, and return it."""
        return passed(notebook, ["LimitOutput", "SaveAutoGrades"], self.resources(student))

    def save_nothing(self, student: str) -> None:
        """Give 0 points for everything: there is no notebook that can be read."""
        with self.opened() as book:
            book.update_or_create_student(student)
            book.update_or_create_submission(self.assignment, student)
            for grade in book.find_submission_notebook(
                self.assignment, self.assignment, student
            ).grades:
                grade.auto_score, grade.needs_manual_grade = 0, False
            book.db.commit()

    def save_by_hand(self, student: str, part: str, points: float, comment: str) -> None:
        """Keep what a person gave. Raises ``MissingEntry`` for an unknown student or part."""
        with self.opened() as book:
            place = (part, self.assignment, self.assignment, student)
            grade = book.find_grade(*place)
            grade.manual_score, grade.needs_manual_grade = points, False
            book.find_comment(*place).manual_comment = comment or None
            book.db.commit()

    def scores(self, student: str) -> dict[str, Score]:
        """Return a student's scores by part."""
        with self.opened() as book:
            notebook = book.find_submission_notebook(self.assignment, self.assignment, student)
            comments = {each.name: each.comment for each in notebook.comments}
            return {
                grade.name: Score(
                    grade.name,
                    None if grade.needs_manual_grade else grade.score,
                    grade.max_score,
                    comments.get(grade.name),
                )
                for grade in notebook.grades
            }


__all__ = ["Book", "MissingEntry", "Score", "is_grade", "is_locked", "students_copy"]
