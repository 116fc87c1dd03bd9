"""Spreading the items of a section over slides, by estimates of their height in pixels.

The sizes belong to `slides.css`. The page itself shrinks what turns out a little too
large (`slides.js`), so an estimate need not be exact.
"""

import math
import re
from dataclasses import dataclass, field

from slide_outputs import Item, Table, sized

WIDTH, HEIGHT = 1280, 720
TEXT_WIDTH = WIDTH - 2 * 60
ROOM = HEIGHT - 118 - 56  # below a heading of one line, above the slide's number
MOST_BULLETS = 4
LETTER, LINE = 13.2, 38  # of a bullet
CELL_LETTER, CELL_LINE, ROW = 11, 29, 13
SMALLEST_FIGURE = 0.7  # of its full height, before it goes to a slide of its own
COMPANION = 0.45  # of a slide: what follows a figure and is no higher stays with it
SQUEEZED = 1.2  # how much higher than a slide a table may be
GAP = 14

TALL = re.compile(r"\\(frac|sum|prod|int|underbrace|begin|underset|min|max|sup)\b")


@dataclass
class Part:
    """Something on a slide, by its kind, with about how high it is."""

    kind: str
    markup: str
    height: float = 0


@dataclass
class Slide:
    """One slide: its parts from top to bottom, and what the speaker has in view."""

    parts: list[Part] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def used(self) -> float:
        """The height that is taken up, with a gap after each part."""
        return sum(part.height + GAP for part in self.parts)

    def takes(self, parts: list[Part], bullets: int) -> bool:
        """Return whether parts fit, in height and number of bullets; one always does."""
        kinds = [part.kind for part in [*self.parts, *parts]]
        height = self.used + sum(part.height + GAP for part in parts) - GAP
        return not self.parts or (height <= ROOM and kinds.count("bullet") <= bullets)

    def tail(self) -> list[Part]:
        """Return the last part, with the words that lead to it if it is an equation."""
        led = [part.kind for part in self.parts[-2:]] == ["lead", "equation"]
        return self.parts[-2:] if led else self.parts[-1:]


def spread(items: list[Item], bullets: int = MOST_BULLETS) -> list[Slide]:
    """Return the slides for a section's items; without items, one that is empty."""
    slides = [Slide()]
    for index, item in enumerate(items):
        for part in _parts(item, ROOM - slides[-1].used, items[index + 1 :]):
            if not slides[-1].takes([part], bullets):
                slides.append(Slide())
                if part.kind == "equation" and slides[-2].tail()[0].kind == "lead":
                    slides[-1].parts.append(slides[-2].parts.pop())
            slides[-1].parts.append(part)
        if item.note:
            slides[-1].notes.append(item.note)
    if len(slides) > 1:
        _balance(slides[-2], slides[-1], bullets)
    return [slide for slide in slides if slide.parts or slide.notes] or slides


def _balance(before: Slide, last: Slide, bullets: int) -> None:
    """Move sentences and equations to the last slide while it has less than the one before."""
    while len(before.parts) > 2 and before.parts[-1].kind in ("bullet", "equation"):
        moved = before.tail()
        height = sum(part.height + GAP for part in moved)
        if last.used + height > before.used - height or not last.takes(moved, bullets):
            return
        del before.parts[-len(moved) :]
        last.parts[:0] = moved


def _parts(item: Item, left: float, following: list[Item]) -> list[Part]:
    """Return what an item becomes where so much of a slide is left: several for a table."""
    if item.kind == "table":
        return _tables(item.measure, left)
    if item.kind in ("figure", "drawing"):
        width, height = _figure_size(item, left, _companion(following))
        return [Part("figure", sized(item.markup, width, height), height)]
    return [Part(item.kind, item.markup, _height(item))] if item.kind else []


def _height(item: Item) -> float:
    match item.kind:
        case "bullet" | "lead":
            return LINE * math.ceil(item.measure * LETTER / TEXT_WIDTH)
        case "equation":
            return equation_height(item.measure)
        case "statement":
            length, formulas = item.measure
            lines = math.ceil(length * LETTER / (TEXT_WIDTH - 60))
            return 36 + LINE * lines + sum(map(equation_height, formulas))
        case "code":
            return 60 + 27 * item.measure
        case "table":
            return sum(_row_heights(item.measure))
        case "figure" | "drawing":
            return item.measure[1]
    raise ValueError(f"no slide shows items of the kind {item.kind!r}")


def equation_height(tex: str) -> float:
    """Return about how high a display equation is."""
    rows = re.split(r"\\\\(?:\[[^]]*\])?", tex)
    return 24 + sum(92 if TALL.search(row) else 48 for row in rows)


def _companion(following: list[Item]) -> float:
    """Return the height of what should stand below a figure; 0 if it is too high.

    That is the rest of the section, or only the table or code right after the figure.
    """
    shown = [item for item in following if item.kind]
    heights = [_height(item) + GAP for item in shown]
    if sum(heights) <= COMPANION * ROOM:
        return sum(heights)
    nearest = heights[0] if shown[0].kind in ("table", "code") else 0
    return nearest if nearest <= COMPANION * ROOM else 0


def _figure_size(item: Item, left: float, companion: float) -> tuple[float, float]:
    """Return a figure's width and height: full size, or smaller to fit what is left.

    It is made smaller for its companion, too, and goes to a new slide if it has to be
    much smaller.
    """
    width, height = item.measure
    names = 210 if 'class="cl-rows"' in item.markup else 0
    full = min(1, (TEXT_WIDTH - names) / width, ROOM / height)
    rooms = (left - companion, left, ROOM - companion, ROOM)
    room = next(room for room in rooms if room >= SMALLEST_FIGURE * full * height)
    scale = min(full, room / height)
    return scale * width, scale * height


def _tables(table: Table, left: float) -> list[Part]:
    """Return a table in parts that fit; the first in what is left.

    A table that fits a slide of its own, made a little smaller at most, is not divided.
    """
    heights = _row_heights(table)
    if sum(heights) <= SQUEEZED * ROOM:
        room = SQUEEZED * ROOM
    else:
        room = left if left > 0.5 * ROOM else ROOM
    parts, first = [], 1
    while first < len(heights):
        last, height = first, heights[0]
        while last < len(heights) and (last == first or height + heights[last] <= room):
            height += heights[last]
            last += 1
        body = "".join(table.rows[first:last])
        markup = f"<table><thead>{table.rows[0]}</thead><tbody>{body}</tbody></table>"
        parts.append(Part("table", markup, min(height, ROOM)))
        first, room = last, ROOM
    return parts


def _row_heights(table: Table) -> list[float]:
    """Return about how high each row is, its longest cell being wrapped."""
    widest = [max(column) for column in zip(*table.lengths, strict=True)]
    letters = (TEXT_WIDTH - 28 * len(widest)) / CELL_LETTER
    shares = dict(enumerate(widest))
    if sum(widest) > letters:  # narrow columns keep their width, wide ones share the rest
        narrow = {index for index, most in shares.items() if most <= letters / len(widest)}
        rest = letters - sum(widest[index] for index in narrow)
        wide = sum(widest) - sum(widest[index] for index in narrow)
        shares |= {i: rest * widest[i] / wide for i in shares.keys() - narrow}
    return [
        ROW + CELL_LINE * max(math.ceil(length / max(shares[i], 1)) for i, length in enumerate(row))
        if any(row)
        else ROW + CELL_LINE
        for row in table.lengths
    ]
