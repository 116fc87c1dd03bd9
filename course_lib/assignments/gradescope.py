"""Grading on Gradescope: a zip with the master, and what runs there.

Gradescope builds a machine by the zip's ``setup.sh`` and calls ``run_autograder`` for each
submission. It is a sandbox of its own; inside it, grading is the same as at home.
"""

import json
import os
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

from .. import BRANCH, repository
from ..files import replace_atomically
from . import grading, sandbox, submissions
from .feedback import said
from .masters import Assignment, read

SETUP = """\
#!/usr/bin/env bash
# Installs Python, PyTorch without CUDA, and the course's package.
set -euo pipefail
apt-get update -qq
apt-get install -y -qq --no-install-recommends python3 python3-pip python3-venv git bubblewrap
python3 -m venv /autograder/venv
/autograder/venv/bin/pip install -q --index-url {torch} torch torchvision
/autograder/venv/bin/pip install -q "course_lib[assignments] @ git+{repository}@{branch}"
"""
RUN = """\
#!/usr/bin/env bash
exec /autograder/venv/bin/python -m course_lib.assignments.gradescope
"""
TORCH = "https://download.pytorch.org/whl/cpu"


def write_zip(assignment: Assignment, folder: Path, *, seed: int) -> Path:
    """Write the zip to upload under *Configure Autograder*; it holds the solutions."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{assignment.name}-gradescope.zip"
    source = assignment.path
    setup = SETUP.format(torch=TORCH, repository=repository(), branch=BRANCH)
    files = {
        "setup.sh": setup,
        "run_autograder": RUN,
        "seed": f"{seed}\n",
        f"exercises/{source.name}": source.read_text(encoding="utf-8"),
    }
    references = source.parent / "references.json"
    if references.is_file():
        files["exercises/references.json"] = references.read_text(encoding="utf-8")

    def pack(file: Path) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
            for name, text in files.items():
                packed.writestr(name, text)

    replace_atomically(path, pack)
    return path


def results(root: Path, *, limits: sandbox.Limits | None = None) -> dict:
    """Grade what lies in ``root``/submission by the zip's content in ``root``/source.

    Returns Gradescope's results: a test for each part, with points and what was said. What a
    person grades is not among them: make a question of its own for it.
    """
    source = root / "source"
    (master,) = (source / "exercises").glob("*.md")
    assignment = read(master)
    files = [path for path in (root / "submission").rglob("*") if path.is_file()]
    with TemporaryDirectory() as folder:
        (result,) = grading.grade(
            assignment,
            [submissions.chosen("student", files, assignment.name)],
            Path(folder),
            seed=int((source / "seed").read_text()),
            limits=limits or sandbox.Limits(),
            isolation=sandbox.isolate([source, Path(folder)]),
        )
        notebook = grading.kept_notebooks(assignment, Path(folder)).get("student")
    words = said(notebook) if notebook else {}
    return {
        "output": ". ".join(filter(None, [result.reason, *result.notices])),
        "tests": [
            {
                "name": part.name.removesuffix("-test"),
                "score": result.scores[part.name].points or 0,
                "max_score": part.points,
                "output": words.get(part.name, ""),
            }
            for part in assignment.parts
            if not part.manual
        ],
    }


def main() -> None:
    """Grade one submission where Gradescope puts it."""
    root = Path(os.environ.get("AUTOGRADER_ROOT", "/autograder"))
    found = json.dumps(results(root), indent=2, ensure_ascii=False)
    (root / "results").mkdir(exist_ok=True)
    (root / "results" / "results.json").write_text(found, encoding="utf-8")


if __name__ == "__main__":
    main()
