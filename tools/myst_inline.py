"""The roles and links in a line of MyST, turned into text and links that notebooks know."""

import re
from collections.abc import Callable
from pathlib import PurePosixPath
from posixpath import normpath

from chapters import Book, Page, author_year, entry_address

IMAGES = (".gif", ".jpeg", ".jpg", ".png", ".svg", ".webp")
EXPLICIT = re.compile(r"(?P<text>.+?)\s*<(?P<target>[^<>]+)>", re.S)
INLINE = re.compile(
    r"""
      \\.                                                        # an escaped character
    | \{(?P<role>[A-Za-z][\w:+.-]*)\}(?P<marks>`+)(?P<body>.+?)(?<!`)(?P=marks)(?!`)
    | (?P<code>`+)(?!`).+?(?<!`)(?P=code)(?!`)
    | (?P<math>\${1,2})[^$]+(?P=math)
    | \]\((?P<url>[^()\s]+)(?=[)\s])                             # of a link or an image
    | (?P<refused>\[\^|\{\{)                                     # footnote, substitution
    """,
    re.X | re.S,
)


class Inline:
    """Converts what stands in the prose of one page.

    `problem(line, message)` is told of everything that cannot be converted.
    """

    def __init__(self, page: Page, book: Book, problem: Callable[[int, str], None]):
        self.page, self.book, self.problem = page, book, problem

    def convert(self, text: str, line: int) -> str:
        """Return a text with its roles and links converted; code and formulas stay."""

        def replace(match: re.Match) -> str:
            here = line + text.count("\n", 0, match.start())
            if match["role"]:
                return self._role(match["role"], match["body"], here, text[: match.start()])
            if match["url"]:
                return f"]({self.file(match['url'], here)}"
            if match["refused"]:
                self.problem(here, "notebooks know no footnotes ([^) and no substitutions ({{)")
            return match[0]

        return INLINE.sub(replace, text)

    def _role(self, name: str, body: str, line: int, before: str) -> str:
        explicit = EXPLICIT.fullmatch(body)
        text = explicit["text"] if explicit else ""
        target = explicit["target"] if explicit else body.strip()
        match name:
            case "term":
                return text or target
            case "cite:p" | "cite:t":
                return self._citation(name, [key.strip() for key in body.split(",")], line)
            case "doc":
                return self._document(text, target, line)
            case "eq" | "ref" | "numref" | "prf:ref":
                return self._reference(name, text, target, line, before)
        self.problem(line, f"unknown role {{{name}}}")
        return body

    def _document(self, text: str, target: str, line: int) -> str:
        page = self.book.pages.get(f"{self._resolve(target).removesuffix('.md')}.md")
        if page is None:
            self.problem(line, f"{{doc}} names {target!r}, which is no page of the book")
            return text or target
        return f"[{text or page.title}]({self.book.address(page)})"

    def _reference(self, name: str, text: str, label: str, line: int, before: str) -> str:
        target = self.book.targets.get(label)
        if target is None or target.equation != (name == "eq"):
            self.problem(line, f"{{{name}}} names {label!r}, which is no label of that kind")
            return text or label
        shown = target.text
        if target.page is not self.page and target.numbered:
            shown = f"{shown} of the chapter {target.page.title}"
            if target.equation and not re.search(r"equations?\s+$", before, re.I):
                shown = f"equation {shown}"
        if "%s" in text:
            text = text.replace("%s", target.text.split()[-1])
        shown = text or shown
        if target.page is self.page:
            return shown
        return f"[{shown}]({self.book.address(target.page)})"

    def _citation(self, name: str, keys: list[str], line: int) -> str:
        cited = []
        for key in keys:
            if key not in self.book.bibliography.entries:
                self.problem(line, f"{{{name}}} names {key!r}, which is not in references.bib")
                continue
            entry = self.book.bibliography.entries[key]
            authors, year = author_year(entry)
            shown = f"{authors}, {year}" if name == "cite:p" else f"{authors} ({year})"
            address = entry_address(entry)
            cited.append(f"[{shown}]({address})" if address else shown)
        return f"({'; '.join(cited)})" if name == "cite:p" else ", ".join(cited)

    def file(self, url: str, line: int) -> str:
        """Return the address of what a link or an image in the page's source points to."""
        if re.match(r"[a-z]+:", url):
            return url
        path = self._resolve(url.partition("#")[0])
        if path in self.book.pages:
            return self.book.address(self.book.pages[path])
        if url.startswith("#") or not (self.book.root / "book" / path).is_file():
            self.problem(line, f"there is no {url!r}; for a label use {{ref}}")
        return self.book.blob(path, "raw" if path.lower().endswith(IMAGES) else "blob")

    def _resolve(self, path: str) -> str:
        """Return a path relative to `book/`, given one relative to the page, or '/…'."""
        return normpath(PurePosixPath("/", self.page.path).parent / path).lstrip("/")
