"""The notebook generator, on a small book made for the purpose."""

import ast
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

import course_lib
import notebooks
from chapters import BookError, Page
from course_lib import hosts

ROOT = Path(__file__).parents[2]

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

FIRST = (
    NOTEBOOK
    + r"""# First steps

See {doc}`../models/second` and {doc}`the words <../reference/glossary>`,
or [the code](second-file.txt).

$$
a = b_1 \\  % a comment

  + c
$$ (first-sum)

By {eq}`first-sum` and equation {eq}`second-norm`, but not `{eq}` in code nor ${x}`y`$;
{eq}`second-norm` again.

```{code-cell} ipython3
:tags: [hide-input]

x = "{eq}`first-sum`"
```

(sec-deep)=
## A *deep* section

% a comment

$$ x < y $$ (first-order)

Recall {ref}`sec-deep`, {ref}`this section <sec-deep>`, {ref}`ex-count`, {prf:ref}`two-squares`.
"""
)

SECOND = (
    NOTEBOOK
    + r"""# Second thoughts

:::::{admonition} A title with $x_1$
:class: important
:name: box

Text with {eq}`second-norm`.

$$
\lVert x \rVert
\ge 0
$$ (second-norm)

::::{tip}
Nested {term}`prior`, {term}`priors <prior>`.

```python
print("::: $$ {eq}`no`")
```
::::
:::::

:::{prf:theorem} Sums of squares
:label: two-squares

Not every number is one.
:::

```{prf:proof}
Try 3. $\square$
```

::::{dropdown} Why *not* `3` or $a_{1}<b_{2}$?
:open:

$$
1 + 1
= 2
$$ (second-two)

:::{warning}
Mind {eq}`second-two`.
:::
::::

## Exercises

::::{exercise} Count
:label: ex-count

*Easy.* Count to {eq}`second-two`.

:::{dropdown} Hint
Start at one.
:::
::::

:::{exercise}
No title here. See {ref}`ex-count` and {ref}`sec-deep`,
{numref}`Abb. %s <fig-plot>`, {numref}`fig-plot`.
:::

- an item

  :::{note} short
  longer
  :::

```{figure} ../assets/plot.png
:name: fig-plot
:alt: A line.

The caption.
```

{cite:t}`kingma2014vae` and others {cite:p}`kingma2014vae,oord2017vq`; {cite:p}`three2020`.
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
  - caption: Two
    numbered: 2
    chapters:
      - file: models/second
  - caption: Three
    chapters:
      - file: reference/glossary
"""

BIBLIOGRAPHY = r"""
@inproceedings{kingma2014vae,
  author = {Diederik P. Kingma and Max Welling},
  title = {Auto-Encoding}, year = {2014}, eprint = {1312.6114}, archiveprefix = {arXiv}}
@article{oord2017vq,
  author = {A{\"a}ron van den Oord}, title = {Quantised}, year = {2017}, doi = {10.1000/a(b)c}}
@book{three2020,
  author = {One, A. and Two, B. and Three, C.}, title = {Three}, year = {2020}}
"""


@pytest.fixture
def make_book(tmp_path):
    """Write a book of the given chapters, and return its root folder."""

    def make(**chapters: str) -> Path:
        files = {
            "foundations/first.md": chapters.get("first", FIRST),
            "foundations/second-file.txt": "text",
            "models/second.md": chapters.get("second", SECOND),
            "reference/glossary.md": "# Words\n\n```{glossary}\nprior\n  First.\n```\n",
            "index.md": NOTEBOOK.replace("---\n\n", "launch: false\n---\n\n") + "# Home\n",
            "references.bib": BIBLIOGRAPHY,
            "assets/plot.png": "",
        }
        for name, text in files.items():
            path = tmp_path / "book" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (tmp_path / "_toc.yml").write_text(TOC)
        return tmp_path

    return make


def texts(root: Path, name: str) -> str:
    """Return the Markdown of a generated notebook."""
    cells = json.loads(notebooks.generate(root)[f"{name}.ipynb"])["cells"]
    return "\n\n".join("".join(c["source"]) for c in cells[2:] if c["cell_type"] == "markdown")


@pytest.fixture
def converted(make_book):
    """Convert a chapter that consists of the given text."""

    def convert(text: str) -> str:
        return texts(make_book(first=NOTEBOOK + text, second=""), "first")

    return convert


REPOSITORY = course_lib.repository()


def test_which_pages_get_a_notebook(make_book):
    assert sorted(notebooks.generate(make_book())) == ["first.ipynb", "second.ipynb"]


def test_a_page_with_a_kernelspec_alone_is_no_notebook():
    assert not Page("x.md", "---\nkernelspec:\n  name: python3\n---\n# X\n").launched
    assert not Page("x.md", "# X\n").launched
    assert Page("x.md", NOTEBOOK + "# X\n").launched


def test_the_notebook_is_valid_and_has_nothing_run(make_book):
    for text in notebooks.generate(make_book()).values():
        notebook = nbformat.reads(text, as_version=4)
        nbformat.validate(notebook)
        assert notebook.metadata.accelerator == "GPU"
        assert notebook.metadata.kernelspec.name == "python3"
        for cell in notebook.cells:
            if cell.cell_type == "code":
                assert cell.outputs == []
                assert cell.execution_count is None


def test_first_cells_say_where_it_comes_from_and_install(make_book):
    notebook = nbformat.reads(notebooks.generate(make_book())["second.ipynb"], as_version=4)
    note, install = notebook.cells[:2]
    assert f"[book/models/second.md]({REPOSITORY}/blob/main/book/models/second.md)" in note.source
    assert install.cell_type == "code"
    assert f"course_lib @ git+{REPOSITORY}@main" in install.source


def test_the_install_cell_lets_alone_what_the_host_brings(monkeypatch):
    source = hosts.install_source(REPOSITORY)
    assert "torch" not in source
    assert "upgrade" not in source
    assert {"accelerate", "safetensors", "typer", "ipywidgets"} <= set(
        ast.literal_eval(re.search(r"extras = (\[.*\])", source)[1])
    )

    calls, package = [], f"course_lib @ git+{REPOSITORY}@main"
    absent = {"course_lib", "typer"}
    monkeypatch.setattr(subprocess, "run", lambda command, check: calls.append(command))
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in absent else object()
    )
    exec(source, {})
    assert calls == [
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "typer", package],
    ]
    absent.remove("course_lib")
    exec(source, {})
    assert len(calls) == 1


