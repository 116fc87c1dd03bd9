"""What a chapter's slides show: its sections as items, each with the text for the speaker.

A paragraph gives its key sentence, a labelled equation its number too, a theorem its
statement, a cell its figures and tables. Everything else that a section says is kept as a
note. How much room an item takes is estimated in `slide_layout`.
"""

import html
import re
from dataclasses import dataclass, field
from itertools import zip_longest

from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode
from mdit_py_plugins.dollarmath import dollarmath_plugin
from nbformat import NotebookNode

import slide_outputs
from chapters import Book, BookError, Page
from myst_to_markdown import Converter, Directive
from slide_outputs import Item

LONGEST_SENTENCE = 180  # characters; longer ones are for the speaker
SHORTEST_SENTENCE = 30
SHORTEST_LEAD = 8
LONGEST_STATEMENT = 520

GOALS = "**You will be able to**"
SKIPPED = {"Check yourself", "References"}
EXERCISE = re.compile(r"Exercise (?P<number>[\d.]+)(?:: (?P<title>.+))?")
EFFORT = re.compile(r"\*(?P<level>\w+), (?P<minutes>\d+) minutes\.\*")
STATEMENT = re.compile(r"\*\*(Theorem|Lemma|Definition)\b")
TITLE_ALONE = re.compile(r"\*\*(?P<title>.+)\*\*", re.S)
KINDS_OF_NOTE = {"Note", "Tip", "Important", "Warning", "See also"}
TAG = re.compile(r"\\tag\{[^}]*\}")

# A sentence ends here, if what follows looks like the beginning of another.
SENTENCE_END = re.compile(r"[.?!][\"”’)*_]*(?=\s+[A-Z\"“‘(*_\\]|\s*$)")
ABBREVIATION = re.compile(r"(\b(e\.g|i\.e|al|vs|cf|resp|Fig|Eq)|\b[A-Z])\.$")
WHOLE = re.compile(r"[.?!]\W*$")
# No sentence ends within code, a formula or a link.
UNBROKEN = re.compile(r"`[^`]*`|\$[^$]+\$|\[[^\]]*\]\([^)]*\)")
EMPHASIS_ALONE = re.compile(r"(\*{1,2})[^*]+\1")
PROOF_BEGINS, PROOF_ENDS = "<!-- proof -->", "<!-- end of proof -->"


class DeckBook(Book):
    """The book as a deck in `teaching/slides/` sees it: links lead to the built pages."""

    def address(self, page: Page) -> str:
        return f"../../{page.path.removesuffix('.md')}.html"

    def blob(self, path: str, kind: str = "blob") -> str:
        if kind == "raw":
            return f"../../_images/{path.rsplit('/', 1)[-1]}"
        return super().blob(path, kind)


class DeckConverter(Converter):
    """The converter of the notebooks, which here also marks where proofs begin and end."""

    def _directive(self, directive: Directive, quoted: bool) -> str:
        text = super()._directive(directive, quoted)
        if directive.name == "prf:proof" and not quoted:
            return f"{PROOF_BEGINS}\n\n{text}\n\n{PROOF_ENDS}"
        return text


@dataclass
class Section:
    """A section or, with level 3, a subsection: its heading as HTML, and its items."""

    level: int
    heading: str
    items: list[Item] = field(default_factory=list)


@dataclass
class Exercise:
    """An exercise as a list of them names it."""

    number: str
    title: str
    level: str = ""
    minutes: str = ""


@dataclass
class Deck:
    """All that the slides of one chapter show."""

    page: Page
    title: str
    goals: list[str] = field(default_factory=list)
    opening: list[str] = field(default_factory=list)  # notes of the title slide
    sections: list[Section] = field(default_factory=list)
    exercises: list[Exercise] = field(default_factory=list)


def _parser(inline: str, display: str) -> MarkdownIt:
    """Return a parser of Markdown that writes formulas as these patterns say."""

    def formula(tex: str, options: dict) -> str:
        pattern = display if options["display_mode"] else inline
        return pattern.format(html.escape(tex.strip(), quote=False))

    parser = MarkdownIt("commonmark").enable("table")
    return parser.use(dollarmath_plugin, renderer=formula, double_inline=True)


SHOWN = _parser(r"\({}\)", r"\[{}\]")
SPOKEN = _parser("${}$", "$${}$$")  # MathJax does not reach the speaker's window


def read_deck(page: Page, book: Book, executed: NotebookNode) -> Deck:
    """Return what the slides of a page show, given its notebook with outputs.

    Raises BookError if the notebook was executed from another state of the page.
    """
    outputs = iter([cell for cell in executed.cells if cell.cell_type == "code"])
    reader = _Reader(page, book)
    for cell, line in page.cells():
        if cell.cell_type == "markdown":
            reader.read(reader.converter.convert(cell.source, line))
            continue
        done = next(outputs, None)
        if done is None or done.source.strip() != cell.source.strip():
            raise BookError(
                f"book/{page.path}, line {line}: the built book has another cell here; "
                "run `make book`"
            )
        for item in slide_outputs.items(done, SHOWN):
            reader.add(item)
    return reader.deck


