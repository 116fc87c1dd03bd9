"""Every chapter keeps the house's rules: its parts, its words for pictures, its seeds."""

import ast
import importlib
import itertools
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from mdit_py_plugins.colon_fence import colon_fence_plugin

import course_lib

ROOT = Path(__file__).parents[2]
BOOK = ROOT / "book"
PACKAGE = Path(course_lib.__file__).parent

CHAPTERS = sorted(
    path
    for path in BOOK.rglob("*.md")
    if "format_name: myst" in path.read_text().split("\n---", 1)[0]
)
MODEL_CHAPTERS = [path for path in CHAPTERS if path.parent.name == "models"]


def name_of(path: Path) -> str:
    return str(path.relative_to(BOOK))


each_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=name_of)
each_model_chapter = pytest.mark.parametrize("path", MODEL_CHAPTERS, ids=name_of)


def test_there_are_chapters():
    assert CHAPTERS, "book/ has no chapter with code"
    assert MODEL_CHAPTERS, "book/models has no chapter"


def test_chapters_are_in_the_table_of_contents():
    contents = (ROOT / "_toc.yml").read_text()
    listed = set(re.findall(r"(?:file|root): (\S+)", contents))
    pages = {str(path.relative_to(BOOK).with_suffix("")) for path in CHAPTERS}
    assert pages <= listed


MARKDOWN = MarkdownIt("commonmark").use(colon_fence_plugin)


@dataclass(frozen=True)
class Fence:
    """A fenced block: what it says after its opening, its content, and the line of that."""

    info: str
    content: str
    line: int
    parents: tuple[str, ...] = ()

    @property
    def directive(self) -> str:
        return re.match(r"\{([^}]*)\}|", self.info)[1] or ""


@cache
def text_of(path: Path) -> str:
    """A chapter with its front matter blanked, so that line numbers stay."""
    lines = path.read_text().splitlines()
    end = lines.index("---", 1) + 1
    return "\n".join([""] * end + lines[end:]) + "\n"


def fences_in(text: str, line: int = 1, parents: tuple[str, ...] = ()) -> list[Fence]:
    """All fenced blocks, those within directives included, by Markdown's own grammar."""
    found = []
    for token in MARKDOWN.parse(text):
        if token.type in ("fence", "colon_fence"):
            info = token.info.strip()
            fence = Fence(info, token.content, line + token.map[0] + 1, parents)
            found.append(fence)
            if fence.directive and fence.directive not in ("code-cell", "math"):
                found += fences_in(fence.content, fence.line, (*parents, fence.directive))
    return found


def fences(path: Path) -> list[Fence]:
    return fences_in(text_of(path))


def headings(path: Path, level: int) -> list[str]:
    tokens = MARKDOWN.parse(text_of(path))
    return [
        following.content
        for token, following in itertools.pairwise(tokens)
        if token.type == "heading_open" and token.tag == f"h{level}"
    ]


def cells(path: Path) -> list[tuple[int, str]]:
    """The code cells of a chapter: first line, code without options and IPython's magics."""
    found = []
    for fence in fences(path):
        if fence.directive == "code-cell":
            lines = fence.content.splitlines()
            for number, line in enumerate(lines):
                options = not "".join(lines[:number]).strip()
                if (options and re.match(r":[\w-]+:", line)) or re.match(r"\s*[%!]", line):
                    lines[number] = ""
            found.append((fence.line, "\n".join(lines)))
    return found


def nodes(path: Path):
    """Every syntax node of a chapter's code, with the line of the chapter it stands in."""
    for first, code in cells(path):
        for node in ast.walk(ast.parse(code)):
            if hasattr(node, "lineno"):
                yield first + node.lineno - 1, node


@each_chapter
def test_chapter_begins_with_its_kernel_and_one_title(path):
    head = path.read_text().removeprefix("---\n").partition("\n---\n")[0]
    for line in ("display_name: Python 3", "language: python", "name: python3"):
        assert line in head
    assert len(headings(path, 1)) == 1
    assert text_of(path).lstrip().startswith("# ")


