"""What slides show of a cell: figures, tables, and short source code."""

import base64
import html
import io
import re
import textwrap
from dataclasses import dataclass
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode
from nbformat import NotebookNode
from PIL import Image
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

LONGEST_CODE = 14  # lines
LONGEST_CELL = 170  # characters
UNSEEN = {"hide-cell", "hide-output", "remove-cell", "remove-output"}

SOURCE = re.compile(r"`(?P<place>[^`]+)`(?P<line>, line \d+)\s+```python\n(?P<code>.*?)\n```", re.S)
VIEW_BOX = re.compile(r'viewBox="[\d.-]+ [\d.-]+ (?P<width>[\d.]+) (?P<height>[\d.]+)"')
STYLE = re.compile(r'style="width:100%;max-width:(?P<width>\d+)px[^"]*"')
ZOOM = re.compile(r'class="cl-explore"[^>]*data-zoom="(?P<zoom>\d+)"')
MARKUP = re.compile(r"\]\([^)]*\)|[*`$\\{}\[]")
MAGNIFIED = 1.6  # how much larger than on a page a figure may be


@dataclass
class Item:
    """A part of a slide: its kind, its HTML, what its size depends on, and the note to it.

    An item without a kind is a note alone. The measure is a bullet's or lead's number of
    characters, an equation's TeX, a statement's number of characters and TeX, a figure's
    width and height, code's number of lines, and a table's rows (`Table`).
    """

    kind: str = ""
    markup: str = ""
    measure: Any = None
    note: str = ""


@dataclass
class Table:
    """The rows of a table as HTML, header first, and the lengths of their cells' texts."""

    rows: list[str]
    lengths: list[list[int]]


def items(cell: NotebookNode, parser: MarkdownIt) -> list[Item]:
    """Return what an executed cell shows on slides; never its own code."""
    if UNSEEN & set(cell.metadata.get("tags", [])):
        return []
    shown = []
    for output in cell.outputs:
        data = output.get("data", {})
        if "image/png" in data:
            shown.append(_figure(data))
        elif source := SOURCE.match(data.get("text/markdown", "")):
            shown += _code(source)
        else:
            nodes = SyntaxTreeNode(parser.parse(data.get("text/markdown", ""))).children
            shown += [table(node, parser, "") for node in nodes if node.type == "table"]
    return shown


def _code(source: re.Match) -> list[Item]:
    """Return a function's source, or nothing if it is long."""
    lines = source["code"].count("\n") + 1
    if lines > LONGEST_CODE:
        return []
    formatter = HtmlFormatter(noclasses=True, nobackground=True)
    code = highlight(source["code"], PythonLexer(), formatter)
    place = f"<p><code>{html.escape(source['place'])}</code>{source['line']}</p>"
    return [Item("code", f'<div class="code">{place}{code}</div>', lines)]


def _figure(data: NotebookNode) -> Item:
    """Return a picture in the best form that its output has; sliders stand still."""
    markup = data.get("text/html", "")
    style, box = STYLE.search(markup), VIEW_BOX.search(markup)
    if 'class="cl-picture"' in markup and "<svg" in markup and style and box:
        width = float(style["width"])
        size = width, width * float(box["height"]) / float(box["width"])
    else:
        wide, high = Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).size
        zoom = ZOOM.search(markup)
        if 'class="cl-picture"' in markup and style:
            width = float(style["width"])
        else:
            width = wide * int(zoom["zoom"] if zoom else 1)
            alt = html.escape(data.get("text/plain", ""))
            markup = (
                f'<div class="cl-picture"><img style="width:100%;max-width:{width}px;'
                f'image-rendering:pixelated" src="data:image/png;base64,'
                f'{"".join(data["image/png"].split())}" alt="{alt}"></div>'
            )
        size = width, width * high / wide
    return Item("figure", markup, (MAGNIFIED * size[0], MAGNIFIED * size[1]))


def drawing(address: str, alt: str) -> Item:
    """Return a picture of the text, whose size is not known here: as wide as high."""
    markup = f'<img style="width:100%;max-width:400px" src="{address}" alt="{alt}">'
    return Item("drawing", f'<div class="cl-picture">{markup}</div>', (400, 400))


def sized(markup: str, width: float, height: float) -> str:
    """Return a figure's HTML with the picture in it as large as this."""
    size = f"width:{width:.0f}px;height:{height:.0f}px;image-rendering:pixelated"
    return STYLE.sub(f'style="{size}"', markup, count=1)


def table(node: SyntaxTreeNode, parser: MarkdownIt, note: str) -> Item:
    """Return a table, whose rows may be spread over slides; long texts in it are cut."""
    rows, lengths = [], []
    for row in (row for part in node.children for row in part.children):
        texts = [_cell(cell) for cell in row.children]
        cells = [
            f"<{cell.tag}>{parser.renderInline(text)}</{cell.tag}>"
            for cell, text in zip(row.children, texts, strict=True)
        ]
        rows.append(f"<tr>{''.join(cells)}</tr>")
        lengths.append([len(MARKUP.sub("", text)) for text in texts])
    return Item("table", "", Table(rows, lengths), note)


def _cell(cell: SyntaxTreeNode) -> str:
    """Return a cell's Markdown; of plain text no more than fits a few lines."""
    text = cell.children[0].content if cell.children else ""
    if MARKUP.search(text):
        return text
    return textwrap.shorten(text, LONGEST_CELL, placeholder=" …")
