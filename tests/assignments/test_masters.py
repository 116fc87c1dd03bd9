"""The masters: read as they are meant, and each holding what it promises."""

import re
from pathlib import Path

import nbformat
import pytest

from course_lib import checks
from course_lib.assignments import handout, masters, trial
from course_lib.assignments.errors import AssignmentError
from course_lib.assignments.gradebook import students_copy

EXERCISES = Path(__file__).parents[2] / "exercises"
NAMES = [path.stem for path in sorted(EXERCISES.glob("[a-z]*.md"))]


@pytest.fixture(params=NAMES, scope="module")
def assignment(request) -> masters.Assignment:
    return masters.read(EXERCISES / f"{request.param}.md")


def wrong_of(assignment: masters.Assignment) -> list[trial.Answer]:
    return trial.read_answers(assignment, "wrong")


@pytest.mark.parametrize("seed", [0, 1, 20_261_127])
def test_solution_stub_and_wrong_answers_earn_what_they_should(assignment, seed):
    assert trial.complaints(assignment, seed=seed) == []


DOUBLE = ("levels", "noisy")  # tasks that ask for double precision
SINGLE = """

exact_{task} = {task}

def {task}(*arguments, **options):
    def rounded(found):
        if isinstance(found, torch.Tensor) and found.dtype == torch.float64:
            return found.float()
        if isinstance(found, tuple | list):
            return type(found)(map(rounded, found))
        return found

    return rounded(exact_{task}(*arguments, **options))
"""


@pytest.mark.parametrize("seed", range(5))
def test_right_answers_in_single_precision_are_right(assignment, seed):
    solutions = {
        cell.metadata["solution"]: cell.source + SINGLE.format(task=cell.metadata["solution"])
        for cell in assignment.cells
        if cell.metadata.get("solution") and cell.metadata["solution"] not in DOUBLE
    }
    assert trial.earned(assignment, solutions, seed=seed) == trial.full(assignment)


def test_there_are_enough_wrong_answers_to_more_than_one_task(assignment):
    wrong = wrong_of(assignment)
    assert len(wrong) >= 4
    assert len({answer.task for answer in wrong}) >= 2
    assert len({answer.title for answer in wrong}) == len(wrong)
    assert all(sum(answer.loses.values()) > 0 for answer in wrong)


def test_there_are_other_right_answers(assignment):
    right = trial.read_answers(assignment, "right")
    assert len(right) >= 2
    solutions = {cell.metadata.get("solution"): cell.source for cell in assignment.cells}
    for answer in right:
        assert answer.code.strip() != solutions[answer.task].strip()
        assert not answer.loses


def test_every_wrong_answer_is_told_what_is_wrong(assignment, capsys):
    """Not only that it is: the check's message is no mere mismatch of numbers for most."""
    told = []
    for answer in wrong_of(assignment):
        names: dict = {}
        for cell in assignment.cells:
            task = cell.metadata.get("solution")
            if cell.cell_type == "code" and "test" not in cell.metadata:
                exec(answer.code if task == answer.task else cell.source, names)
        capsys.readouterr()
        for cell in assignment.cells:
            if cell.metadata.get("test") and f"{cell.metadata['test']}-test" in answer.loses:
                for line in re.findall(r'^assert (check\(".*?\))(?:,|$)', cell.source, re.M):
                    eval(line, names)
        told.append(capsys.readouterr().out)
    explained = [text for text in told if "✗" in text and "but should be" not in text]
    assert len(explained) >= 0.7 * len(told), told


def test_it_is_of_the_agreed_size(assignment):
    assert 60 <= assignment.minutes <= 120
    assert 3 <= len(assignment.parts) <= 6
    assert sum(part.manual for part in assignment.parts) == 1
    assert (EXERCISES.parent / "book" / f"{assignment.chapter}.md").is_file()


def test_points_in_the_text_are_those_that_are_given(assignment):
    text = "\n".join(cell.source for cell in assignment.cells if cell.cell_type == "markdown")
    stated = re.search(r"\*\*Points:\*\* (\d+), of which (\d+)", text)
    by_hand = sum(part.points for part in assignment.parts if part.manual)
    assert (int(stated[1]), int(stated[2])) == (assignment.points, by_hand)
    assert f"about {assignment.minutes} minutes" in text
    headings = [int(number) for number in re.findall(r"^## Task .*\((\d+) points\)", text, re.M)]
    assert sum(headings) == assignment.points