class _Reader:
    """Takes in the Markdown of a chapter and the items of its cells, in their order."""

    def __init__(self, page: Page, book: Book):
        self.converter = DeckConverter(page, book)
        self.deck = Deck(page, SHOWN.renderInline(page.title))
        self.folded = 0  # depth of what readers unfold
        self.in_proof = False
        self.skipping = 0  # level of the heading under which all is left out
        self.in_exercise = False
        self.lead = ""  # what an equation, coming next, completes

    def add(self, item: Item) -> None:
        """Add an item to the section at hand; before the first, keep its note."""
        if self.skipping or self.in_exercise:
            return
        if self.deck.sections:
            self.deck.sections[-1].items.append(item)
        elif item.note:
            self.deck.opening.append(item.note)

    def read(self, markdown: str) -> None:
        """Take in plain Markdown, block by block."""
        for node in SyntaxTreeNode(SHOWN.parse(markdown)).children:
            note, lead, self.lead = _spoken(node), self.lead, ""
            if node.type == "html_block":
                self._html(node.content, note)
            elif node.type == "heading":
                self._heading(node)
            elif self.folded:
                self.add(Item(note=note))
            elif self.in_exercise:
                self._effort(node)
            elif node.type == "math_block":
                self._equation(node, note, lead)
            elif self.in_proof:
                self.add(Item(note=note))
                self.lead = _lead(_source(node))
            elif node.type == "paragraph":
                self._paragraph(node, note)
            elif node.type == "blockquote":
                self._box(node, note)
            elif node.type in ("bullet_list", "ordered_list"):
                self.add(Item(note=note))
                for entry in node.children:
                    self._bullet(key_sentence(_source(entry)))
            elif node.type == "table":
                self.add(slide_outputs.table(node, SHOWN, note))
            else:
                self.add(Item(note=note))

    def _html(self, content: str, note: str) -> None:
        self.folded += content.count("<details") - content.count("</details>")
        self.in_proof = (self.in_proof or PROOF_BEGINS in content) and PROOF_ENDS not in content
        if summary := re.search(r"<summary>(.*?)</summary>", content, re.S):
            self.add(Item(note=f"<p>{summary[1]}</p>"))

    def _heading(self, node: SyntaxTreeNode) -> None:
        level, source = int(node.tag[1:]), _source(node)
        if exercise := EXERCISE.fullmatch(source):
            self.in_exercise = True
            title = SHOWN.renderInline(exercise["title"] or "")
            self.deck.exercises.append(Exercise(exercise["number"], title))
            return
        self.in_exercise = False
        if self.skipping and level > self.skipping:
            return
        self.skipping = level if source in SKIPPED else 0
        if level > 1 and not self.skipping:
            self.deck.sections.append(Section(min(level, 3), SHOWN.renderInline(source)))

    def _effort(self, node: SyntaxTreeNode) -> None:
        """Note how hard and how long the exercise at hand is, where this paragraph says so."""
        if effort := EFFORT.match(_source(node)):
            exercise = self.deck.exercises[-1]
            exercise.level, exercise.minutes = effort["level"], effort["minutes"]

    def _equation(self, node: SyntaxTreeNode, note: str, lead: str = "") -> None:
        if not TAG.search(node.content):
            self.add(Item(note=note))
            return
        if lead:
            self.add(Item("lead", f"<p>{SHOWN.renderInline(lead)}</p>", visible_length(lead)))
        shown = SHOWN.renderer.render(node.to_tokens(), SHOWN.options, {})
        self.add(Item("equation", f'<div class="equation">{shown}</div>', node.content, note))

    def _bullet(self, sentence: str | None) -> None:
        if sentence:
            shown = SHOWN.renderInline(sentence)
            self.add(Item("bullet", f"<li>{shown}</li>", visible_length(sentence)))

    def _paragraph(self, node: SyntaxTreeNode, note: str) -> None:
        source = _source(node)
        if source.startswith("**References"):
            return
        self.add(Item(note=note))
        pictures = [child for child in node.children[0].children if child.type == "image"]
        if pictures and pictures[0].content and source.startswith("!["):
            address, alt = (
                html.escape(text) for text in (pictures[0].attrs["src"], pictures[0].content)
            )
            self.add(slide_outputs.drawing(address, alt))
            return
        self._bullet(key_sentence(source))
        self.lead = _lead(source)

    def _box(self, node: SyntaxTreeNode, note: str) -> None:
        """Take in a block quote: the goals, a statement, or a remark with a title."""
        first, *others = node.children
        source = _source(first)
        goals = [_source(child) for child in others if _source(child).startswith(GOALS)]
        if goals and not self.deck.sections:
            self.deck.goals = [SHOWN.renderInline(goal) for goal in _goals(goals[0])]
            self.deck.opening += [_spoken(child) for child in others]
        elif STATEMENT.match(source):
            self.add(_statement(node, note))
        elif title := TITLE_ALONE.fullmatch(source):
            self.add(Item(note=note))
            named = "" if title["title"] in KINDS_OF_NOTE else f"{source} "
            sentence = key_sentence(_source(others[0])) if others else None
            self._bullet(sentence and named + sentence)
            for child in others:
                if child.type == "math_block":
                    self._equation(child, "")
        else:
            self.add(Item(note=note))


