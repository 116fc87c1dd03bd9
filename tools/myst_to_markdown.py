"""Turning a chapter's MyST into the plain Markdown that Jupyter and Colab show.

What the chapters may contain is a short list of directives and roles, and this module
knows exactly these:

- admonition, note, tip, important, warning, seealso and prf:theorem, prf:lemma,
  prf:definition become block quotes with a bold title, prf:proof a paragraph, dropdown a
  `<details>` element, exercise a heading, figure and image a Markdown image;
- `$$ … $$ (label)` gets a `\\tag` with the number that it has in the book. In block quotes
  display mathematics stands on one line, because Jupyter would take the `>` of a second
  line for an inequality;
- {eq}, {ref}, {numref}, {prf:ref} and {doc} become text or links to the other chapter's
  notebook, {cite:p} and {cite:t} author and year with a link, {term} its text.

Everything else that Jupyter would show as raw text is reported with file and line, and no
notebook is written. Numbers of other chapters are known only after a first pass over all
pages, which collects the labels and in which nothing is reported (`collect_targets`).
"""

import re
import textwrap
from collections import Counter
from dataclasses import dataclass

from markdown_it import MarkdownIt

from chapters import Book, Page, Target
from myst_inline import Inline

ADMONITIONS = {
    "admonition": "",
    "note": "Note",
    "tip": "Tip",
    "important": "Important",
    "warning": "Warning",
    "seealso": "See also",
}
STATEMENTS = {
    "prf:theorem": "Theorem",
    "prf:lemma": "Lemma",
    "prf:definition": "Definition",
}

FENCE = re.compile(r"(?P<indent> *)(?P<marks>`{3,}(?!.*`)|~{3,}|:{3,})(?P<info>.*)")
DIRECTIVE = re.compile(r"\{(?P<name>[^}]*)\}\s*(?P<argument>.*)")
OPTION = re.compile(r"\s*:(?P<key>[\w-]+):\s*(?P<value>.*)")
MATH_END = re.compile(r"(?P<body>.*?)\$\$\s*(?:\((?P<label>[^()\s]+)\))?\s*")
TARGET = re.compile(r"\((?P<label>[^()\s]+)\)=\s*")
HEADING = re.compile(r"(?P<marks>#{1,6})\s+(?P<title>.+?)\s*")
REFUSED = {  # at the start of a line of prose
    re.compile(r"\s*>[> ]*(:::|\$\$|```)"): "write a directive instead of '>' around this",
    re.compile(r": +\S"): "notebooks know no definition lists",
    re.compile(r"\\begin\{"): "write display mathematics between $$ and $$",
}
NESTED_ALIGNMENT = re.compile(r"\\begin\{(align|equation|gather|multline)\*?\}")


@dataclass
class Directive:
    """A directive as it stands in the page: `line` is its own, `first` its body's first."""

    name: str
    argument: str
    options: dict[str, str]
    body: list[str]
    line: int
    first: int

    @property
    def label(self) -> str | None:
        return self.options.get("label") or self.options.get("name")

    @property
    def folded(self) -> bool:
        return self.name == "dropdown" or "dropdown" in self.options.get("class", "").split()


def collect_targets(book: Book) -> None:
    """Fill `book.targets` with what the labels of all pages point to."""
    for page in book.pages.values():
        converter = Converter(page, book, report=False)
        if page.launched:
            for cell, line in page.cells():
                if cell.cell_type == "markdown":
                    converter.convert(cell.source, line)
        else:
            converter.convert(page.text, 1)


