"""The slides, on a small chapter made for the purpose."""

import base64
import re
from pathlib import Path

import jupytext
import nbformat
import pytest
from nbformat import v4
from PIL import Image

import slide_layout
import slides
from chapters import BookError
from course_lib import show
from slide_content import key_sentence, sentences
from slide_outputs import Item

NOTEBOOK = """\
---
jupytext:
  text_representation:
    format_name: myst
    extension: .md
kernelspec:
  name: python3
  display_name: Python 3
  language: python
---

"""

CHAPTER = (
    NOTEBOOK
    + r"""# Sums & squares

:::{admonition} Before you start
**You will be able to** add $a; b$; multiply, as {doc}`../models/second` does; and *divide*.

**You need** nothing.
:::

## Adding

**Why add?** Adding joins two numbers, as {cite:t}`three2020` says. The rest is for the speaker.
The *sum* of both is

$$
a + b < c .
$$ (first-sum)

where nothing is lost, as {eq}`first-sum` says; compare {eq}`second-norm`.

$$
x = x
$$

The next table says more:

| left | right |
| --- | --- |
| one | `two` |

:::{prf:theorem} Order
:label: first-order

Sums do not depend on the order.

$$
a + b = b + a
$$ (first-commutes)
:::

:::{prf:proof}
Swap the two numbers of every sum. $\square$
:::

::::{dropdown} Another proof
Count on your fingers instead of calculating.
::::

```{code-cell} ipython3
secret = "never shown"
```

### Remarks

:::{tip}
By {prf:ref}`first-order` the numbers may be sorted first.
:::

- The first point is about something.
- The second point is about another thing.

```{code-cell} ipython3
:tags: [remove-output]

hidden = "output"
```

## Only below

### Something below

Here is one sentence of the lower section.

## Exercises

::::{exercise} Count to $3$
:label: ex-count

*Easy, 10 minutes.* Task text of the exercise.

:::{dropdown} Hint
Start at one.
:::
::::

### Check yourself

This is not for slides at all.

## Summary

- Adding is easy, as we have seen above.

**References.** Somebody wrote a book.
"""
)

SECOND = (
    NOTEBOOK
    + r"""# Second

## Norms

$$
\lVert x \rVert
$$ (second-norm)
"""
)

TOC = """\
format: jb-book
root: index
parts:
  - caption: One
    numbered: 2
    chapters:
      - file: foundations/first
      - file: models/second
  - caption: Two
    chapters:
      - file: reference/words
"""

FIGURE = (
    '<div class="cl-picture"><svg role="img" aria-label="A line." class="cl-figure" '
    'style="width:100%;max-width:400px;height:auto" viewBox="0 0 300 150"></svg></div>'
)
PIXEL = base64.b64encode(show.png_bytes(Image.new("L", (4, 2)))).decode()


def short(x: int) -> int:
    """Return twice x."""
    return 2 * x


def outputs(*bundles: dict) -> list[nbformat.NotebookNode]:
    return [v4.new_output("display_data", data) for data in bundles]


def fenced(lines: int) -> dict:
    code = "\n".join(f"line_{number} = 0" for number in range(lines))
    return {"text/markdown": f"`course_lib/x.py`, line 3\n\n```python\n{code}\n```\n"}


@pytest.fixture
def make_book(tmp_path):
    """Write a book with an executed chapter of the given text; return its root folder."""

    def make(text: str = CHAPTER, *first: dict) -> Path:
        pages = {
            "index": "# Home\n",
            "reference/words": "# Words\n",
            "foundations/first": text,
            "models/second": SECOND,
        }
        for name, page in pages.items():
            path = tmp_path / "book" / f"{name}.md"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(page)
            notebook = jupytext.reads(page, fmt="md:myst")
            for cell in notebook.cells:
                if cell.cell_type == "code":
                    cell.outputs = outputs(*first)
            executed = tmp_path / "_build" / "jupyter_execute" / f"{name}.ipynb"
            executed.parent.mkdir(parents=True, exist_ok=True)
            nbformat.write(notebook, executed)
        (tmp_path / "_toc.yml").write_text(TOC)
        (tmp_path / "book" / "references.bib").write_text(
            "@book{three2020, author = {One, A. and Two, B. and Three, C.}, "
            "title = {Three}, year = {2020}, doi = {10.1000/3}}"
        )
        return tmp_path

    return make


@pytest.fixture
def deck(make_book):
    """Return the deck of a chapter, given its text and what each cell puts out."""

    def make(text: str = CHAPTER, *bundles: dict) -> str:
        root = make_book(text, *bundles)
        return slides.generate(root, root / "_build" / "jupyter_execute")["first.html"]

    return make


