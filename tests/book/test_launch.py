"""The launch and download buttons, in a small book built with the real theme and config.

The same book shows that the notebooks have the numbers that Jupyter Book gives.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import course_lib
import notebooks

ROOT = Path(__file__).parents[2]

OWNER_AND_NAME = course_lib.repository().removeprefix("https://github.com/")
CHAPTER = """\
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

# A chapter

```{code-cell} ipython3
1 + 1
```

$$
1
$$ (NAME-one)

:::{prf:theorem}
:label: NAME-theorem

$$ 2 $$ (NAME-two)
:::

By {eq}`NAME-two`, {prf:ref}`NAME-theorem` and {ref}`NAME-exercise`.

:::{exercise}
:label: NAME-exercise

Do it.
:::
"""
TOC = """\
format: jb-book
root: index
parts:
  - chapters:
      - file: plain
  - numbered: 2
    chapters:
      - file: models/alone
  - numbered: 2
    chapters:
      - file: models/launched
"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> Path:
    """Build a book of two chapters, of which one has a notebook, and a plain page."""
    root = tmp_path_factory.mktemp("book")
    files = {
        "book/index.md": "# Home\n",
        "book/references.bib": "",
        "book/plain.md": "# Plain\n",
        "book/models/launched.md": CHAPTER.replace("NAME", "launched"),
        "book/models/alone.md": CHAPTER.replace("NAME", "alone"),
        "notebooks/launched.ipynb": json.dumps({"generated": True}),
        "notebooks/index.ipynb": "{}",  # a plain page stays one, whatever lies here
        "_toc.yml": TOC,
    }
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    config["execute"]["execute_notebooks"] = "off"
    config["sphinx"]["local_extensions"] = {"launch": str(ROOT / "book" / "_ext")}
    del config["logo"], config["html"]["favicon"]
    files["_config.yml"] = yaml.safe_dump(config)
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    command = [Path(sys.executable).with_name("jupyter-book"), "build", "book", "--all", "-W"]
    command += ["--path-output", ".", "--config", root / "_config.yml"]
    command += ["--toc", root / "_toc.yml"]
    environment = os.environ | {"PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return root / "_build" / "html"


def links(page: Path) -> list[str]:
    return re.findall(r'href="([^"]*)"', page.read_text())


def test_buttons_lead_to_the_generated_notebook(pages):
    found = links(pages / "models" / "launched.html")
    launches = [link for link in found if "colab" in link or "binder" in link]
    assert launches == [
        f"https://mybinder.org/v2/gh/{OWNER_AND_NAME}/main?urlpath=lab/tree/notebooks/launched.ipynb",
        f"https://colab.research.google.com/github/{OWNER_AND_NAME}/blob/main/notebooks/launched.ipynb",
    ]
    assert course_lib.repository() in found


def test_the_download_is_the_generated_notebook(pages):
    assert "../_sources/models/launched.ipynb" in links(pages / "models" / "launched.html")
    downloaded = pages / "_sources" / "models" / "launched.ipynb"
    assert json.loads(downloaded.read_text()) == {"generated": True}


@pytest.mark.parametrize("name", ["models/alone", "index"])
def test_pages_without_notebook_have_no_such_buttons(pages, name):
    text = (pages / f"{name}.html").read_text()
    assert "colab" not in text
    assert "mybinder" not in text
    assert "dropdown-launch-buttons" not in text
    assert not [link for link in links(pages / f"{name}.html") if link.endswith(".ipynb")]
    assert "dropdown-download-buttons" in text
    assert not (pages / "_sources" / f"{name}.ipynb").exists()


def test_notebooks_have_the_numbers_of_the_book(pages):
    generated = notebooks.generate(pages.parents[1])
    for number, name in enumerate(("alone", "launched"), start=1):
        text = (pages / "models" / f"{name}.html").read_text()
        page = re.sub(r"<[^>]*>", "", text)
        in_book = re.findall(r'class="eqno">\(([\d.]+)\)', text)
        cells = json.loads(generated[f"{name}.ipynb"])["cells"]
        notebook = "\n".join("".join(cell["source"]) for cell in cells)
        assert in_book == re.findall(r"\\tag\{([\d.]+)\}", notebook)
        assert in_book == [f"{number}.1", f"{number}.2"]
        sentence = f"By ({number}.2), Theorem {number}.1 and Exercise {number}.1."
        assert sentence in page
        assert sentence in notebook
