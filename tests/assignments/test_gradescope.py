"""The zip for Gradescope: complete, and grading as the command line does."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest

from course_lib.assignments import handout, masters
from course_lib.assignments.gradebook import students_copy


@pytest.fixture
def root(small, course_cli, tmp_path) -> Path:
    """A machine of Gradescope's, as its setup leaves it: the zip's content in 'source'."""
    run = course_cli(
        "assignments", "gradescope", "adding", "--masters", small, "--seed", 3, "-o", tmp_path
    )
    assert run.returncode == 0, run.stderr
    with zipfile.ZipFile(tmp_path / "adding-gradescope.zip") as packed:
        packed.extractall(tmp_path / "autograder" / "source")
    (tmp_path / "autograder" / "submission").mkdir()
    return tmp_path / "autograder"


def grade(root: Path) -> dict:
    subprocess.run(
        [sys.executable, "-m", "course_lib.assignments.gradescope"],
        env=os.environ | {"AUTOGRADER_ROOT": str(root)},
        check=True,
        timeout=120,
    )
    return json.loads((root / "results" / "results.json").read_text())


@pytest.mark.parametrize(("code", "score"), [("2 * number", 3), ("number + 1", 0)])
def test_a_submission_is_graded(root, small, code, score):
    notebook = students_copy(
        handout.instructors_notebook(masters.read(small / "adding.md"), seed=0)
    )
    (cell,) = [c for c in notebook.cells if c.metadata.nbgrader.grade_id == "double"]
    cell.source = f"def double(number):\n    return {code}"
    nbformat.write(notebook, root / "submission" / "my work.ipynb")
    found = grade(root)
    (test,) = found["tests"]
    assert (test["name"], test["score"], test["max_score"]) == ("double", score, 3)
    assert (test["output"] == "") == (score == 3)


def test_a_wrong_file_is_told(root):
    (root / "submission" / "a.pdf").write_bytes(b"%PDF")
    found = grade(root)
    assert found["output"] == "no notebook was handed in, but a.pdf"
    assert [test["score"] for test in found["tests"]] == [0]


def test_the_zip_installs_and_runs_the_package(root):
    setup = (root / "source" / "setup.sh").read_text()
    assert "course_lib[assignments] @ git+https://" in setup
    subprocess.run(["bash", "-n", root / "source" / "setup.sh"], check=True)
    assert "course_lib.assignments.gradescope" in (root / "source" / "run_autograder").read_text()