def test_tags_hide_the_source_in_jupyter_and_colab(make_book):
    notebook = nbformat.reads(notebooks.generate(make_book())["first.ipynb"], as_version=4)
    cell = notebook.cells[3]
    assert cell.source == 'x = "{eq}`first-sum`"'
    assert cell.metadata == {
        "cellView": "form",
        "jupyter": {"source_hidden": True},
        "tags": ["hide-input"],
    }


def test_cell_ids_are_unique_and_the_same_every_time(make_book):
    root = make_book()
    first, second = (notebooks.generate(root) for _ in range(2))
    assert first == second
    cells = json.loads(first["second.ipynb"])["cells"]
    assert len({cell["id"] for cell in cells}) == len(cells)


def test_equations_are_numbered_and_referred_to(make_book):
    text = texts(make_book(), "first")
    # No comment and no empty line: both would end the formula early.
    assert "$$\na = b_1 \\\\\n+ c\n\\tag{1.1}\n$$" in text
    assert "$$\nx < y\n\\tag{1.2}\n$$" in text
    assert "By (1.1) and equation [(2.1) of the chapter Second thoughts](second.ipynb), but" in text
    assert "`{eq}` in code nor ${x}`y`$" in text
    assert ";\n[equation (2.1) of the chapter Second thoughts](second.ipynb) again." in text


