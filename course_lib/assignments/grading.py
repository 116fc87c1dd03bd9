"""Grading a class: each notebook is restored, run in the sandbox, scored, and explained."""

import ast
import json
import secrets
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import nbformat
from nbformat import NotebookNode, v4

from ..files import replace_atomically
from . import sandbox, submissions
from .feedback import write_feedback
from .gradebook import Book, Score, is_grade, is_locked, students_copy
from .handout import instructors_notebook
from .masters import Assignment
from .submissions import Submission

RULES = ("course_lib", "torch.distributions")


@dataclass
class Result:
    """How one student's submission fared: scores by part, and what there is to say."""

    student: str
    scores: dict[str, Score] = field(default_factory=dict)
    reason: str | None = None
    notices: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def points(self) -> float:
        """The points so far: what a person has yet to grade counts nothing."""
        return sum(score.points or 0 for score in self.scores.values())

    @property
    def waiting(self) -> list[str]:
        """The parts that a person has yet to grade."""
        return [part for part, score in self.scores.items() if score.points is None]


def class_seed(folder: Path, given: int | None = None) -> int:
    """Return the class's seed: the given one, else that of an earlier call, else a new one."""
    path = folder / "class.json"
    if given is None and path.is_file():
        return json.loads(path.read_text(encoding="utf-8"))["seed"]
    seed = secrets.randbelow(2**32) if given is None else given
    replace_atomically(path, lambda file: file.write_text(json.dumps({"seed": seed}) + "\n"))
    return seed


def grade(
    assignment: Assignment,
    handed_in: Iterable[Submission],
    folder: Path,
    *,
    seed: int,
    limits: sandbox.Limits,
    isolation: sandbox.Isolation,
    jobs: int = 1,
    on_done: Callable[[Result], None] = lambda result: None,
) -> list[Result]:
    """Grade every submission; write scores to the gradebook and feedback to ``folder``.

    ``jobs`` notebooks run at a time. ``on_done`` is told of each result.
    """
    master = instructors_notebook(assignment, seed=seed)
    book = Book(folder / "gradebook.db", assignment.name)
    book.register(master)
    results = []

    def finish(result: Result, notebook: NotebookNode | None) -> None:
        if notebook is None:
            book.save_nothing(result.student)
        result.scores = book.scores(result.student)
        keep(notebook, result, assignment, folder)
        results.append(result)
        on_done(result)

    pool = ThreadPoolExecutor(jobs)
    try:
        running = {}
        for submission in handed_in:
            result = Result(submission.student)
            if submission.notice:
                result.notices.append(submission.notice)
            try:
                notebook = prepared(submission, assignment, master, book, result)
            except ValueError as error:
                result.reason = str(error)
            except Exception as error:
                result.reason = unforeseen(error)
            if result.reason:
                finish(result, None)
                continue
            job = pool.submit(timed, notebook, limits, isolation)
            running[job] = (result, notebook)
        for job in as_completed(running):
            result, notebook = running[job]
            outputs, result.reason, result.seconds = job.result()
            try:
                put_outputs(notebook, outputs, result.reason)
                notebook = book.save(notebook, result.student)
            except Exception as error:
                notebook, result.reason = None, unforeseen(error)
            finish(result, notebook)
    finally:
        pool.shutdown(cancel_futures=True)  # after an error, don't run the rest of the class
    save_results(results, assignment, folder)
    return sorted(results, key=lambda result: result.student)


def unforeseen(error: Exception) -> str:
    """Return what to say where grading one notebook failed: the class must go on without it."""
    return f"grading this notebook failed, look at it by hand ({type(error).__name__}: {error})"


def save_results(results: list[Result], assignment: Assignment, folder: Path) -> None:
    """Keep what the gradebook has no place for: reasons, notices, seconds."""
    path = folder / assignment.name / "remarks.json"
    about = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    about |= {
        result.student: {
            "reason": result.reason,
            "notices": result.notices,
            "seconds": round(result.seconds, 1),
        }
        for result in results
    }
    text = json.dumps(dict(sorted(about.items())), indent=2, ensure_ascii=False) + "\n"
    replace_atomically(path, lambda file: file.write_text(text, encoding="utf-8"))


