"""What a notebook does first on a host such as Colab: install the package where it is missing."""

import json

from . import BRANCH, notebook_requirements

# Hosts of notebooks bring these in releases that fit each other, so the install cell leaves
# them alone: another release of one of them would break what it finds.
BROUGHT_BY_HOST = {"ipykernel", "matplotlib", "numpy", "pillow", "torch", "torchvision"}

INSTALL = """\
# Installs the course's package where it is missing, as on Colab; elsewhere this does nothing.
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("course_lib") is None:
    extras = {extras}
    wanted = [name for name in extras if importlib.util.find_spec(name) is None]
    wanted.append("course_lib @ git+{repository}@{branch}")
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", *wanted]
    subprocess.run(command, check=True)
    importlib.invalidate_caches()
"""


def install_source(repository: str) -> str:
    """Return the code that installs the package, and nothing that the host has already.

    The extras are the package's own requirements, so the list follows ``pyproject.toml``.
    """
    needed = [name for name in notebook_requirements() if name not in BROUGHT_BY_HOST]
    return INSTALL.format(
        extras=json.dumps([name.replace("-", "_") for name in needed]),
        repository=repository,
        branch=BRANCH,
    )