def test_sections_exercises_and_theorems_are_referred_to(make_book):
    text = texts(make_book(), "first")
    assert "(sec-deep)=" not in text
    assert "## A *deep* section" in text
    assert "a comment" not in text
    assert "Recall A *deep* section, this section, " in text
    assert "[Exercise 2.1 of the chapter Second thoughts](second.ipynb), " in text
    assert "[Theorem 2.1 of the chapter Second thoughts](second.ipynb)." in text
    assert "[A *deep* section](first.ipynb),\nAbb. 2.1, Figure 2.1." in texts(make_book(), "second")


def test_links_to_pages_and_files(make_book):
    text = texts(make_book(), "first")
    assert "See [Second thoughts](second.ipynb) and " in text
    assert f" and [the words]({REPOSITORY}/blob/main/book/reference/glossary.md)" in text
    assert f"or [the code]({REPOSITORY}/blob/main/book/foundations/second-file.txt)" in text


def test_nested_admonitions_become_quotes(make_book):
    # The formula stands on one line: a second line's '>' would be read as part of it.
    expected = r"""
> **A title with $x_1$**
>
> Text with (2.1).
>
> $$ \lVert x \rVert \ge 0 \tag{2.1} $$
>
> > **Tip**
> >
> > Nested prior, priors.
> >
> > ```python
> > print("::: $$ {eq}`no`")
> > ```

> **Theorem 2.1 (Sums of squares).** Not every number is one.

**Proof.** Try 3. $\square$
"""
    assert expected in texts(make_book(), "second")


def test_dropdowns_become_details(make_book):
    expected = r"""
<details open>
<summary><b>Why <em>not</em> <code>3</code> or $a_{1}<b_{2}$?</b></summary>

$$
1 + 1
= 2
\tag{2.2}
$$

> **Warning**
>
> Mind (2.2).

</details>
"""
    assert expected in texts(make_book(), "second")


def test_exercises_become_numbered_headings(make_book):
    expected = """
## Exercises

### Exercise 2.1: Count

*Easy.* Count to (2.2).

<details>
<summary><b>Hint</b></summary>

Start at one.

</details>

### Exercise 2.2

No title here. See Exercise 2.1 and """
    assert expected in texts(make_book(), "second")


def test_directives_in_lists_keep_their_indent(make_book):
    text = texts(make_book(), "second")
    assert "- an item\n\n  > **Note**\n  >\n  > short\n  > longer\n" in text


def test_figures(make_book):
    picture = f"![A line.]({REPOSITORY}/raw/main/book/assets/plot.png)"
    assert f"{picture}\n\n**Figure 2.1.** The caption." in texts(make_book(), "second")


def test_citations(make_book):
    assert texts(make_book(), "second").endswith(
        "[Kingma and Welling (2014)](https://arxiv.org/abs/1312.6114) and others "
        "([Kingma and Welling, 2014](https://arxiv.org/abs/1312.6114); "
        "[van den Oord, 2017](https://doi.org/10.1000/a%28b%29c)); (One et al., 2020)."
    )


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("Hm.\n\n:::{sidebar}\nx\n:::\n", 14, "unknown directive {sidebar}"),
        (":::{note}\n\n```{code-cell}\nx\n```\n:::\n", 12, "no line closes ':::{note}'"),
        ("a {sup}`b`\n", 12, "unknown role {sup}"),
        (":::{note}\nOne\ntwo {sup}`b`\n:::\n", 14, "unknown role {sup}"),
        ("See\n{eq}`nowhere`.\n", 13, "{eq} names 'nowhere'"),
        ("See {ref}`nowhere`.\n", 12, "{ref} names 'nowhere'"),
        ("See {doc}`nowhere`.\n", 12, "{doc} names 'nowhere'"),
        ("See [it](nowhere.md).\n", 12, "there is no 'nowhere.md'"),
        ("See [it](#nowhere).\n", 12, "there is no '#nowhere'"),
        ("As {cite:p}`nobody2000`.\n", 12, "not in references.bib"),
        ("```{code-cell}\n1\n```\n\nA {sup}`b`\n", 16, "unknown role {sup}"),
        (":::{exercise}\n::::{dropdown} Hint\nx\n::::\n:::\n", 13, "needs more marks"),
        ("Hm.\n\n$$\nx\n", 14, "no $$ closes"),
        ("$$\n\\begin{align}\nx\n\\end{align}\n$$ (a)\n", 12, "use aligned"),
        ("\\begin{align}\nx\n\\end{align}\n", 12, "between $$ and $$"),
        ("> $$\n> x\n> $$\n", 12, "write a directive"),
        ("word\n: its meaning\n", 13, "definition lists"),
        ("A note.[^1]\n", 12, "footnotes"),
        ("{{ version }}\n", 12, "substitutions"),
        ("(here)=\n\nNo heading.\n", 14, "must stand before a heading"),
        (":::{note}\n---\nname: x\n---\nx\n:::\n", 13, "':name: value'"),
        ("```{raw-cell}\nx\n```\n", 13, "raw cell"),
    ],
)
def test_what_cannot_be_converted_is_reported_with_its_line(make_book, text, line, words):
    with pytest.raises(BookError) as caught:
        notebooks.generate(make_book(first=NOTEBOOK + text))
    messages = [m for m in str(caught.value).splitlines() if m.startswith("book/foundations/")]
    assert messages[0].startswith(f"book/foundations/first.md, line {line}: "), messages
    assert words in messages[0]


