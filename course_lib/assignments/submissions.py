"""Finding students' notebooks: in a folder by student, in flat files, or in an LMS's zip."""

import json
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbformat import NotebookNode

from .errors import AssignmentError

LARGEST_NOTEBOOK = 20_000_000
LARGEST_ARCHIVE = 2_000_000_000

# Moodle's folders and Canvas's files carry more than the student's name.
MOODLE = re.compile(r"(?P<student>.+?)_assignsubmission_file_?$")
CANVAS = re.compile(r"(?P<student>[^_]+)(_LATE)?_\d+_\d+_.+")


@dataclass(frozen=True)
class Submission:
    """A student's file; ``problem`` says why there is none that can be graded."""

    student: str
    path: Path | None
    problem: str | None = None
    notice: str | None = None


@contextmanager
def opened(source: Path) -> Iterator[Path]:
    """Give the folder with submissions: the one that is named, or a zip's content.

    Raises :class:`AssignmentError` for what is neither, or is unreasonably large.
    """
    if source.is_dir():
        yield source
        return
    if not zipfile.is_zipfile(source):
        raise AssignmentError(f"{source} is neither a folder nor a zip with submissions")
    with zipfile.ZipFile(source) as packed, TemporaryDirectory() as folder:
        if sum(info.file_size for info in packed.infolist()) > LARGEST_ARCHIVE:
            raise AssignmentError(f"{source} holds more than {LARGEST_ARCHIVE / 1e9:.0f} GB")
        packed.extractall(folder)  # names that lead out of the folder are made harmless
        yield Path(folder)


def collect(folder: Path, assignment: str) -> list[Submission]:
    """Return every student's submission for an assignment, sorted by name.

    A folder at the top belongs to one student, wherever the notebook lies in it; a notebook
    at the top belongs to the student whose name it bears. Raises :class:`AssignmentError`
    where nothing is there at all.
    """
    files: dict[str, list[Path]] = {}
    for entry in sorted(visible(folder)):
        student = student_of(entry, assignment)
        found = [entry] if entry.is_file() else [p for p in entry.rglob("*") if p.is_file()]
        files.setdefault(student, []).extend(path for path in found if shown(path, folder))
    if not files:
        raise AssignmentError(f"there are no submissions in {folder}")
    return [chosen(student, files[student], assignment) for student in sorted(files)]


def visible(folder: Path) -> list[Path]:
    """Return what lies in a folder, without a system's own files."""
    return [path for path in folder.iterdir() if shown(path, folder)]


def shown(path: Path, folder: Path) -> bool:
    """Return whether a path below a folder is a person's, and not the system's."""
    parts = path.relative_to(folder).parts
    return not any(part.startswith((".", "__MACOSX")) for part in parts)


def student_of(entry: Path, assignment: str) -> str:
    """Return the student's name that a folder or a file at the top stands for."""
    if entry.is_dir():
        moodle = MOODLE.fullmatch(entry.name)
        name = moodle["student"] if moodle else entry.name
    else:
        canvas = CANVAS.fullmatch(entry.stem)
        name = canvas["student"] if canvas else entry.stem
        name = re.sub(rf"^{assignment}[-_ ]+|[-_ ]+{assignment}$", "", name)
    # The name becomes a file's name.
    return re.sub(r"[^\w.@ -]+", "-", name).strip(" .") or "unnamed"


def chosen(student: str, files: list[Path], assignment: str) -> Submission:
    """Choose among a student's files the notebook to grade."""
    notebooks = [path for path in files if path.suffix == ".ipynb"]
    named = [path for path in notebooks if path.stem == assignment]
    candidates = named or notebooks
    if not candidates:
        others = ", ".join(path.name for path in files[:3]) or "nothing"
        return Submission(student, None, f"no notebook was handed in, but {others}")
    if len(candidates) == 1:
        return Submission(student, candidates[0])
    newest = max(candidates, key=lambda path: path.stat().st_mtime)
    return Submission(
        student,
        newest,
        notice=f"{len(candidates)} notebooks were handed in; the newest, {newest.name}, is graded",
    )


def read(path: Path) -> NotebookNode:
    """Read a student's notebook.

    Raises ``ValueError`` in words for the student where it cannot be read.
    """
    if path.stat().st_size > LARGEST_NOTEBOOK:
        raise ValueError(f"the notebook has more than {LARGEST_NOTEBOOK / 1e6:.0f} MB")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError("the file is no notebook: it is not JSON, or was cut off") from error
    try:
        notebook = nbformat.convert(nbformat.from_dict(content), 4)
        cells = [cleaned(cell) for cell in notebook.cells]
    except Exception as error:  # whatever a broken file makes of the converter
        raise ValueError("the file is JSON, but no notebook that can be read") from error
    clean = nbformat.v4.new_notebook(cells=cells, metadata=notebook.metadata)
    try:
        nbformat.validate(clean)
    except nbformat.ValidationError as error:
        raise ValueError("the file is JSON, but no valid notebook") from error
    return clean


def cleaned(cell: NotebookNode) -> NotebookNode:
    """Return a cell with its source, its metadata and its id alone."""
    source = cell.source if isinstance(cell.source, str) else "".join(cell.source)
    made = getattr(nbformat.v4, f"new_{cell.cell_type}_cell")(source)
    made.metadata = cell.get("metadata", {})
    if re.fullmatch(r"[\w-]{1,64}", str(cell.get("id", ""))):
        made.id = cell.id
    return made