class Converter:
    """Converts the Markdown cells of one page in turn, counting what is numbered."""

    def __init__(self, page: Page, book: Book, *, report: bool = True):
        self.page, self.book, self.report = page, book, report
        self.counts: Counter[str] = Counter()
        self.level = 1
        self.waiting: list[str] = []  # labels whose heading comes next
        self.words = Inline(page, book, self.problem)

    def problem(self, line: int, message: str) -> None:
        """Note what is wrong in a line of the page's file."""
        if self.report:
            self.book.problems.append(f"book/{self.page.path}, line {line}: {message}")

    def convert(self, text: str, line: int, *, quoted: bool = False) -> str:
        """Return the plain Markdown for a text whose first line is number `line`."""
        lines, index = text.split("\n"), 0
        blocks: list[str] = []
        prose: list[str] = []

        def end_prose() -> None:
            written = "\n".join(prose).rstrip()
            if written:
                blocks.append(self.words.convert(written, line + index - len(prose)))
            prose.clear()

        while index < len(lines):
            current, here = lines[index], line + index
            fence, heading = FENCE.fullmatch(current), HEADING.fullmatch(current)
            target = TARGET.fullmatch(current)
            if self.waiting and current.strip() and not (heading or target):
                self.problem(here, f"({self.waiting.pop()})= must stand before a heading")
            if fence:
                end_prose()
                stop = self._closing(fence, lines, index, here)
                blocks.append(self._fence(fence, lines[index : stop + 1], here, quoted))
                index = stop + 1
            elif current.lstrip().startswith("$$"):
                end_prose()
                stop, block = self._display_math(lines, index, here, quoted)
                blocks.append(block)
                index = stop + 1
            elif heading:
                end_prose()
                blocks.append(self._heading(heading, here))
                index += 1
            elif target:
                end_prose()
                self.waiting.append(target["label"])
                index += 1
            elif current.startswith("%"):  # a comment
                end_prose()
                index += 1
            else:
                for pattern, message in REFUSED.items():
                    if pattern.match(current):
                        self.problem(here, message)
                if prose or current.strip():
                    prose.append(current)
                index += 1
        end_prose()
        return "\n\n".join(filter(None, blocks))

    def _heading(self, heading: re.Match, line: int) -> str:
        self.level = len(heading["marks"])
        title = self.words.convert(heading["title"], line)
        for label in self.waiting:
            self.book.targets[label] = Target(self.page, title)
        self.waiting.clear()
        return f"{heading['marks']} {title}"

    # Display mathematics ---------------------------------------------------------------

    def _display_math(
        self, lines: list[str], start: int, line: int, quoted: bool
    ) -> tuple[int, str]:
        """Return the index of the block's last line, and the block."""
        indent, _, rest = lines[start].partition("$$")
        body, stop = [], start
        while not (end := MATH_END.fullmatch(rest)):
            body.append(rest)
            stop += 1
            if stop == len(lines):
                self.problem(line, "no $$ closes the $$ here")
                return stop, ""
            rest = lines[stop]
        body.append(end["body"])
        if NESTED_ALIGNMENT.search("\n".join(body)):
            self.problem(line, "use aligned inside $$, and one label for each $$ block")
        # Without LaTeX comments and empty lines, both of which would end the block early.
        rows = [re.sub(r"(?<!\\)%.*", "", row).strip() for row in body]
        if label := end["label"]:
            number = self._count("equation")
            self.book.targets[label] = Target(self.page, f"({number})", True, equation=True)
            rows.append(rf"\tag{{{number}}}")
        separator = " " if quoted else f"\n{indent}"
        return stop, indent + separator.join(["$$", *filter(None, rows), "$$"])

    def _count(self, kind: str) -> str:
        """Return the number of the next thing of a kind, such as '3.2', as in the book."""
        self.counts[kind] += 1
        chapter = f"{self.page.chapter}." if self.page.chapter else ""
        return f"{chapter}{self.counts[kind]}"

    # Directives ------------------------------------------------------------------------

    def _closing(self, fence: re.Match, lines: list[str], start: int, line: int) -> int:
        """Return the index of the line that closes a fence: the first with enough marks."""
        marks = fence["marks"]
        for index in range(start + 1, len(lines)):
            text = lines[index].strip()
            if len(text) >= len(marks) and set(text) == {marks[0]}:
                return index
        self.problem(
            line,
            f"no line closes {lines[start].strip()!r}: a fence needs more marks than any in it",
        )
        return len(lines)

    def _fence(self, fence: re.Match, lines: list[str], line: int, quoted: bool) -> str:
        """Return what a fence becomes: a directive's content, or code as it stands."""
        heading = DIRECTIVE.fullmatch(fence["info"].strip())
        if not heading:
            if fence["marks"].startswith(":"):
                self.problem(line, "this opens no directive; was the one before closed early?")
            return "\n".join(lines)
        indent, options = fence["indent"], {}
        body = [row.removeprefix(indent) for row in lines[1:-1]]
        while body and (option := OPTION.fullmatch(body[0])):
            options[option["key"]] = option["value"].strip()
            body.pop(0)
        if body and body[0].startswith("---"):
            self.problem(line + 1, "write a directive's options as lines ':name: value'")
        first = line + 1 + len(options)
        directive = Directive(heading["name"], heading["argument"], options, body, line, first)
        if ADMONITIONS.get(directive.name) and directive.argument:  # is the content's beginning
            directive.body.insert(0, directive.argument)
            directive.argument, directive.first = "", line
        return textwrap.indent(self._directive(directive, quoted), indent)

    def _directive(self, directive: Directive, quoted: bool) -> str:
        """Return the plain Markdown for a directive, whose label is noted on the way."""
        name, options = directive.name, directive.options
        title = self.words.convert(directive.argument, directive.line)

        def content(quoted: bool = quoted) -> str:
            return self.convert("\n".join(directive.body), directive.first, quoted=quoted)

        def numbered(kind: str) -> str:
            known = kind if "nonumber" in options else f"{kind} {self._count(kind)}"
            if directive.label:
                self.book.targets[directive.label] = Target(self.page, known, True)
            return known

        if name in ADMONITIONS or name == "dropdown":
            title = title or ADMONITIONS.get(name) or "More"
            if directive.label:
                self.book.targets[directive.label] = Target(self.page, title)
            if not directive.folded:
                return _quote(f"**{title}**\n\n{content(quoted=True)}")
            start = "<details open>" if "open" in options else "<details>"
            summary = f"<summary><b>{_inline_html(title)}</b></summary>"
            return f"{start}\n{summary}\n\n{content()}\n\n</details>"
        if name in STATEMENTS:
            heading = numbered(STATEMENTS[name]) + (f" ({title})" if title else "")
            return _quote(f"**{heading}.** {content(quoted=True)}")
        if name == "prf:proof":
            return f"**Proof.** {content()}"
        if name == "exercise":
            heading = numbered("Exercise") + (f": {title}" if title else "")
            return f"{'#' * min(self.level + 1, 6)} {heading}\n\n{content()}"
        if name in ("figure", "image"):
            address = self.words.file(directive.argument.strip(), directive.line)
            picture = f"![{options.get('alt', '')}]({address})"
            if name == "image":
                return picture
            return f"{picture}\n\n**{numbered('Figure')}.** {content()}"
        self.problem(directive.line, f"unknown directive {{{name}}}")
        return ""


def _quote(text: str) -> str:
    return "\n".join(f"> {row}".rstrip() for row in text.split("\n"))


def _inline_html(text: str) -> str:
    """Return one line of Markdown as HTML, in which formulas stay as they are."""
    render = MarkdownIt().renderInline
    parts = re.split(r"(\$[^$]+\$)", text)
    return "".join(part if index % 2 else render(part) for index, part in enumerate(parts))