def test_each_test_begins_with_a_check_that_exists(assignment):
    for cell in assignment.cells:
        if "test" in cell.metadata:
            name = re.search(r'check\("([\w.]+)"', cell.source)[1]
            assert name in checks.names(name.partition(".")[0])
            assert "### BEGIN HIDDEN TESTS" in cell.source
            assert masters.SEED in cell.source, "hidden tests draw their numbers"


def test_the_handout_is_a_notebook_without_answers(assignment):
    notebook = students_copy(handout.instructors_notebook(assignment, seed=5))
    nbformat.validate(notebook)
    text = "\n".join(cell.source for cell in notebook.cells)
    assert "SOLUTION" not in text
    assert "HIDDEN" not in text
    assert masters.SEED not in text
    assert not re.search(r"\{(eq|doc|ref|prf:ref)\}`", text)
    assert text.count("raise NotImplementedError()") >= 3
    assert "YOUR ANSWER HERE" in text
    assert all(not cell.get("outputs") for cell in notebook.cells)
    assert "find_spec" in notebook.cells[0].source, "it installs the package first"


def test_a_small_master_is_read(adding):
    assert (adding.name, adding.title, adding.chapter, adding.minutes) == (
        "adding",
        "Adding",
        "models/vae",
        60,
    )
    assert adding.parts == (
        masters.Part("double-test", 3, manual=False),
        masters.Part("why", 2, manual=True),
    )
    assert adding.points == 5


def test_the_seed_belongs_to_the_class_and_to_the_cell(adding):
    numbers = set()
    for seed in (1, 2):
        notebook = handout.instructors_notebook(adding, seed=seed)
        (test,) = [c for c in notebook.cells if c.metadata.nbgrader.grade_id == "double-test"]
        numbers.add(re.search(r"double\((\d+)\) == 2 \* \1", test.source)[1])
    assert len(numbers) == 2
    assert masters.derived(1, "a") != masters.derived(1, "b")


def test_references_lead_to_the_book(adding):
    (cell,) = [
        cell
        for cell in handout.instructors_notebook(adding, seed=0).cells
        if "equation" in cell.source
    ]
    assert re.search(r"See \[equation \(4\.8\)\]\(https://\S+/notebooks/vae\.ipynb\)", cell.source)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("  minutes: 60\n", ""), "must state 'chapter' and 'minutes'"),
        (("# Adding", "Adding"), "begin with a title"),
        ((":points: 3\n", ""), "tests and derivations have points"),
        (("    ### BEGIN SOLUTION\n    return", "    return"), "solutions need"),
        ((":test: double", ":given: 1"), "hidden tests stand in test cells only"),
        (("{eq}`vae-kl`", "{eq}`vae-nothing`"), "the book has no"),
        (('"derivation": "why"', '"derivation": "double"'), "two cells are called 'double'"),
    ],
)
def test_a_master_with_a_mistake_says_which(small, change, message):
    path = small / "adding.md"
    text = path.read_text()
    assert change[0] in text
    path.write_text(text.replace(*change))
    with pytest.raises(AssignmentError, match=re.escape(message)):
        handout.instructors_notebook(masters.read(path), seed=0)


def test_broken_promises_are_named(small):
    wrong = small / "wrong" / "adding.md"
    wrong.write_text(wrong.read_text().replace("number + 1", "2 * number"))
    (problem, again) = trial.complaints(masters.read(small / "adding.md"))
    assert problem == "'One more': double-test earns 3 of 3 points, not 0"
    assert "by the hidden tests alone" in again


def test_a_visible_test_alone_is_not_enough(small):
    """What only the visible check finds is lost as soon as a student redefines it."""
    path = small / "adding.md"
    text = path.read_text().replace('assert double(1) == 2, "one and one"', 'check("x", double)')
    text = text.replace("assert double(INSTRUCTOR_SEED)", "assert 1 or double(INSTRUCTOR_SEED)")
    text = text.replace(
        "# Adding\n",
        "# Adding\n\n```{code-cell} ipython3\n"
        "def check(name, answer):\n    assert answer(1) == answer(5) / 5\n```\n",
    )
    path.write_text(text)
    found = trial.complaints(masters.read(path))
    assert found == ["the stub: double-test earns 3 of 3 points, not 0" for _ in ()] + [
        "'One more', by the hidden tests alone: double-test earns 3 of 3 points, not 0"
    ]