def _statement(node: SyntaxTreeNode, note: str) -> Item:
    """Return a theorem's statement, cut after a sentence if it is long."""
    shown, tex, length = [], [], 0
    for child in node.children:
        if length > LONGEST_STATEMENT:
            shown.append("<p>…</p>")
            break
        if child.type == "paragraph":
            kept = []
            for sentence in sentences(_source(child)):
                length += visible_length(sentence)
                if kept and length > LONGEST_STATEMENT:
                    kept.append("…")
                    break
                kept.append(sentence)
            shown.append(f"<p>{SHOWN.renderInline(' '.join(kept))}</p>")
        else:
            length += visible_length(_source(child))
            shown.append(SHOWN.renderer.render(child.to_tokens(), SHOWN.options, {}))
            tex += [child.content] if child.type == "math_block" else []
    markup = f'<div class="statement">{"".join(shown)}</div>'
    return Item("statement", markup, (length, tex), note)


def _spoken(node: SyntaxTreeNode) -> str:
    """Return a block as HTML for the speaker, with formulas as they are written."""
    return SPOKEN.renderer.render(node.to_tokens(), SPOKEN.options, {})


def _source(node: SyntaxTreeNode) -> str:
    """Return the Markdown of a block's first line of text."""
    while node.type != "inline" and node.children:
        node = node.children[0]
    return node.content.strip() if node.type == "inline" else ""


def _goals(text: str) -> list[str]:
    """Return the goals, which stand in one sentence, separated by semicolons."""
    masked = UNBROKEN.sub(lambda match: "X" * len(match[0]), text)
    ends = [match.start() for match in re.finditer(";", masked)]
    starts = [len(GOALS), *(end + 1 for end in ends)]
    parts = [text[start:end] for start, end in zip(starts, [*ends, len(text)], strict=True)]
    return [re.sub(r"^and\s+", "", part.strip()).rstrip(". ") for part in parts]


def sentences(text: str) -> list[str]:
    """Return the sentences of a paragraph in Markdown; the last may be a fragment.

    A few words in bold or italics that end like a sentence belong to the next one.
    """
    masked = UNBROKEN.sub(lambda match: "X" * len(match[0]), text)
    found, start = [], 0
    for end in SENTENCE_END.finditer(masked):
        sentence = text[start : end.end()].strip()
        if ABBREVIATION.search(sentence) or EMPHASIS_ALONE.fullmatch(sentence):
            continue
        found.append(sentence)
        start = end.end()
    if rest := text[start:].strip():
        found.append(rest)
    return found


def key_sentence(text: str) -> str | None:
    """Return a paragraph's first whole sentence that does not just point at what follows.

    A question, or a few words, take the next sentence with them. None if there is no such
    sentence, or if it is too long for a slide.
    """
    whole = [sentence for sentence in sentences(text) if _is_whole(sentence)]
    for sentence, following in zip_longest(whole, whole[1:]):
        length = visible_length(sentence)
        if length > LONGEST_SENTENCE:
            return None
        if length >= SHORTEST_SENTENCE and not sentence.endswith("?"):
            return sentence
        if following and length + visible_length(following) < LONGEST_SENTENCE:
            return f"{sentence} {following}"
        if length >= SHORTEST_SENTENCE:
            return sentence
    return None


def _is_whole(sentence: str) -> bool:
    begins = sentence.lstrip("*_")[:1]
    outside = begins not in "(…" and sentence.count("(") == sentence.count(")")
    return outside and not begins.islower() and bool(WHOLE.search(sentence))


def _lead(text: str) -> str:
    """Return the words at a paragraph's end that an equation after it completes, or ''."""
    last = ["", *sentences(text)][-1]
    fits = SHORTEST_LEAD <= visible_length(last) <= LONGEST_SENTENCE
    return last if fits and last[0].isupper() and not WHOLE.search(last) else ""


def visible_length(text: str) -> int:
    """Return about how many characters of a line of Markdown a reader sees."""
    text = re.sub(r"\]\([^)]*\)", "", text)
    text = re.sub(r"\\(left|right|[bB]igg?[lr]?|mathrm|mathbb|mathcal|operatorname)\b", "", text)
    return len(re.sub(r"[*_`${}^\[]", "", re.sub(r"\\[A-Za-z]+|\\.", "x", text)))
