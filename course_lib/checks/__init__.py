"""Checks of answers to exercises: each says what is wrong, not only that something is.

``course_lib.check("vae.kl", my_kl)`` runs the function ``kl`` of the module
``course_lib.checks.vae``. The checks compare with other libraries, with constants, or with
the properties that the right answer has; they hold no solutions.
"""

from importlib import import_module
from typing import Any

from .verdict import Verdict, Wrong, agree, close, examine, must

TOPICS = ("fidelity", "vae", "gan", "dcgan", "wgan", "ddpm", "srdiff", "guidance")


def check(name: str, answer: Any) -> Verdict:
    """Print what is right or wrong with an answer, and return it as a :class:`Verdict`.

    ``name`` is 'topic.task', such as 'vae.kl', and ``answer`` what the task asks for, mostly
    a function. Raises ``ValueError`` for an unknown name.
    """
    topic, _, task = name.partition(".")
    known = names(topic) if topic in TOPICS else []
    if name not in known:
        everything = known or [each for topic in TOPICS for each in names(topic)]
        raise ValueError(f"there is no check {name!r}; known: {', '.join(everything)}")
    module = import_module(f".{topic}", __name__)
    verdict = examine(name, module.CHECKS[task], answer)
    print(verdict)
    return verdict


def names(topic: str) -> list[str]:
    """Return the names of a topic's checks, such as 'vae.kl'."""
    module = import_module(f".{topic}", __name__)
    return [f"{topic}.{task}" for task in module.CHECKS]


__all__ = ["TOPICS", "Verdict", "Wrong", "agree", "check", "close", "examine", "must", "names"]