def visible(text: str) -> str:
    """Return a deck without what is for the speaker."""
    return re.sub(r'<aside class="notes">.*?</aside>', "", text, flags=re.S)


def notes(text: str) -> str:
    return "\n".join(re.findall(r'<aside class="notes">(.*?)</aside>', text, flags=re.S))


def slide(text: str, heading: str) -> str:
    """Return the first slide with a heading."""
    parts = re.split(r"<section", text)
    return next(part for part in parts if f"<h2>{heading}" in part)


def test_numbered_chapters_get_a_deck_each(make_book):
    root = make_book()
    decks = slides.generate(root, root / "_build" / "jupyter_execute")
    assert decks.keys() == {"first.html", "second.html"}
    assert "<title>1. Sums &amp; squares: slides</title>" in decks["first.html"]


def test_goals_become_a_list(deck):
    title = deck().split("<h2>")[0]
    assert "<span>Chapter 1</span> Sums &amp; squares" in title
    goals = re.findall(r"<li>(.*?)</li>", title)
    assert len(goals) == 3
    assert r"\(a; b\)" in goals[0]
    assert '<a href="../../models/second.html">Second</a>' in goals[1]
    assert goals[2] == "<em>divide</em>"
    assert "You need" in notes(title)


def test_sections_become_slides_and_subsections_stand_below(deck):
    text = deck()
    stack = re.search(r"<section>\n<section>(.*?)\n</section>", text, re.S)[1]
    assert re.findall(r"<h2>([^<]*)", stack)[0] == "Adding"
    assert '<p class="above">Adding</p><h2>Remarks</h2>' in stack
    assert re.findall(r"<h2>([^<]*)", text)[-1] == "Summary"
    assert "<li>Something below</li>" in slide(text, "Only below")


def test_equations_keep_their_numbers_and_the_words_before_them(deck):
    adding = visible(deck())
    assert re.search(r"\\\[a \+ b &lt; c \.\s*\\tag\{1\.1\}\\\]", adding)
    assert "<p>The <em>sum</em> of both is</p>\n" in adding
    assert "x = x" not in adding


def test_paragraphs_give_their_key_sentence(deck):
    text = deck()
    adding = visible(text)
    assert "<li><strong>Why add?</strong> Adding joins two numbers, as " in adding
    for unwanted in ("for the speaker", "where nothing is lost", "says more", "Somebody wrote"):
        assert unwanted not in adding
    for kept in ("for the speaker", "where nothing is lost", "$x = x$", "says more"):
        assert kept in notes(text)


def test_statements_are_shown_and_proofs_are_for_the_speaker(deck):
    text = deck()
    statement = visible(text).split('class="statement">')[1].split("</div></div>")[0]
    assert "<strong>Theorem 1.1 (Order).</strong> Sums do not depend" in statement
    assert r"\tag{1.2}" in statement
    for proof in ("Swap the two numbers", "Count on your fingers"):
        assert proof not in visible(text)
        assert proof in notes(text)


def test_references_are_resolved(deck):
    text = deck()
    assert '<a href="https://doi.org/10.1000/3">One et al. (2020)</a>' in visible(text)
    assert "By Theorem 1.1 the numbers may be sorted first." in visible(text)
    assert "as (1.1) says" in notes(text)
    assert '<a href="../../models/second.html">equation (2.1) of the chapter Second</a>' in text
    assert "{eq}" not in text


def test_lists_and_tables_of_the_text_are_shown(deck):
    text = visible(deck())
    assert "<li>The second point is about another thing.</li>" in text
    assert "<td>one</td><td><code>two</code></td>" in text


def test_figures_are_kept_and_code_is_not(deck):
    text = deck(CHAPTER, {"text/html": FIGURE, "image/png": PIXEL, "text/plain": "A line."})
    assert text.count("<svg") == 1, "one of the two cells has its output removed"
    assert 'aria-label="A line."' in text
    assert 'style="width:640px;height:320px;' in text
    assert "never shown" not in text


def test_sliders_stand_still(deck):
    markup = '<div class="cl-explore" data-columns="1" data-zoom="5"><input type="range"></div>'
    text = deck(CHAPTER, {"text/html": markup, "image/png": PIXEL, "text/plain": 'A "blend".'})
    assert "<input" not in text
    picture = re.search(r'<img style="width:(\d+)px;[^>]* alt="A &quot;blend&quot;.">', text)
    assert int(picture[1]) == 32  # 4 pixels, zoomed by 5, and larger than on a page


def test_source_code_is_shown_if_short(deck):
    text = visible(deck(CHAPTER, show.source(short)._repr_mimebundle_()))
    assert "test_slide_making.py" in text
    assert ">short</span>" in text
    assert "line_13" in re.sub(r"<[^>]+>", "", visible(deck(CHAPTER, fenced(14))))
    assert "line_13" not in visible(deck(CHAPTER, fenced(15)))


