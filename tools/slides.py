"""Make slides for the numbered chapters, out of the built book.

    python tools/slides.py           write _build/html/teaching/slides/NAME.html for each

The chapters' outputs are those of the last build, which `tools/build.py` ends by calling
`write`. A deck loads reveal.js from `reveal/` beside it and MathJax from the book's own
files, and nothing from another host. The key S opens the speaker's view, whose notes are
the chapter's full text; `?print-pdf` behind the address lays the slides out for printing.
"""

import html
import shutil
import sys
from importlib.resources import files
from pathlib import Path

import nbformat

import course_lib
from chapters import BookError
from myst_to_markdown import collect_targets
from slide_content import Deck, DeckBook, Exercise, Section, read_deck
from slide_layout import MOST_BULLETS, Part, spread

ROOT = Path(__file__).parents[1]
REVEAL = ("LICENSE", "dist/reset.css", "dist/reveal.css", "dist/reveal.js", "plugin/notes/notes.js")
OWN = ("slides.css", "slides.js")
MOST_POINTS = 8  # of the summary on one slide
EXERCISES_PER_SLIDE = 9

DECK = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}: slides</title>
<link rel="icon" href="../../_static/logo.svg">
<link rel="stylesheet" href="reveal/reset.css">
<link rel="stylesheet" href="reveal/reveal.css">
<link rel="stylesheet" href="reveal/slides.css">
<script src="reveal/reveal.js"></script>
<script src="reveal/notes.js"></script>
<script src="reveal/slides.js"></script>
<script src="../../_static/mathjax/tex-mml-chtml.js" defer></script>
</head>
<body>
<div class="reveal"><div class="slides">
{slides}
</div></div>
</body>
</html>
"""


def generate(root: Path, executed: Path) -> dict[str, str]:
    """Return the decks' file names and contents, one for each numbered chapter.

    `executed` is the folder in which the build left the chapters with their outputs.
    Raises BookError where a chapter is missing there, or is of another state, or cannot
    be converted.
    """
    book = DeckBook.read(root, course_lib.repository())
    collect_targets(book)
    decks = {}
    for page in book.pages.values():
        if page.chapter is None or not page.launched:
            continue
        path = executed / f"{page.path.removesuffix('.md')}.ipynb"
        if not path.is_file():
            raise BookError(f"book/{page.path} has not been executed: run `make book`")
        deck = read_deck(page, book, nbformat.read(path, as_version=4))
        decks[f"{page.name}.html"] = render(deck)
    if book.problems:
        raise BookError("\n".join(book.problems))
    return decks


def render(deck: Deck) -> str:
    """Return a deck as an HTML page."""
    summary = [section for section in deck.sections if section.heading == "Summary"]
    groups: list[list[str]] = [[_title(deck)]]
    parent = None
    for index, section in enumerate(deck.sections):
        if section in summary:
            continue
        if section.level == 2:
            parent = section
            groups.append([])
        below = []
        for later in deck.sections[index + 1 :]:
            if section.level == 3 or later.level == 2:
                break
            below.append(later)
        above = parent.heading if section.level == 3 and parent else _chapter(deck)
        if section.heading == "Exercises":
            groups[-1] += _exercises(deck.exercises, above)
        else:
            groups[-1] += _section(section, above, below)
    groups += [_section(section, _chapter(deck), [], MOST_POINTS) for section in summary]
    slides = "\n".join(
        group[0] if len(group) == 1 else f"<section>\n{chr(10).join(group)}\n</section>"
        for group in groups
        if group
    )
    return DECK.format(title=html.escape(f"{deck.page.chapter}. {deck.page.title}"), slides=slides)


def _chapter(deck: Deck) -> str:
    return f"{deck.page.chapter}. {deck.title}"


def _title(deck: Deck) -> str:
    goals = "".join(f"<li>{goal}</li>" for goal in deck.goals)
    if goals:
        goals = f"<p>You will be able to</p><ul>{goals}</ul>"
    page = f"../../{deck.page.path.removesuffix('.md')}.html"
    body = f'{goals}<p class="link"><a href="{page}">The chapter in the book</a></p>'
    heading = f"<h1><span>Chapter {deck.page.chapter}</span> {deck.title}</h1>"
    return _slide(heading, body, deck.opening, "title")


def _section(
    section: Section, above: str, below: list[Section], bullets: int = MOST_BULLETS
) -> list[str]:
    """Return the slides of a section; one with nothing to show names what is below it."""
    made = spread(section.items, bullets)
    if not any(slide.parts for slide in made):
        made[0].parts = [Part("bullet", f"<li>{inner.heading}</li>") for inner in below]
    return [
        _slide(_heading(above, section.heading, index), _body(slide.parts), slide.notes)
        for index, slide in enumerate(made)
    ]


def _heading(above: str, heading: str, index: int = 0) -> str:
    more = ' <span class="more">(continued)</span>' if index else ""
    return f'<p class="above">{above}</p><h2>{heading}{more}</h2>'


def _body(parts: list[Part]) -> str:
    """Return the parts one below the other, neighbouring bullets as one list."""
    body, listing = [], False
    for part in parts:
        if (part.kind == "bullet") != listing:
            body.append("</ul>" if listing else "<ul>")
            listing = not listing
        body.append(part.markup)
    return "\n".join([*body, "</ul>"] if listing else body)


def _exercises(exercises: list[Exercise], above: str) -> list[str]:
    """Return slides with the exercises' titles, and how hard and how long they are."""
    rows = [
        f"<tr><td>{exercise.number}</td><td>{exercise.title}</td><td>{exercise.level}</td>"
        f"<td>{exercise.minutes}</td></tr>"
        for exercise in exercises
    ]
    starts = range(0, len(rows), EXERCISES_PER_SLIDE)
    return [
        _slide(
            _heading(above, "Exercises", start),
            "<table><thead><tr><th></th><th>Exercise</th><th>Difficulty</th><th>Minutes</th></tr>"
            f"</thead><tbody>{''.join(rows[start : start + EXERCISES_PER_SLIDE])}</tbody></table>",
            [],
        )
        for start in starts
    ]


def _slide(heading: str, body: str, notes: list[str], kind: str = "") -> str:
    attribute = f' class="{kind}"' if kind else ""
    aside = f'\n<aside class="notes">{"".join(notes)}</aside>' if notes else ""
    return f'<section{attribute}>{heading}\n<div class="body">{body}</div>{aside}</section>'


def write(root: Path = ROOT) -> Path:
    """Write the decks and what they load into the built book; return their folder.

    Raises BookError as `generate` does, before anything is changed.
    """
    decks = generate(root, root / "_build" / "jupyter_execute")
    folder = root / "_build" / "html" / "teaching" / "slides"
    if folder.is_dir():
        shutil.rmtree(folder)
    (folder / "reveal").mkdir(parents=True)
    package = Path(str(files("sphinx_revealjs"))) / "_static" / "revealjs"
    origins = [package / name for name in REVEAL]
    for origin in [*origins, *(Path(__file__).parent / name for name in OWN)]:
        shutil.copy(origin, folder / "reveal")
    for name, text in decks.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    return folder


def main() -> int:
    """Write the slides; return the exit code."""
    try:
        folder = write()
    except BookError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"The slides are in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
