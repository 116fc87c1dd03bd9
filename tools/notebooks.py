"""Generate the notebooks that Colab and Binder open, one for each chapter.

    python tools/notebooks.py            write notebooks/NAME.ipynb; remove what has no chapter
    python tools/notebooks.py --check    write nothing; exit 1 and name what is not up to date

The chapters in `book/` are the source; the notebooks are committed, because Colab and Binder
open files of the repository and neither reads MyST. Every page that is a MyST notebook gets
one, unless its front matter says `launch: false`. Before the chapter's own cells stand a note
that says where it comes from, and a cell that installs the package where it is missing.
The same chapters give the same bytes, so that `--check` can compare them.
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
from myst_to_markdown import Converter, collect_targets

ROOT = Path(__file__).parents[1]

# Hosts of notebooks bring these in releases that fit each other, so the install cell leaves
# them alone: another release of one of them would break what it finds.
BROUGHT_BY_HOST = {"ipykernel", "matplotlib", "numpy", "pillow", "torch", "torchvision"}

INSTALL = """\
# Installs the course's package where it is missing, as on Colab; elsewhere this does nothing.
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("course_lib") is None:
    extras = {extras}
    wanted = [name for name in extras if importlib.util.find_spec(name) is None]
    wanted.append("course_lib @ git+{repository}@{branch}")
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", *wanted]
    subprocess.run(command, check=True)
    importlib.invalidate_caches()
"""

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
    book = Book.read(root, course_lib.repository())
    collect_targets(book)
    notebooks = {f"{page.name}.ipynb": _notebook(page, book) for page in book.launched()}
    if book.problems:
        raise BookError("\n".join(book.problems))
    return notebooks


def _notebook(page: Page, book: Book) -> str:
    converter = Converter(page, book)
    cells = [v4.new_markdown_cell(_note(page, book)), v4.new_code_cell(install_source(book))]
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


def install_source(book: Book) -> str:
    """Return the code that installs the package, and nothing that the host has already.

    The extras are the package's own requirements, so the list follows `pyproject.toml`.
    """
    needed = [n for n in course_lib.notebook_requirements() if n not in BROUGHT_BY_HOST]
    return INSTALL.format(
        extras=json.dumps([name.replace("-", "_") for name in needed]),
        repository=book.repository,
        branch=course_lib.BRANCH,
    )


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
    except BookError as error:
        print(error, file=sys.stderr)
        return 1
    changes = differences(folder, notebooks)
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
    print("\n".join(changes) or "The notebooks were up to date.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
