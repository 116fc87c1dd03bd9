"""Turning references to the book into links that a student's notebook can follow.

``exercises/references.json`` says where each label of the book is and what number it has;
``make notebooks`` writes it from the chapters.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from .. import BRANCH, repository
from .errors import AssignmentError

ROLE = re.compile(r"\{(eq|ref|prf:ref|doc)\}`([^`]+)`")


@dataclass(frozen=True)
class References:
    """``targets`` maps 'eq vae-kl' or 'doc models/vae' to a text and a file's path."""

    targets: dict[str, tuple[str, str]]

    @classmethod
    def read(cls, folder: Path) -> "References":
        """Read the file that lies beside the masters; there may be none."""
        path = folder / "references.json"
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return cls({key: tuple(value) for key, value in found.items()})

    def resolve(self, text: str, where: str) -> str:
        """Return a text with its roles as links.

        Raises :class:`AssignmentError`, naming ``where``, for what the book does not have.
        """

        def link(role: re.Match) -> str:
            key = f"{'eq' if role[1] == 'eq' else 'doc' if role[1] == 'doc' else 'ref'} {role[2]}"
            if key not in self.targets:
                raise AssignmentError(f"{where}: the book has no {{{role[1]}}}`{role[2]}`")
            shown, path = self.targets[key]
            return f"[{shown}]({repository()}/blob/{BRANCH}/{path})"

        return ROLE.sub(link, text)
