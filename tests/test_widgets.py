"""Sliders with a kernel and without: the right picture for every position."""

import base64
import html
import html.parser
import io
import itertools
import json
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from course_lib.widgets import Axis, explore

HEIGHT, WIDTH = 2, 3


def render(**values) -> torch.Tensor:
    """An image of which every pixel tells the values."""
    number = 0
    for value in values.values():
        number = number * 7 + value
    levels = (number * 37 + torch.arange(HEIGHT * WIDTH).reshape(1, HEIGHT, WIDTH)) % 256
    return levels / 255


def axes(*counts: int) -> dict[str, Axis]:
    return {f"axis{i}": Axis(f"number {i}", range(count)) for i, count in enumerate(counts)}


class Page(html.parser.HTMLParser):
    """The attributes of every tag in a piece of markup."""

    def __init__(self, markup: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(markup)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def pixels(uri_or_bytes: str | bytes) -> np.ndarray:
    if isinstance(uri_or_bytes, str):
        uri_or_bytes = base64.b64decode(uri_or_bytes.removeprefix("data:image/png;base64,"))
    return np.array(Image.open(io.BytesIO(uri_or_bytes)))


@given(st.lists(st.integers(1, 5), min_size=1, max_size=3))
def test_published_picture_holds_a_frame_for_every_combination(counts):
    """In the place where the page's script looks: row by row, the last slider fastest."""
    explorer = explore(render, alt="Numbers.", zoom=5, **axes(*counts))
    page = Page(explorer.markup())
    (box,) = (tag for tag in page.all("div") if tag["class"] == "cl-explore")
    (image,) = page.all("img")
    sheet = pixels(image["src"])
    columns = int(box["data-columns"])
    assert (int(box["data-width"]), int(box["data-height"])) == (WIDTH, HEIGHT)
    assert int(box["data-zoom"]) == 5
    rows = -(-int(np.prod(counts)) // columns)
    assert sheet.shape == (rows * HEIGHT, columns * WIDTH)
    for indices in itertools.product(*map(range, counts)):
        flat = int(np.ravel_multi_index(indices, counts))
        row, column = divmod(flat, columns)
        frame = sheet[row * HEIGHT : (row + 1) * HEIGHT, column * WIDTH : (column + 1) * WIDTH]
        expected = render(**{f"axis{i}": index for i, index in enumerate(indices)})
        assert np.array_equal(frame, np.rint(expected[0].numpy() * 255))


def test_frames_may_be_in_colour():
    def coloured(level):
        return torch.tensor([level, 0.5, 1 - level]).reshape(3, 1, 1).expand(3, 2, 2)

    explorer = explore(coloured, alt="Colours.", level=Axis("red", (0.0, 0.2, 1.0)))
    sheet = pixels(Page(explorer.markup()).all("img")[0]["src"])
    assert sheet.shape == (4, 4, 3)
    assert sheet[0, 2].tolist() == [51, 128, 204]
    assert sheet[2, 0].tolist() == [255, 128, 0]


def test_published_sliders_name_their_values_and_start_where_they_should():
    explorer = explore(
        lambda shift, kind: torch.zeros(1, 2, 2),
        alt='A "grey" square.',
        shift=Axis("shift & <scale>", [-1.0, 0.5, 2.0]),
        kind=Axis("kind", ["a<b", 'c"d|e'], start=0),
    )
    markup = explorer.markup()
    page = Page(markup)
    first, second = page.all("input")
    assert (first["type"], first["min"], first["max"], first["value"]) == (
        "range",
        "0",
        "2",
        "1",
    )
    assert (second["max"], second["value"]) == ("1", "0")
    assert json.loads(first["data-labels"]) == ["-1.00", "0.50", "2.00"]
    assert json.loads(second["data-labels"]) == ["a<b", 'c"d|e']
    assert "shift & <scale>" in "".join(page.words)
    assert "<scale>" not in markup
    assert page.all("img")[0]["alt"] == 'A "grey" square.'
    outputs = re.findall(r'aria-hidden="true">(.*?)</span>', markup)
    assert [html.unescape(text) for text in outputs] == ["0.50", "a<b"]


def test_controls_are_hidden_until_a_script_moves_them():
    """Without script or kernel no dead slider is seen."""
    page = Page(explore(render, alt="Numbers.", **axes(3)).markup())
    (controls,) = (tag for tag in page.all("div") if tag["class"] == "cl-controls")
    assert "hidden" in controls


def test_sliders_with_a_kernel_change_the_picture():
    explorer = explore(render, alt="Numbers.", zoom=3, **axes(4, 5))
    *sliders, view = explorer.widget().children
    assert [slider.description for slider in sliders] == ["number 0", "number 1"]
    assert [slider.value for slider in sliders] == [2, 2]

    def shown():
        large = pixels(bytes(view.value))
        assert large.shape == (HEIGHT * 3, WIDTH * 3)
        return large[::3, ::3]

    def expected(a, b):
        return np.rint(render(axis0=a, axis1=b)[0].numpy() * 255)

    assert np.array_equal(shown(), expected(2, 2))
    before = bytes(view.value)
    sliders[0].value = 3
    assert bytes(view.value) != before
    assert np.array_equal(shown(), expected(3, 2))
    sliders[1].value = 0
    assert np.array_equal(shown(), expected(3, 0))


def test_display_has_a_face_for_every_reader():
    explorer = explore(render, alt="Numbers.", **axes(3))
    bundle, metadata = explorer._repr_mimebundle_()
    assert metadata == {}
    assert bundle["text/plain"] == "Numbers."
    assert bundle["text/html"] == explorer.markup()
    assert "model_id" in bundle["application/vnd.jupyter.widget-view+json"]
    first = pixels(base64.b64decode(bundle["image/png"]))
    assert np.array_equal(first, np.rint(render(axis0=1)[0].numpy() * 255))


def test_no_gradients_are_recorded():
    weight = torch.ones(1, requires_grad=True)
    explorer = explore(
        lambda a: (weight * a / 2).reshape(1, 1, 1), alt="A grey pixel.", a=Axis("a", [0, 1, 2])
    )
    assert not explorer.picture([1]).requires_grad
    assert "cl-explore" in explorer.markup()


@pytest.mark.parametrize(
    ("values", "index", "text"),
    [
        ([0.5, 1.25], 1, "1.25"),
        (np.linspace(0, 1, 3), 1, "0.50"),
        ([1, 2], 0, "1"),
        (["boot"], 0, "boot"),
    ],
)
def test_values_as_a_reader_sees_them(values, index, text):
    assert Axis("value", values).text(index) == text


def test_the_middle_value_is_shown_first_unless_told_otherwise():
    assert Axis("a", range(5)).first == 2
    assert Axis("a", range(5), start=0).first == 0


def test_too_many_frames_are_refused_before_rendering():
    def fail(**values):
        raise AssertionError("rendered")

    with pytest.raises(ValueError, match="1,001 frames are too many for a page"):
        explore(fail, alt="Numbers.", **axes(1001))
    with pytest.raises(ValueError, match="1,024 frames"):
        explore(fail, alt="Numbers.", **axes(32, 32))
    explore(fail, alt="Numbers.", **axes(100, 10))


def test_words_and_sliders_are_needed():
    with pytest.raises(ValueError, match="alt must say in words"):
        explore(render, alt=" ", **axes(2))
    with pytest.raises(ValueError, match="at least one Axis"):
        explore(render, alt="Numbers.")


@pytest.mark.parametrize("start", [-1, 2])
def test_a_start_outside_the_values_is_refused(start):
    with pytest.raises(ValueError, match="start must be an index of the 2 values of 'kind'"):
        Axis("kind", ["a", "b"], start=start)


def test_an_axis_needs_values():
    with pytest.raises(ValueError, match="'kind' has no values"):
        Axis("kind", [])
