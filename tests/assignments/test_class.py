"""A whole class through the command line: from the handout to the page of feedback."""

import csv
import re
import shutil
from pathlib import Path

import nbformat
import pytest

import synthetic
from course_lib.assignments import masters, report, sandbox
from course_lib.assignments.errors import AssignmentError
from course_lib.assignments.gradebook import Book

EXERCISES = Path(__file__).parents[2] / "exercises"
FULL = {"draws-test": 6, "divergence-test": 8, "loss-test": 8, "bound-test": 6, "proof": None}

# What each of the class earns; what is not said is as if all were right.
EARNS = {
    "01-right": {},
    "02-stub": dict.fromkeys(FULL, 0),
    "03-wrong": {"bound-test": 0},
    "04-no-proof": {"proof": 0},
    "05-loop": {"bound-test": 0},
    "06-crash": {"bound-test": 0},
    "07-memory": {"bound-test": 0},
    "08-noise": {"bound-test": 0},
    "09-stubborn": {"bound-test": 0},
    "10-syntax": {"bound-test": 0},
    "11-cheat": {"bound-test": 0},
    "12-stripped": {},
    "13-thief": {"bound-test": 0},
    "14-caller": {"bound-test": 0},
    "15-borrower": {},
    "16-warner": {},
    "17-gone": {},
    "18-broken": dict.fromkeys(FULL, 0),
    "19-pdf": dict.fromkeys(FULL, 0),
    "20-other": dict.fromkeys(FULL, 0),
    "21-own-cells": {},
    "22-older": {},
    "23-spoilt": dict.fromkeys(FULL, 0),
}
REMARKS = {
    "05-loop": "bound-test was stopped: it ran longer than 8 s",
    "06-crash": "bound-test was stopped: it took Python down",
    "08-noise": "bound-test was stopped",
    "09-stubborn": "bound-test was stopped",
    "11-cheat": "changed cells were restored: draws-test, divergence-test, loss-test, bound-test",
    "15-borrower": "the code imports course_lib.models.vae.kl_divergence, torch.distributions",
    "17-gone": "missing cells were put back: bound-test",
    "18-broken": "it is not JSON, or was cut off",
    "19-pdf": "no notebook was handed in, but answers.pdf",
    "20-other": "the notebook of another assignment, 'gan'",
    "22-older": "handed out from another version of the assignment",
    "23-spoilt": "grading this notebook failed, look at it by hand (AttributeError",
}


@pytest.fixture(scope="module")
def graded(tmp_path_factory, course_cli) -> tuple[Path, str]:
    """The folder of a graded class, and what the command said."""
    folder = tmp_path_factory.mktemp("class")
    assignment = masters.read(EXERCISES / "vae.md")
    synthetic.class_of_students(assignment, folder / "submissions", "127.0.0.1:9")
    run = course_cli(
        *("assignments", "grade", "submissions", "-a", "vae", "-o", "grades"),
        *("--seed", "7", "--seconds", "8", "--jobs", "2"),
        cwd=folder,
        timeout=600,
    )
    assert run.returncode == 0, run.stderr
    return folder / "grades", run.stdout


