"""Book, code and tests agree on the numbered equations, in every direction."""

import ast
import re
from collections import Counter
from pathlib import Path

import course_lib

ROOT = Path(__file__).parents[2]
PACKAGE = Path(course_lib.__file__).parent
UNIMPLEMENTED = "step-"  # how the labels of equations begin that no code implements


def labelled() -> Counter[str]:
    """The labels of the book's equations: a closing ``$$ (label)``."""
    labels: Counter[str] = Counter()
    for path in (ROOT / "book").rglob("*.md"):
        labels.update(re.findall(r"\$\$[ \t]*\(([^()\s]+)\)", path.read_text()))
    return labels


def referenced() -> dict[str, Path]:
    """The labels that chapters refer to as {eq}`label`, with a place where they do."""
    return {
        label: path.relative_to(ROOT)
        for path in (ROOT / "book").rglob("*.md")
        for label in re.findall(r"\{eq\}`([^`]+)`", path.read_text())
    }


def cited() -> dict[str, str]:
    """The labels that docstrings of the package cite as :eq:`label`, with their place."""
    places = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                name = getattr(node, "name", "module")
                for label in re.findall(r":eq:`([^`]+)`", ast.get_docstring(node) or ""):
                    places[label] = f"{path.relative_to(PACKAGE)}: {name}"
    return places


def exercised() -> set[str]:
    """The labels in the ``equation`` markers of all tests, read without running them."""
    labels = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                labels |= {
                    ast.literal_eval(call.args[0])
                    for call in node.decorator_list
                    if isinstance(call, ast.Call)
                    and ast.unparse(call.func) == "pytest.mark.equation"
                }
    return labels


def test_there_are_equations_everywhere():
    assert labelled(), "the book has no numbered equation"
    assert cited(), "the package cites no equation"
    assert exercised(), "no test is marked with an equation"


def test_equations_cited_by_code_are_in_the_book():
    lost = {label: place for label, place in cited().items() if label not in labelled()}
    assert not lost


def test_equations_of_the_book_are_implemented():
    needed = {label for label in labelled() if not label.startswith(UNIMPLEMENTED)}
    assert needed - cited().keys() == set()


def test_equations_without_code_are_not_cited_by_code():
    assert not [label for label in cited() if label.startswith(UNIMPLEMENTED)]


def test_equations_cited_by_code_are_tested():
    assert cited().keys() - exercised() == set()


def test_tests_name_equations_that_are_implemented():
    """A misspelt marker would prove nothing."""
    assert exercised() - cited().keys() == set()


def test_labels_are_unique():
    assert [label for label, count in labelled().items() if count > 1] == []


def test_references_to_equations_have_a_target():
    lost = {label: place for label, place in referenced().items() if label not in labelled()}
    assert not lost