def again(assignment: Assignment, folder: Path) -> list[Result]:
    """Return the results of an earlier grading with today's scores; write the feedback anew."""
    path = folder / assignment.name / "remarks.json"
    book = Book(folder / "gradebook.db", assignment.name)
    notebooks = kept_notebooks(assignment, folder)
    results = []
    for student, about in json.loads(path.read_text(encoding="utf-8")).items():
        result = Result(student, book.scores(student), **about)
        keep(notebooks.get(student), result, assignment, folder)
        results.append(result)
    return results


def kept_notebooks(assignment: Assignment, folder: Path) -> dict[str, NotebookNode]:
    """Return by student the notebooks that were run."""
    paths = (folder / assignment.name / "graded").glob("*.ipynb")
    return {path.stem: nbformat.read(path, as_version=4) for path in paths}


def timed(
    notebook: NotebookNode, limits: sandbox.Limits, isolation: sandbox.Isolation
) -> tuple[list | None, str | None, float]:
    """Run a notebook in the sandbox and measure the seconds."""
    started = time.monotonic()
    outputs, reason = sandbox.execute(notebook, limits=limits, isolation=isolation)
    return outputs, reason, time.monotonic() - started


def prepared(
    submission: Submission,
    assignment: Assignment,
    master: NotebookNode,
    book: Book,
    result: Result,
) -> NotebookNode:
    """Read and restore a submission, and note in the result what was odd about it.

    Raises ``ValueError`` where there is nothing to grade.
    """
    if submission.problem:
        raise ValueError(submission.problem)
    notebook = submissions.read(submission.path)
    about = notebook.metadata.get("course_lib", {})
    if about.get("assignment", assignment.name) != assignment.name:
        raise ValueError(f"this is the notebook of another assignment, {about['assignment']!r}")
    if about.get("version", assignment.version) != assignment.version:
        result.notices.append("it was handed out from another version of the assignment")
    recognize(notebook, master)
    names = {cell.metadata.get("nbgrader", {}).get("grade_id") for cell in notebook.cells}
    wanted = {cell.metadata.nbgrader.grade_id: cell for cell in master.cells}
    if not names & wanted.keys():
        raise ValueError("no cell of this assignment is in the notebook")
    for cell in notebook.cells:
        # To nbgrader a mark that the master lacks, as an older release may have, is an error.
        if cell.metadata.get("nbgrader", {}).get("grade_id") not in wanted:
            cell.metadata.pop("nbgrader", None)
    handed_in = {
        cell.metadata.nbgrader.grade_id: cell.source
        for cell in notebook.cells
        if cell.metadata.get("nbgrader", {}).get("grade_id")
    }
    gone = put_back(notebook, students_copy(master))
    restored = book.restored(notebook, result.student)
    changed = [
        name
        for name, source in handed_in.items()
        if name in wanted
        and is_locked(wanted[name])
        and source.strip() != visible(wanted[name].source).strip()
    ]
    if gone:
        result.notices.append(f"missing cells were put back: {', '.join(gone)}")
    if changed:
        result.notices.append(f"changed cells were restored: {', '.join(changed)}")
    if used := sorted(imports(restored)):
        result.notices.append(f"the code imports {', '.join(used)}")
    return restored


def visible(source: str) -> str:
    """Return a cell's source without its hidden tests."""
    kept, hidden = [], False
    for line in source.split("\n"):
        hidden = hidden or "### BEGIN HIDDEN TESTS" in line
        if not hidden:
            kept.append(line)
        hidden = hidden and "### END HIDDEN TESTS" not in line
    return "\n".join(kept)


