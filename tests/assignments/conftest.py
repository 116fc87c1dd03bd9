"""The masters that ship, and the smallest that there can be."""

from pathlib import Path

import pytest

from course_lib.assignments import masters

ROOT = Path(__file__).parents[2]
EXERCISES = ROOT / "exercises"

MASTER = """\
---
jupytext:
  text_representation:
    format_name: myst
    extension: .md
kernelspec:
  name: python3
  display_name: Python 3
assignment:
  chapter: models/vae
  minutes: 60
---

# Adding

See {eq}`vae-kl`.

```{code-cell} ipython3
:solution: double

def double(number):
    ### BEGIN SOLUTION
    return number + number
    ### END SOLUTION
```

```{code-cell} ipython3
:test: double
:points: 3

assert double(1) == 2, "one and one"
### BEGIN HIDDEN TESTS
assert double(INSTRUCTOR_SEED) == 2 * INSTRUCTOR_SEED, "other numbers"
### END HIDDEN TESTS
```

+++ {"derivation": "why", "points": 2}

### BEGIN SOLUTION
Because $1 + 1 = 2$.
### END SOLUTION
"""

WRONG = """\
# Wrong

## One more

```{code-cell} ipython3
:task: double
:loses: {double-test: 3}

def double(number):
    return number + 1
```
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A folder with one small master, 'adding', its wrong answer, and its references."""
    folder = tmp_path / "exercises"
    (folder / "wrong").mkdir(parents=True)
    (folder / "adding.md").write_text(MASTER)
    (folder / "wrong" / "adding.md").write_text(WRONG)
    (folder / "references.json").write_text(
        '{"eq vae-kl": ["equation (4.8)", "notebooks/vae.ipynb"]}'
    )
    return folder


@pytest.fixture
def adding(small: Path) -> masters.Assignment:
    return masters.read(small / "adding.md")