def test_all_problems_are_reported_at_once(make_book, capsys):
    root = make_book(first=NOTEBOOK + "{a}`x`\n\n{b}`x`\n")
    assert notebooks.main([], root=root) == 1
    problems = capsys.readouterr().err.splitlines()
    assert "book/foundations/first.md, line 12: unknown role {a}" in problems
    assert "book/foundations/first.md, line 14: unknown role {b}" in problems
    assert not (root / "notebooks").exists()


def test_a_missing_chapter_and_a_name_used_twice_are_reported(make_book):
    root = make_book()
    (root / "book" / "models" / "second.md").rename(root / "book" / "models" / "first.md")
    with pytest.raises(BookError, match=r"there is no book/models/second\.md"):
        notebooks.generate(root)
    toc = (root / "_toc.yml").read_text().replace("models/second", "models/first")
    (root / "_toc.yml").write_text(toc)
    with pytest.raises(BookError, match=r"rename one of the two"):
        notebooks.generate(root)


def test_writing_then_checking(make_book, capsys):
    root = make_book()
    folder = root / "notebooks"
    assert notebooks.main(["--check"], root=root) == 1
    assert "missing: notebooks/first.ipynb" in capsys.readouterr().err
    assert not folder.exists()

    assert notebooks.main([], root=root) == 0
    assert notebooks.main(["--check"], root=root) == 0
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert notebooks.main([], root=root) == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before

    chapter = root / "book" / "foundations" / "first.md"
    chapter.write_text(chapter.read_text() + "\nMore.\n")
    (folder / "former.ipynb").write_text("{}")
    (folder / "second.ipynb").unlink()
    capsys.readouterr()
    assert notebooks.main(["--check"], root=root) == 1
    assert capsys.readouterr().err.splitlines() == [
        "stale: notebooks/first.ipynb",
        "superfluous: notebooks/former.ipynb",
        "missing: notebooks/second.ipynb",
        "Run `make notebooks`.",
    ]
    assert (folder / "first.ipynb").read_bytes() == before["first.ipynb"]

    assert notebooks.main([], root=root) == 0
    assert not (folder / "former.ipynb").exists()
    assert notebooks.main(["--check"], root=root) == 0


def test_plain_markdown_stays_as_it_is(converted):
    text = (
        "# Title\n\nA *line*\nof [text](https://example.org/a_(b)) and `{x}`.\n\n"
        "| a | b |\n| --- | --- |\n| $1$ | $2$ |\n\n1. one\n   - two\n\n"
        "```python\nif x:\n\n\n    pass  # $$\n```\n\n---\n\nend"
    )
    assert converted(text) == text
