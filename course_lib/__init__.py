"""Deep generative models for image super-resolution: the package behind the course.

The subpackages are imported where they are needed, so that ``import course_lib`` costs
nothing: ``from course_lib.models import VAE``, ``from course_lib import data, weights``.
"""

import re
from importlib.metadata import metadata, requires
from typing import Any

BRANCH = "main"  # of the repository, where the published notebooks and pages come from
__version__ = metadata("course_lib")["Version"]


def repository() -> str:
    """Return the project's address, as stated in ``pyproject.toml``."""
    urls = dict(entry.split(", ", 1) for entry in metadata("course_lib").get_all("Project-URL"))
    return urls["Repository"]


def notebook_requirements() -> list[str]:
    """Return the names of the packages that the package and its notebooks need."""
    parts = (requirement.partition(";") for requirement in requires("course_lib"))
    return sorted(
        re.match(r"[\w-]+", name)[0]
        for name, _, condition in parts
        if not condition or 'extra == "notebook"' in condition
    )


def check(name: str, answer: Any) -> Any:
    """Check an answer to an exercise: :func:`course_lib.checks.check`."""
    from .checks import check

    return check(name, answer)
