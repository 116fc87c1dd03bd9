"""Deep generative models for image super-resolution: the package behind the course.

The subpackages are imported where they are needed, so that ``import course_lib`` costs
nothing: ``from course_lib.models import VAE``, ``from course_lib import data, weights``.
"""

from importlib.metadata import metadata

__version__ = metadata("course_lib")["Version"]


def repository() -> str:
    """Return the project's address, as stated in ``pyproject.toml``."""
    urls = dict(entry.split(", ", 1) for entry in metadata("course_lib").get_all("Project-URL"))
    return urls["Repository"]
