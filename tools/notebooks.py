"""Generate the notebooks that Colab and Binder open, one for each chapter.

    python tools/notebooks.py            write notebooks/NAME.ipynb; remove what has no chapter
    python tools/notebooks.py --check    write nothing; exit 1 and name what is not up to date

The chapters in `book/` are the source; the notebooks are committed, because Colab and Binder
open files of the repository and neither reads MyST. Every page that is a MyST notebook gets
one, unless its front matter says `launch: false`. Before the chapter's own cells stand a note
that says where it comes from, and a cell that installs the package where it is missing.
The same chapters give the same bytes, so that `--check` can compare them. Beside them,
`exercises/references.json` is written: where the exercises' references to the book lead.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path

import nbformat
from nbformat import NotebookNode, v4

import course_lib
from chapters import Book, BookError, Page
from course_lib.assignments.references import ROLE
from course_lib.hosts import install_source
from myst_to_markdown import Converter, collect_targets

ROOT = Path(__file__).parents[1]

METADATA = {
    "accelerator": "GPU",
    "colab": {"provenance": []},
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}

# What a cell's tag means to JupyterLab and to Colab.
HIDDEN_SOURCE = {"hide-cell", "hide-input", "remove-cell", "remove-input"}


def generate(root: Path) -> dict[str, str]:
    """Return the notebooks' file names and contents for the book below `root`.

    Raises BookError, with one line for each problem, where a chapter cannot be converted.
    """
    book = _read(root)
    notebooks = {f"{page.name}.ipynb": _notebook(page, book) for page in book.launched()}
    if book.problems:
        raise BookError("\n".join(book.problems))
    return notebooks


def _read(root: Path) -> Book:
    book = Book.read(root, course_lib.repository())
    collect_targets(book)
    return book


def _notebook(page: Page, book: Book) -> str:
    converter = Converter(page, book)
    cells = [
        v4.new_markdown_cell(_note(page, book)),
        v4.new_code_cell(install_source(book.repository)),
    ]
    for cell, line in page.cells():
        if cell.cell_type == "markdown":
            cell.source = converter.convert(cell.source, line)
        elif cell.cell_type == "raw":
            converter.problem(line, "a raw cell has no place in a notebook to run")
        if cell.source:
            cells.append(cell)
    for index, cell in enumerate(cells):
        cell.metadata = _cell_metadata(cell)
        cell.id = hashlib.sha256(f"{index}\n{cell.source}".encode()).hexdigest()[:12]
    notebook = v4.new_notebook(cells=cells, metadata=METADATA)
    nbformat.validate(notebook)
    return nbformat.writes(notebook) + "\n"


def _note(page: Page, book: Book) -> str:
    return (
        f"*Generated from [book/{page.path}]({book.blob(page.path)}); read it at "
        f"<{book.repository}>. Changes belong there: this file is overwritten.*"
    )


def references(root: Path) -> str:
    """Return, as JSON, the text and the file of what the masters in `exercises/` refer to.

    Raises BookError, naming the file, for a label or a page that the book does not have.
    """
    book, targets = _read(root), {}
    for path in sorted((root / "exercises").glob("[a-z]*.md")):
        for role in ROLE.finditer(path.read_text(encoding="utf-8")):
            kind = role[1] if role[1] in ("eq", "doc") else "ref"
            page, text = _target(book, kind, role[2])
            if page is None:
                raise BookError(f"exercises/{path.name}: the book has no {role[0]}")
            targets[f"{kind} {role[2]}"] = (text, _published(page))
    return json.dumps(dict(sorted(targets.items())), indent=2, ensure_ascii=False) + "\n"


def _target(book: Book, kind: str, name: str) -> tuple[Page | None, str]:
    """Return the page that a reference names, and what the reference shows."""
    if kind == "doc":
        page = book.pages.get(f"{name}.md")
        return page, f"the chapter *{page.title}*" if page else ""
    target = book.targets.get(name)
    if target is None or target.equation != (kind == "eq"):
        return None, ""
    return target.page, f"equation {target.text}" if kind == "eq" else target.text


def _published(page: Page) -> str:
    """Return where a page can be read in the repository: its notebook, or its source."""
    return f"notebooks/{page.name}.ipynb" if page.launched else f"book/{page.path}"


def _cell_metadata(cell: NotebookNode) -> dict:
    """Return a cell's tags, and what hides its source in Jupyter and in Colab."""
    tags = list(cell.metadata.get("tags", []))
    metadata: dict = {"tags": tags} if tags else {}
    if HIDDEN_SOURCE & set(tags):
        metadata |= {"cellView": "form", "jupyter": {"source_hidden": True}}
    return metadata


def differences(folder: Path, notebooks: dict[str, str]) -> list[str]:
    """Return, in words, how the notebooks in a folder differ from the wanted ones."""
    present = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.ipynb")}
    words = []
    for name in sorted(present.keys() | notebooks):
        if name not in notebooks:
            words.append(f"superfluous: notebooks/{name}")
        elif name not in present:
            words.append(f"missing: notebooks/{name}")
        elif present[name] != notebooks[name]:
            words.append(f"stale: notebooks/{name}")
    return words


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Write or check the notebooks; return the exit code."""
    parser = argparse.ArgumentParser(description="Generate the notebooks for Colab and Binder.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if stale")
    options = parser.parse_args(arguments)
    folder = root / "notebooks"
    try:
        notebooks = generate(root)
        wanted = references(root) if (root / "exercises").is_dir() else None
    except BookError as error:
        print(error, file=sys.stderr)
        return 1
    changes = differences(folder, notebooks)
    links = root / "exercises" / "references.json"
    if wanted and (not links.is_file() or links.read_text(encoding="utf-8") != wanted):
        changes.append("stale: exercises/references.json")
    if options.check:
        if changes:
            print("\n".join([*changes, "Run `make notebooks`."]), file=sys.stderr)
        return 1 if changes else 0
    folder.mkdir(exist_ok=True)
    for name, text in notebooks.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    for path in folder.glob("*.ipynb"):
        if path.name not in notebooks:
            path.unlink()
    if wanted:
        links.write_text(wanted, encoding="utf-8", newline="\n")
    print("\n".join(changes) or "The notebooks were up to date.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
