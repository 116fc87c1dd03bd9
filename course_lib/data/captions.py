"""Captions of photographs, made from the names of their files."""

import re
from pathlib import Path

# Coarse words for the photographs that the shipped model learned from; the first that fits.
SUBJECTS = (
    ("a bird", ("wren", "osprey")),
    ("an animal", ("otters", "bee", "friends")),
    ("flowers", ("periwinkle", "seeding")),
    ("fruits", ("citrus", "picture-0b")),
    ("colourful things", ("spices", "picture-1a")),
    ("a room", ("wine",)),
    ("green fields", ("tea",)),
    ("a forest", ("life",)),
    ("a desert", ("desert",)),
    ("mountains", ("aitzgorri", "sherburne", "picosdeeuropa", "machu", "great-wallof")),
    ("a sunset", ("sunset",)),
    ("a bridge", ("bridge", "pontdu", "trestle")),
    ("a city", ("cityscape", "piazza")),
    ("a castle", ("chambord", "chenonceau", "carcassonne", "palaisdes", "mont-st")),
    ("a tower", ("eiffel", "qutub")),
    ("a palace", ("palace", "mahal", "charminar", "memorial", "rang-ghar", "casa-mila")),
    ("a temple", ("temple", "stupa", "cathedral", "ajanta")),
    ("ruins", ("colosseum", "amphitheater", "petra")),
    ("a village", ("rocamadour",)),
    ("a gate", ("gatewayof",)),
    ("a pattern", ("spiral",)),
)
CAPTION_WORDS = tuple(
    sorted({word for subject, _ in SUBJECTS for word in subject.split()} | {"photograph", "of"})
)


def caption(path: Path) -> str:
    """Return what a photograph shows, as its file's name tells: 'a photograph of a bird'.

    Of a name that is not known, its words are taken, up to a 'by' and without numbers.
    """
    name = path.stem.lower()
    for subject, parts in SUBJECTS:
        if any(part in name for part in parts):
            return f"a photograph of {subject}"
    words = [word for word in re.split("[^a-z]+", name.split("-by-")[0]) if word]
    return " ".join(["a photograph of", *words]) if words else "a photograph"
