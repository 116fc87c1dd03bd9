"""A picture before and after, with a divider to move and true pixels to look at."""

from io import BytesIO
from pathlib import Path

import streamlit as st
from PIL import Image

from course_lib import show
from pictures import Cut, part_box, png

LARGEST = 1024  # pixels a side that are sent to the page at once
HERE = Path(__file__).parent

_component = st.components.v2.component(
    "before-and-after",
    **{kind: (HERE / f"compare.{kind}").read_text("utf-8") for kind in ("html", "css", "js")},
)


def before_and_after(
    before: bytes, after: bytes, *, names: tuple[str, str], alts: tuple[str, str], key: str
) -> None:
    """Show two PNG files of the same size, one at either side of a divider.

    Of pictures larger than ``LARGEST`` a part is shown, which two sliders choose.
    """
    size = Image.open(BytesIO(before)).size
    if max(size) > LARGEST:
        before, after, size = _shown_part(before, after, size, key)
    _component(
        key=key,
        data={
            "before": show.data_uri(before),
            "after": show.data_uri(after),
            "beforeName": names[0],
            "afterName": names[1],
            "beforeAlt": alts[0],
            "afterAlt": alts[1],
            "width": size[0],
            "height": size[1],
        },
    )


def _shown_part(
    before: bytes, after: bytes, size: tuple[int, int], key: str
) -> tuple[bytes, bytes, tuple[int, int]]:
    cut = place_sliders(size, LARGEST, key=f"{key}-part", what="Part shown")
    box = part_box(size, LARGEST, cut)
    parts = [Image.open(BytesIO(file)).crop(box) for file in (before, after)]
    return png(parts[0]), png(parts[1]), parts[0].size


def place_sliders(size: tuple[int, int], limit: int, *, key: str, what: str) -> Cut:
    """Let the visitor place a part of ``limit`` x ``limit`` pixels in a picture of this size.

    There is a slider for each side that is longer than the part.
    """
    places = {}
    for name, side, ends in (
        ("across", size[0], ("left", "right")),
        ("down", size[1], ("top", "bottom")),
    ):
        percent = 50
        if side > limit:
            percent = st.slider(
                f"{what}: {name}",
                0,
                100,
                50,
                format="%d %%",
                key=f"{key}-{name}",
                help=f"0 % is at the {ends[0]}, 100 % at the {ends[1]}.",
            )
        places[name] = percent / 100
    return Cut(**places)


def detail(file: bytes, side: int, zoom: int, cut: Cut) -> bytes:
    """Return a part of a PNG file, ``side`` pixels wide and high, each of them a square."""
    image = Image.open(BytesIO(file))
    part = image.crop(part_box(image.size, side, cut))
    size = (zoom * part.width, zoom * part.height)
    return png(part.resize(size, Image.Resampling.NEAREST))
