"""What students get: a notebook without solutions, as a file and as a zip."""

import zipfile
from pathlib import Path

import nbformat
from nbformat import NotebookNode, v4

from .. import repository
from ..files import replace_atomically
from ..hosts import install_source
from .gradebook import students_copy
from .masters import Assignment
from .references import References


def instructors_notebook(assignment: Assignment, *, seed: int) -> NotebookNode:
    """Return the notebook with everything that is hidden, and a cell that installs first."""
    install = v4.new_code_cell(install_source(repository()))
    return assignment.notebook(
        seed=seed, first=[install], references=References.read(assignment.path.parent)
    )


def write_handout(assignment: Assignment, folder: Path) -> list[Path]:
    """Write the students' notebook and a zip of it into a folder; return their paths.

    Files of an earlier handout are replaced: they hold nothing of a student's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    notebook = students_copy(instructors_notebook(assignment, seed=0))
    text = nbformat.writes(notebook) + "\n"
    path, archive = folder / f"{assignment.name}.ipynb", folder / f"{assignment.name}.zip"
    replace_atomically(path, lambda file: file.write_text(text, encoding="utf-8"))

    def pack(file: Path) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
            packed.write(path, path.name)

    replace_atomically(archive, pack)
    return [path, archive]
