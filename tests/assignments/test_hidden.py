"""What is hidden stays hidden: no solution and no hidden test leaves ``exercises/``."""

import html
import re
from functools import cache
from pathlib import Path

import pytest

from course_lib.assignments import handout, masters
from course_lib.assignments.gradebook import students_copy

ROOT = Path(__file__).parents[2]
EXERCISES = ROOT / "exercises"
NAMES = [path.stem for path in sorted(EXERCISES.glob("[a-z]*.md"))]
REGION = re.compile(
    r"### BEGIN (?:SOLUTION|HIDDEN TESTS)\n(.*?)\n *### END (?:SOLUTION|HIDDEN TESTS)", re.S
)
SHORTEST = 40  # characters: shorter fingerprints would be met by chance


def flat(text: str) -> str:
    """Return a text without any space, so that line breaks and indents do not matter."""
    return re.sub(r"\s+", "", text)


def fingerprints(text: str) -> set[str]:
    """Return what betrays a master: every two neighbouring lines of its hidden regions."""
    found = set()
    for region in REGION.findall(text):
        lines = [line for line in region.split("\n") if line.strip()]
        pairs = ["\n".join(lines[k : k + 2]) for k in range(max(len(lines) - 1, 1))]
        found |= {flat(pair) for pair in pairs if len(flat(pair)) >= SHORTEST}
    return found


@cache
def published(kind: str) -> dict[Path, str]:
    """Return the files of a kind that readers get, without markup and spaces."""
    folders = {
        "site": (ROOT / "_build" / "html", (".html", ".md", ".js", ".txt", ".ipynb", ".json")),
        "notebooks": (ROOT / "notebooks", (".ipynb",)),
        "wheel": (ROOT / "course_lib", (".py", ".json", ".j2", ".md")),
    }
    folder, endings = folders[kind]
    found = {}
    for path in folder.rglob("*"):
        if path.suffix in endings and "_static" not in path.parts:
            text = path.read_text(encoding="utf-8", errors="ignore")
            if path.suffix == ".html":
                text = html.unescape(re.sub(r"<[^>]+>", "", text))
            elif path.suffix == ".ipynb":
                text = text.replace('\\n",', "").replace('\\"', '"').replace('\n    "', "\n")
            found[path] = flat(text)
    return found


def leaks(text: str, kind: str) -> list[tuple[str, str]]:
    """Return the files of a kind that hold a fingerprint of a master, and which."""
    return [
        (str(path.relative_to(ROOT)), mark)
        for mark in fingerprints(text)
        for path, content in published(kind).items()
        if mark in content
    ]


@pytest.mark.parametrize("kind", ["site", "notebooks", "wheel"])
@pytest.mark.parametrize("name", NAMES)
def test_no_solution_and_no_hidden_test_is_published(name, kind, skip_or_fail):
    if kind == "site" and not published(kind):
        skip_or_fail("the book is not built: run `make book` first")
    text = (EXERCISES / f"{name}.md").read_text(encoding="utf-8")
    assert len(fingerprints(text)) >= 10
    assert leaks(text, kind) == []


@pytest.mark.parametrize("name", NAMES)
def test_nor_does_the_handout_hold_one(name):
    assignment = masters.read(EXERCISES / f"{name}.md")
    copy = students_copy(handout.instructors_notebook(assignment, seed=0))
    text = flat("\n".join(cell.source for cell in copy.cells))
    master = (EXERCISES / f"{name}.md").read_text(encoding="utf-8")
    assert [mark for mark in fingerprints(master) if mark in text] == []


def test_a_leak_would_be_found():
    """In every form in which a cell can be published."""
    lines = (ROOT / "course_lib" / "models" / "vae.py").read_text().split("\n")
    start = next(k for k, line in enumerate(lines) if "epsilon = standard_normal" in line)
    master = "\n".join(["### BEGIN SOLUTION", *lines[start : start + 2], "### END SOLUTION"])
    assert ("course_lib/models/vae.py", flat("".join(lines[start : start + 2]))) in leaks(
        master, "wheel"
    )
    shown = (ROOT / "book" / "models" / "vae.md").read_text()
    cell = re.search(
        r"```\{code-cell\} ipython3\nfrom course_lib import check\n\n(.*?)```", shown, re.S
    )
    master = f"### BEGIN SOLUTION\n{cell[1]}\n### END SOLUTION"
    assert any(path == "notebooks/vae.ipynb" for path, _ in leaks(master, "notebooks"))
    if published("site"):
        assert any(path.endswith("vae.html") for path, _ in leaks(master, "site"))


def test_the_masters_are_no_part_of_the_package_and_of_the_book():
    assert not [
        p
        for p in (ROOT / "course_lib").rglob("*")
        if "BEGIN SOLUTION" in source(p) and p.parts[-2] != "assignments"
    ]
    for path in (ROOT / "book").rglob("*.md"):
        assert "BEGIN SOLUTION" not in path.read_text(encoding="utf-8")


def source(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.suffix in (".py", ".md") else ""
