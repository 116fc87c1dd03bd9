"""The book's pages as the notebook generator sees them: titles, labels, bibliography.

`Book.read` follows the table of contents. A page is launched, that is, has a notebook, if
its front matter makes it a MyST notebook and does not say `launch: false`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from urllib.parse import quote

import jupytext.myst
import yaml
from nbformat import NotebookNode
from pybtex.database import BibliographyData, Entry, Person, parse_file
from pybtex.richtext import Text

from course_lib import BRANCH

FRONT_MATTER = re.compile(r"---\n(.*?)^---\n", re.S | re.M)
TITLE = re.compile(r"^# +(.+?) *$", re.M)


class BookError(Exception):
    """Something in the book's source that has to be mended; each line names file and line."""


@dataclass(frozen=True)
class Page:
    """One page: its path below `book/`, with ending, its text, and its chapter's number."""

    path: str
    text: str
    chapter: int | None = None

    @property
    def name(self) -> str:
        """The page's name without folder and ending; its notebook is called the same."""
        return Path(self.path).stem

    @cached_property
    def title(self) -> str:
        """The first heading, or the name where there is none."""
        heading = TITLE.search(FRONT_MATTER.sub("", self.text, count=1))
        return heading[1] if heading else self.name

    @cached_property
    def launched(self) -> bool:
        """Whether the page is a notebook that readers may run elsewhere."""
        front_matter = FRONT_MATTER.match(self.text)
        about = (yaml.safe_load(front_matter[1]) if front_matter else None) or {}
        form = about.get("jupytext", {}).get("text_representation", {}).get("format_name")
        return form == "myst" and about.get("launch", True) is not False

    def cells(self) -> list[tuple[NotebookNode, int]]:
        """Return the cells, each with the number of its first line in the file."""
        notebook = jupytext.myst.myst_to_notebook(self.text, add_source_map=True)
        lines = self.text.splitlines()
        located = []
        for cell, start in zip(notebook.cells, notebook.metadata["source_map"], strict=True):
            while start < len(lines) and not lines[start].strip():
                start += 1
            located.append((cell, start + 1))
        return located


@dataclass(frozen=True)
class Target:
    """What a label points to: a page's section, or a numbered thing such as 'Exercise 3'.

    `text` is what a reference shows; `numbered` says whether it needs 'of the chapter …'
    when it is read in another chapter.
    """

    page: Page
    text: str
    numbered: bool = False
    equation: bool = False


@dataclass
class Book:
    """All pages, what their labels point to, and what was found wrong with them."""

    root: Path
    repository: str
    pages: dict[str, Page]
    targets: dict[str, Target] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, root: Path, repository: str) -> "Book":
        """Read the pages that `_toc.yml` names. Raises BookError if one is missing."""
        pages = {}
        toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
        for name, chapter in _numbered_names(toc):
            path = f"{name.removesuffix('.md')}.md"
            if not (root / "book" / path).is_file():
                raise BookError(f"_toc.yml: there is no book/{path}")
            text = (root / "book" / path).read_text(encoding="utf-8")
            pages[path] = Page(path, text, chapter)
        return cls(root, repository.rstrip("/"), pages)

    def launched(self) -> list[Page]:
        """Return the pages that have a notebook. Raises BookError if two share a name."""
        launched: dict[str, Page] = {}
        for page in self.pages.values():
            if page.launched:
                other = launched.setdefault(page.name, page)
                if other is not page:
                    raise BookError(
                        f"book/{page.path}, line 1: its notebook would have the name of "
                        f"book/{other.path}'s; rename one of the two"
                    )
        return list(launched.values())

    def address(self, page: Page) -> str:
        """Return where a notebook's link to a page leads: its notebook, or its source."""
        return f"{page.name}.ipynb" if page.launched else self.blob(page.path)

    def blob(self, path: str, kind: str = "blob") -> str:
        """Return the address of a file below `book/`; `kind` 'raw' is for images."""
        return f"{self.repository}/{kind}/{BRANCH}/book/{quote(path)}"

    @cached_property
    def bibliography(self) -> BibliographyData:
        """The entries of `book/references.bib`; none where there is no such file."""
        path = self.root / "book" / "references.bib"
        return parse_file(str(path), "bibtex") if path.is_file() else BibliographyData()


def _numbered_names(toc: dict) -> Iterator[tuple[str, int | None]]:
    """Yield each page's name and its number, as Jupyter Book counts the chapters.

    Chapters are counted through all parts that are `numbered`; other pages have no number.
    """
    yield toc["root"], None
    count = 0
    for part in toc.get("parts", [toc]):
        for chapter in part.get("chapters", []):
            numbered = bool(part.get("numbered"))
            count += numbered
            name, *below = _names(chapter)
            yield name, count if numbered else None
            yield from ((name, None) for name in below)


def _names(entry: dict) -> list[str]:
    """Return the name of a page and of those below it."""
    below = (_names(section) for section in entry.get("sections", []))
    return [entry["file"], *(name for names in below for name in names)]


def author_year(entry: Entry) -> tuple[str, str]:
    """Return, as 'Kingma and Welling' and '2014', what a citation shows of an entry."""
    names = [_surname(person) for person in entry.persons.get("author", [])]
    if len(names) > 2 or "others" in names:
        authors = f"{names[0]} et al."
    else:
        authors = " and ".join(names) or entry.fields.get("title", entry.key)
    return authors, entry.fields.get("year", "no year")


def _surname(person: Person) -> str:
    return str(Text.from_latex(" ".join([*person.prelast_names, *person.last_names])))


def entry_address(entry: Entry) -> str | None:
    """Return where an entry can be read: by its DOI, else at arXiv, else at its address."""
    fields = entry.fields
    if "doi" in fields:
        return f"https://doi.org/{quote(fields['doi'], safe='/:')}"
    if "eprint" in fields:
        return f"https://arxiv.org/abs/{fields['eprint']}"
    return fields.get("url")
