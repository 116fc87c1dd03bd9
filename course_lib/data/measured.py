"""Measurements of the upscalers that take long, kept so that every copy of the book has them.

Each file was written by ``course-lib``, and says by which command, when, where and by what
protocol. The photographs of the benchmarks are not part of the package.
"""

import json
from importlib.resources import files
from typing import Any

MEASURED = ("set14", "kodak24", "speed")


def measured(name: str) -> dict[str, Any]:
    """Return what was measured: one of ``MEASURED``, as the command line wrote it.

    'set14' and 'kodak24' are of ``course-lib evaluate-sr``, 'speed' is of ``course-lib bench``.
    Raises ``ValueError`` for an unknown name.
    """
    if name not in MEASURED:
        raise ValueError(f"there is no measurement {name!r}; known: {', '.join(MEASURED)}")
    return json.loads((files(__package__) / f"measured-{name}.json").read_text(encoding="utf-8"))