def test_long_tables_are_divided_with_their_header(deck):
    bundle = show.table([(f"row {n}", n) for n in range(40)], ("name", "value"))
    text = deck(CHAPTER, bundle._repr_mimebundle_())
    assert text.count("<th>name</th>") == 4
    assert all(text.count(f"<td>row {number}</td>") == 1 for number in range(40))


def test_exercises_are_listed_without_texts_and_hints(deck):
    text = deck()
    exercises = slide(text, "Exercises")
    assert r"<td>1.1</td><td>Count to <span" in exercises
    assert "<td>Easy</td><td>10</td>" in exercises
    for unwanted in ("Task text", "Start at one", "not for slides", "Check yourself"):
        assert unwanted not in text


def test_long_sections_are_divided(deck):
    points = "\n\n".join(f"This is the sentence with the number {n}." for n in range(9))
    text = deck(f"{NOTEBOOK}# Long\n\n## Section\n\n{points}\n")
    found = [part for part in visible(text).split("<section")[1:] if "<h2>Section" in part]
    assert [part.count("<li>") for part in found] == [4, 3, 2]
    assert "(continued)" not in found[0]
    assert "(continued)" in found[1]
    assert notes(text).count("This is the sentence") == 9


def test_equations_take_their_words_to_the_next_slide():
    filling = Item("figure", '<img style="width:100%;max-width:9px">', (600, 450))
    lead = Item("lead", "<p>So</p>", 30)
    equation = Item("equation", "<div></div>", r"x\tag{1}")
    first, second = slide_layout.spread([filling, lead, equation, filling])
    assert [part.kind for part in first.parts] == ["figure"]
    assert [part.kind for part in second.parts] == ["lead", "equation", "figure"]


def test_figures_are_made_smaller_only_a_little():
    figure = Item("figure", '<img style="width:100%;max-width:9px">', (800, 500))
    code = Item("code", "", 2)
    slide, *others = slide_layout.spread([code, figure])
    assert not others
    assert slide.used <= slide_layout.ROOM + slide_layout.GAP
    assert len(slide_layout.spread([Item("code", "", 9), figure])) == 2


def test_a_chapter_changed_since_the_build_is_refused(make_book):
    root = make_book()
    path = root / "book" / "foundations" / "first.md"
    path.write_text(CHAPTER.replace("never shown", "changed"))
    with pytest.raises(BookError, match=r"first\.md, line \d+: the built book has another cell"):
        slides.generate(root, root / "_build" / "jupyter_execute")


def test_a_chapter_that_was_not_executed_is_named(make_book, tmp_path):
    with pytest.raises(BookError, match=r"first\.md has not been executed"):
        slides.generate(make_book(), tmp_path / "nowhere")


def test_what_cannot_be_converted_is_reported(make_book):
    root = make_book(CHAPTER.replace("{eq}`first-sum`", "{eq}`nothing`"))
    with pytest.raises(BookError, match="'nothing', which is no label"):
        slides.generate(root, root / "_build" / "jupyter_execute")


def test_writing_brings_what_the_decks_load_and_removes_former_decks(make_book):
    root = make_book()
    former = root / "_build" / "html" / "teaching" / "slides" / "former.html"
    former.parent.mkdir(parents=True)
    former.write_text("")
    folder = slides.write(root)
    assert not former.exists()
    text = (folder / "first.html").read_text()
    for address in re.findall(r'(?:src|href)="(reveal/[^"]+)"', text):
        assert (folder / address).stat().st_size > 0
    assert not re.search(r'(?:src|rel="stylesheet" href)="https?:', text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One is here. Two.", ["One is here.", "Two."]),
        ("By A. One et al. Or (e.g. Here). Yes?", ["By A. One et al. Or (e.g. Here).", "Yes?"]),
        ("See $a. B$ and `c. D`. Then [E. F](u)", ["See $a. B$ and `c. D`.", "Then [E. F](u)"]),
        ("**Why?** Because. So", ["**Why?** Because.", "So"]),
    ],
)  # fmt: skip
def test_sentences(text: str, expected: list[str]):
    assert sentences(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("if $x$ is 1. This sentence is a whole one now.", "This sentence is a whole one now."),
        ("Here they come, one after another:", None),
        ("Is it? It is so in every case of all.", "Is it? It is so in every case of all."),
        ("Short one. " + "Long " * 50 + "one.", None),
        ("A long one" + " of words" * 30 + ". Then a short sentence follows it.", None),
        ("(This is said in passing, by the way.)", None),
    ],
)  # fmt: skip
def test_key_sentence(text: str, expected: str | None):
    assert key_sentence(text) == expected