def rows(path: Path) -> dict[str, dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return {row["student"]: row for row in csv.DictReader(file)}


@pytest.mark.slow
@pytest.mark.timeout(660)
def test_all_students_get_what_they_earned(graded):
    folder, said = graded
    found = rows(folder / "vae" / "scores.csv")
    assert found.keys() == EARNS.keys()
    needs_walls = {"13-thief": ("bubblewrap",), "14-caller": ("bubblewrap", "unshare")}
    for student, differently in EARNS.items():
        if sandbox.strongest() not in needs_walls.get(student, sandbox.KINDS):
            continue
        wanted = FULL | differently
        got = {part: found[student][part] for part in FULL}
        assert got == {k: "" if v is None else f"{v:g}" for k, v in wanted.items()}, student
        assert REMARKS.get(student, "") in found[student]["remarks"]
        assert (student in REMARKS) == bool(found[student]["remarks"]), student
        assert float(found[student]["points"]) == sum(v or 0 for v in wanted.values())
    assert re.search(rf"{len(EARNS)} notebooks, [\d.]+ s each", said)
    assert "sandbox: " in said


@pytest.mark.slow
@pytest.mark.timeout(660)
def test_feedback_explains_and_hides(graded):
    folder, _ = graded
    master = masters.read(EXERCISES / "vae.md")
    pages = {path.stem: path.read_text() for path in (folder / "vae" / "feedback").glob("*.html")}
    assert pages.keys() == EARNS.keys()
    assert "the bound is 0 at [1], but should be" in pages["03-wrong"]
    assert "it ran longer than 8 s" in pages["05-loop"]
    assert "22 of 36 points so far" in pages["03-wrong"]
    assert "0 of 36 points" in pages["18-broken"]
    assert "not JSON" in pages["18-broken"]
    for text in pages.values():
        assert "HIDDEN" not in text
        assert "kl_divergence(q, p)" not in text, "a line of a hidden test"
        assert "<script" not in text
        assert not re.search(r"<(link|iframe)|src=\"(?!data:)", text), "it loads something"
    assert master.title in pages["01-right"]
    assert "<math" in pages["01-right"]


@pytest.mark.slow
@pytest.mark.timeout(660)
def test_points_by_hand_are_taken_over_and_kept(graded, course_cli, tmp_path):
    folder = tmp_path / "grades"
    shutil.copytree(graded[0], folder)
    sheet = folder / "vae" / "by-hand.csv"
    lines = sheet.read_text().splitlines()
    assert lines[0] == "student,part,points,of,comment"
    students = [line.split(",")[0] for line in lines[1:]]
    assert "01-right" in students
    assert not {"02-stub", "04-no-proof", "18-broken", "19-pdf"} & set(students)
    answers = (folder / "vae" / "answers.html").read_text()
    assert answers.index("model answer") < answers.index("01-right")
    lines[1 + students.index("01-right")] = '01-right,proof,"7,5",8,"why <b>concave</b>?"'
    sheet.write_text("\n".join(lines))
    for _ in range(2):
        run = course_cli("assignments", "report", "vae", "-o", folder)
        assert run.returncode == 0, run.stderr
    row = rows(folder / "vae" / "scores.csv")["01-right"]
    assert (row["proof"], row["points"], row["to grade by hand"]) == ("7.5", "35.5", "")
    page = (folder / "vae" / "feedback" / "01-right.html").read_text()
    assert "35.5 of 36 points" in page
    assert "why &lt;b&gt;concave&lt;/b&gt;?" in page
    assert "01-right,proof,7.5,8," in sheet.read_text()


@pytest.mark.slow
@pytest.mark.timeout(660)
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("01-right,proof,9,8,", "line 2: 9 points of 8 cannot be given"),
        ("01-right,proof,-1,8,", "line 2: -1 points of 8 cannot be given"),
        ("01-right,proof,nan,8,", "line 2: nan points of 8 cannot be given"),
        ("01-right,proof,many,8,", "line 2: 'many' is no number"),
        ("01-right,bound-test,1,8,", "line 2: no part 'bound-test' is graded by hand"),
        ("nobody,proof,1,8,", "line 2: no student 'nobody'"),
    ],
)
def test_a_sheet_with_a_mistake_changes_nothing(graded, tmp_path, line, message):
    assignment = masters.read(EXERCISES / "vae.md")
    book = Book(graded[0] / "gradebook.db", "vae")
    sheet = tmp_path / "by-hand.csv"
    sheet.write_text(f"student,part,points,of,comment\n{line}\n03-wrong,proof,1,8,\n")
    with pytest.raises(AssignmentError, match=re.escape(message)):
        report.read_sheet(sheet, assignment, book)
    assert book.scores("03-wrong")["proof"].points is None


def test_a_sheet_without_its_columns_is_refused(tmp_path):
    sheet = tmp_path / "by-hand.csv"
    sheet.write_text("name,mark\nx,1\n")
    with pytest.raises(AssignmentError, match="its first line must name student, part"):
        report.read_sheet(sheet, masters.read(EXERCISES / "vae.md"), Book(tmp_path / "x.db", "vae"))


def test_the_handout_is_two_files_that_can_be_solved(course_cli, tmp_path):
    run = course_cli("assignments", "release", "vae", "-o", tmp_path / "out")
    assert run.returncode == 0, run.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"vae.ipynb", "vae.zip"}
    notebook = nbformat.read(tmp_path / "out" / "vae.ipynb", as_version=4)
    shutil.unpack_archive(tmp_path / "out" / "vae.zip", tmp_path / "unpacked")
    assert (tmp_path / "unpacked" / "vae.ipynb").read_bytes() == (
        tmp_path / "out" / "vae.ipynb"
    ).read_bytes()
    master = masters.read(EXERCISES / "vae.md")
    assert notebook.metadata.course_lib == {"assignment": "vae", "version": master.version}
    own = "\n".join(cell.source for cell in notebook.cells if cell.metadata.nbgrader.solution)
    assert own.count("raise NotImplementedError()") == 4


def test_the_list_shows_every_assignment(course_cli):
    run = course_cli("assignments", "list")
    assert run.returncode == 0
    for path in EXERCISES.glob("[a-z]*.md"):
        assert f" {path.stem} " in run.stdout


def test_verify_says_what_it_has_seen(course_cli, small):
    run = course_cli("assignments", "verify", "adding", "--masters", small)
    assert run.returncode == 0, run.stderr
    assert "each of 1 wrong answers loses what it should" in run.stdout
    wrong = small / "wrong" / "adding.md"
    wrong.write_text(wrong.read_text().replace("number + 1", "2 * number"))
    run = course_cli("assignments", "verify", "adding", "--masters", small)
    assert run.returncode == 2
    assert "'One more': double-test earns 3 of 3 points, not 0" in run.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("release", "nothing"), "there is no assignment 'nothing'; known: "),
        (("list", "--masters", "empty"), "there are no masters in empty"),
        (("grade", "nowhere", "-a", "vae"), "there is no nowhere"),
        (("grade", "empty", "-a", "vae"), "there are no submissions in"),
        (("grade", "file", "-a", "vae"), "neither a folder nor a zip"),
        (("report", "vae"), "holds no graded vae"),
    ],
)
def test_mistakes_of_the_instructors_are_said_in_one_line(course_cli, tmp_path, arguments, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    run = course_cli("assignments", *arguments, cwd=tmp_path)
    assert run.returncode == 2
    assert message in run.stderr.replace("\n", " ")
    assert "Traceback" not in run.stderr