@each_chapter
def test_fences_open_and_close_in_pairs(path):
    """An outer colon fence needs more colons than those in it, or the inner one ends it.

    What is left over then opens a nameless block that swallows the text after it.
    """
    nameless = [fence.line - 1 for fence in fences(path) if not fence.info]
    assert not nameless, f"fences without a name open at these lines of {path.name}"


# The library is imported, never copied


def exported_names() -> set[str]:
    """Everything public that modules of the package define at their top level.

    Grading and the checks of exercises are left out: no chapter teaches them.
    """
    names: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        if path.relative_to(PACKAGE).parts[0] in ("assignments", "checks"):
            continue
        dotted = ".".join(("course_lib", *path.relative_to(PACKAGE).with_suffix("").parts))
        module = importlib.import_module(dotted.removesuffix(".__init__"))
        names.update(getattr(module, "__all__", ()))
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.Assign):
                names.update(t.id for t in node.targets if isinstance(t, ast.Name))
    return {name for name in names if not name.startswith("_")}


def bound_names(target: ast.expr) -> set[str]:
    return {node.id for node in ast.walk(target) if isinstance(node, ast.Name)}


def definitions(path: Path) -> tuple[dict[str, int], dict[str, int], set[str]]:
    """What a chapter defines as functions or classes, what it assigns, what it imports.

    Only the top level of its cells counts, and imports only where they come from the package.
    """
    defined: dict[str, int] = {}
    assigned: dict[str, int] = {}
    imported: set[str] = set()
    for first, code in cells(path):
        for node in ast.parse(code).body:
            line = first + node.lineno - 1
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                defined[node.name] = line
            elif isinstance(node, ast.Assign):
                names = set().union(*map(bound_names, node.targets))
                kind = defined if isinstance(node.value, ast.Lambda) else assigned
                kind.update(dict.fromkeys(names, line))
            elif isinstance(node, ast.AnnAssign | ast.AugAssign | ast.For):
                assigned.update(dict.fromkeys(bound_names(node.target), line))
            elif isinstance(node, ast.With):
                for item in node.items:
                    if item.optional_vars:
                        assigned.update(dict.fromkeys(bound_names(item.optional_vars), line))
            elif isinstance(node, ast.Import | ast.ImportFrom):
                source = getattr(node, "module", None) or ""
                imported |= {
                    alias.asname or alias.name.split(".")[0]
                    for alias in node.names
                    if (source or alias.name).split(".")[0] == "course_lib"
                }
    return defined, assigned, imported


@each_chapter
def test_chapter_does_not_copy_the_library(path):
    """No function or class with the name of one in the package, no name of it taken over.

    A plain variable may be called as a function that the chapter does not import
    (``train = data.load(...)``), but never as a class or constant of the package.
    """
    exported = exported_names()
    assert {"VAE", "reparameterize", "principal_components", "LIKELIHOODS"} <= exported
    defined, assigned, imported = definitions(path)
    copies = {name: line for name, line in defined.items() if name in exported | imported}
    assert not copies
    shadows = {
        name: line
        for name, line in assigned.items()
        if name in imported or (name in exported and name[0].isupper())
    }
    assert not shadows


# Pictures have words, and nothing bypasses the house style


FORBIDDEN_CALLS = {
    "plt.show": "show.figure displays the figure",
    "plt.figure": "use show.figure",
    "plt.subplots": "use show.figure",
    "fig.show": "show.figure displays the figure",
    "display": "return a value from the cell, or use show",
    "warnings.filterwarnings": "mend the cause",
    "warnings.simplefilter": "mend the cause",
    "exec": "write it out",
    "eval": "write it out",
    "os.system": "chapters run on every system",
    "np.random.seed": "use np.random.default_rng(seed)",
    "numpy.random.seed": "use np.random.default_rng(seed)",
    "random.seed": "use np.random.default_rng(seed)",
}


@each_chapter
def test_chapter_makes_no_forbidden_call(path):
    calls = {
        line: name
        for line, node in nodes(path)
        if isinstance(node, ast.Call) and (name := ast.unparse(node.func)) in FORBIDDEN_CALLS
    }
    assert not {line: f"{name}: {FORBIDDEN_CALLS[name]}" for line, name in calls.items()}