def recognize(notebook: NotebookNode, master: NotebookNode) -> None:
    """Give back their marks to cells that lost them, by their id or their source.

    Some hosts of notebooks keep only the metadata that they know.
    """
    by_id = {cell.id: cell for cell in master.cells}
    by_source = {visible(cell.source).strip(): cell for cell in master.cells if is_locked(cell)}
    taken = {cell.metadata.get("nbgrader", {}).get("grade_id") for cell in notebook.cells}
    for cell in notebook.cells:
        if "grade_id" not in cell.metadata.get("nbgrader", {}):
            original = by_id.get(cell.id) or by_source.get(cell.source.strip())
            if original and original.metadata.nbgrader.grade_id not in taken:
                cell.metadata["nbgrader"] = NotebookNode(original.metadata.nbgrader)
                taken.add(original.metadata.nbgrader.grade_id)
    for before, answer in pairwise(master.cells):
        # A proof has neither an id nor a source to know it by, but it follows its task.
        if answer.cell_type == "markdown" and is_grade(answer):
            names = [c.metadata.get("nbgrader", {}).get("grade_id") for c in notebook.cells]
            if before.id in names and answer.id not in names:
                place = names.index(before.id) + 1
                found = notebook.cells[place] if place < len(names) else None
                if found and names[place] is None and found.cell_type == "markdown":
                    found.metadata["nbgrader"] = NotebookNode(answer.metadata.nbgrader)


def put_back(notebook: NotebookNode, handout: NotebookNode) -> list[str]:
    """Insert the given and graded cells that are missing; return the names of the graded.

    Each goes behind the cell that it follows in the handout. An answer in code is not put
    back, for it may stand in another cell.
    """
    missing, place = [], -1
    for cell in handout.cells:
        name = cell.metadata.nbgrader.grade_id
        names = [c.metadata.get("nbgrader", {}).get("grade_id") for c in notebook.cells]
        if name in names:
            place = names.index(name)
        elif is_locked(cell) or is_grade(cell):
            place += 1
            notebook.cells.insert(place, cell)
            if is_grade(cell):
                missing.append(name)
    return missing


def imports(notebook: NotebookNode) -> set[str]:
    """Return what a student's own cells import of the modules that the tests compare with."""
    found = set()
    for cell in notebook.cells:
        if cell.cell_type != "code" or is_locked(cell):
            continue
        try:
            tree = ast.parse(cell.source)
        except SyntaxError:
            continue
        for node in ast.walk(tree):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Attribute):
                names = [ast.unparse(node)]
            found |= {name for name in names if name.startswith(RULES)}
    return found - {"course_lib.check"}


def put_outputs(notebook: NotebookNode, outputs: list | None, reason: str | None) -> None:
    """Put the sandbox's outputs into a notebook, in the form that nbgrader scores.

    What did not run has failed. A warning on standard error is no failure, and a value at
    the end of a test cell is no partial score.
    """
    for k, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            continue
        if outputs is None:
            cell.outputs = [
                v4.new_output("error", ename="NotRun", evalue=reason or "", traceback=[])
            ]
            continue
        cell.outputs = [nbformat.from_dict(output) for output in outputs[k]]
        if is_grade(cell):
            cell.outputs = [o for o in cell.outputs if o.output_type != "execute_result"]
            for output in cell.outputs:
                if output.output_type == "stream":
                    output.name = "stdout"


def keep(
    notebook: NotebookNode | None, result: Result, assignment: Assignment, folder: Path
) -> None:
    """Write a student's feedback, and the notebook that was run."""
    place = folder / assignment.name
    for name in ("feedback", "graded"):
        (place / name).mkdir(parents=True, exist_ok=True)
    kept = place / "graded" / f"{result.student}.ipynb"
    if notebook is not None:
        text = nbformat.writes(notebook)
        replace_atomically(kept, lambda file: file.write_text(text, encoding="utf-8"))
    elif kept.exists():
        kept.unlink()
    page = place / "feedback" / f"{result.student}.html"
    try:
        write_feedback(page, assignment, result, notebook)
    except Exception as error:
        notice = f"the feedback lacks the notebook ({type(error).__name__}: {error})"
        if notice not in result.notices:
            result.notices.append(notice)
        write_feedback(page, assignment, result, None)