@each_chapter
def test_every_picture_has_words(path):
    """A sentence of some length, which begins large and ends with a full stop."""
    for line, node in nodes(path):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func).split(".")[-1]
        if name not in ("figure", "images", "explore", "LiveLoss"):
            continue
        alt = {keyword.arg: keyword.value for keyword in node.keywords}.get("alt")
        if name == "LiveLoss" and alt is None:
            alt = node.args[0]
        assert alt is not None, f"line {line}: no alt"
        if isinstance(alt, ast.Constant):
            assert len(alt.value) > 20, f"line {line}: {alt.value!r} says too little"
            assert alt.value[0].isupper(), f"line {line}: {alt.value!r} is no sentence"
            assert alt.value.endswith("."), f"line {line}: {alt.value!r} is no sentence"
            assert "  " not in alt.value, f"line {line}: {alt.value!r} has a double blank"


@each_chapter
def test_chapter_draws_only_from_seeded_generators(path):
    """torch's draws are given a generator; numpy's come from a seeded default_rng."""
    torch_draws = {"rand", "randn", "randint", "randperm", "normal", "multinomial", "bernoulli",
                   "rand_like", "randn_like", "randint_like"}  # fmt: skip
    unseeded = []
    for line, node in nodes(path):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        package, _, function = name.rpartition(".")
        keywords = {keyword.arg for keyword in node.keywords}
        if package == "torch" and function in torch_draws and "generator" not in keywords:
            unseeded.append((line, name))
        if package in ("np.random", "numpy.random", "random") and function != "default_rng":
            unseeded.append((line, name))
        if function == "default_rng" and not node.args and not node.keywords:
            unseeded.append((line, name))
        if (
            package
            and function in ("sample", "elbo", "log_likelihood")
            and "generator" not in keywords
        ):
            unseeded.append((line, name))
    assert not unseeded


# The parts of a chapter on a model


@each_model_chapter
def test_model_chapter_has_the_templates_parts(path):
    found = headings(path, 2)
    for part in (
        "The idea in one figure",
        "From equation to code",
        "Train it yourself",
        "The shipped model",
        "What goes wrong",
        "Bridge to super-resolution",
        "Exercises",
        "Summary",
    ):
        matching = [title for title in found if title.lower().startswith(part.lower())]
        assert len(matching) == 1, f"{part!r} in {found}"
    assert any("explore" in title.lower() for title in found)
    assert found[-2:] == ["Exercises", "Summary"]


@each_model_chapter
def test_model_chapter_states_goals_and_prerequisites_first(path):
    before = path.read_text().split("\n## ", 1)[0].lower()
    assert "{admonition}" in before
    assert "you will be able to" in before or "goals" in before
    assert "you need" in before or "prerequisites" in before


@each_model_chapter
def test_model_chapter_shows_the_librarys_code(path):
    calls = [ast.unparse(n.func) for _, n in nodes(path) if isinstance(n, ast.Call)]
    for needed in ("show.source", "fit", "weights.load", "explore"):
        assert any(call.split(".")[-1] == needed.split(".")[-1] for call in calls), needed


def exercises(path: Path) -> list[Fence]:
    return [fence for fence in fences(path) if fence.directive == "exercise"]


@each_model_chapter
def test_model_chapter_has_three_to_six_exercises(path):
    assert 3 <= len(exercises(path)) <= 6


@each_chapter
def test_exercises_say_how_hard_and_how_long_and_give_a_hint(path):
    labels = []
    for exercise in exercises(path):
        place = f"line {exercise.line}"
        assert exercise.info.removeprefix("{exercise}").strip(), f"{place}: no title"
        labels += re.findall(r"^:label: (ex-\S+)$", exercise.content, re.M)
        level = r"^\*(Easy|Medium|Hard), \d+ minutes\.\*"
        assert re.search(level, exercise.content, re.M), f"{place}: how hard, how long?"
        hints = [f for f in fences_in(exercise.content) if f.info == "{dropdown} Hint"]
        assert len(hints) == 1, f"{place}: no hint, or two"
        assert hints[0].content.strip(), f"{place}: an empty hint"
        assert not exercise.parents, f"{place}: inside {exercise.parents}"
    assert len(labels) == len(set(labels)) == len(exercises(path))


@each_chapter
def test_chapter_gives_no_solutions_away(path):
    assert "{solution" not in path.read_text()
