"""What a chapter displays: figures, images, source, tables."""

import ast
import base64
import io
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from course_lib import show, weights
from course_lib.models import VAE, VAEConfig
from course_lib.models.vae import kl_divergence


def some_images(n: int, channels: int = 1, height: int = 4, width: int = 6) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(n, channels, height, width, generator=generator)


def embedded_pixels(markup: str) -> np.ndarray:
    """Decode the one picture that is embedded in markup."""
    (encoded,) = re.findall(r'src="data:image/png;base64,([^"]+)"', markup)
    return np.array(Image.open(io.BytesIO(base64.b64decode(encoded))))


# Figures


def draw(alt: str = 'A line that "rises" & <bends>.') -> None:
    with show.figure(1, 2, alt=alt, width=6, height=2) as (_, (left, right)):
        left.plot([0, 1, 2], [0, 1, 4], label="curve")
        left.legend()
        left.set_xlabel("$x$")
        right.imshow(np.arange(12).reshape(3, 4))


def test_figure_is_displayed_as_svg_with_its_words(displayed):
    draw()
    (picture,) = displayed
    bundle = picture._repr_mimebundle_()
    assert set(bundle) == {"text/html", "image/png", "text/plain"}
    assert bundle["text/plain"] == 'A line that "rises" & <bends>.'
    root = ElementTree.fromstring(bundle["text/html"])
    (svg,) = (element for element in root if element.tag.endswith("svg"))
    assert svg.get("role") == "img"
    assert svg.get("aria-label") == 'A line that "rises" & <bends>.'
    assert Image.open(io.BytesIO(base64.b64decode(bundle["image/png"]))).format == "PNG"


def test_figure_takes_the_pages_width_and_ink(displayed):
    draw()
    markup = displayed[0].markup
    assert show.INK not in markup
    assert markup.count("currentColor") > 10
    assert show.PALETTE[0] in markup
    opening = re.search(r"<svg[^>]*>", markup)[0]
    assert not re.search(r'\s(width|height)="', opening)
    assert "viewBox" in opening
    assert re.search(r"style=\"width:100%;max-width:576px;height:auto\"", opening)  # 6 inches
    assert "#ffffff" not in markup  # no white paper on a dark page


def test_same_figure_same_markup(displayed):
    draw()
    draw()
    first, second = displayed
    assert first.markup == second.markup
    assert first.png == second.png
    assert "<metadata" not in first.markup
    assert "dc:date" not in first.markup


def test_figure_closes_what_it_opened(displayed):
    import matplotlib.pyplot as plt

    before, ink = plt.get_fignums(), plt.rcParams["text.color"]
    draw()

    def fail():
        with show.figure(alt="A figure that fails."):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert plt.get_fignums() == before
    assert plt.rcParams["text.color"] == ink
    assert len(displayed) == 1  # nothing is shown of a figure that failed


@pytest.mark.parametrize("alt", ["", "   ", "\n"])
def test_every_picture_needs_words(alt):
    message = "alt must say in words what the picture shows"
    with pytest.raises(ValueError, match=message), show.figure(alt=alt):
        pass
    with pytest.raises(ValueError, match=message):
        show.images(some_images(2), alt=alt)
    with pytest.raises(ValueError, match=message):
        show.LiveLoss(alt)
    with pytest.raises(TypeError):
        show.figure(1, 2)


def test_live_loss_redraws_what_it_is_told(monkeypatch):
    import IPython.display

    updates = []

    class Handle:
        def update(self, thing):
            updates.append(thing)

    monkeypatch.setattr(IPython.display, "display", lambda thing, **_: Handle())
    live = show.LiveLoss("The loss falls.", "loss", "kl")
    for step in (10, 20, 30):
        live({"step": step, "loss": 100 / step, "kl": step / 10})
    assert len(updates) == 3
    assert all(isinstance(update, show.Picture) for update in updates)
    assert updates[0].markup != updates[2].markup
    assert 'aria-label="The loss falls."' in updates[2].markup


# Images


@given(
    n=st.integers(1, 12),
    columns=st.integers(1, 5),
    gap=st.integers(0, 3),
    channels=st.sampled_from([1, 3]),
    height=st.integers(1, 5),
    width=st.integers(1, 5),
)
def test_contact_sheet_puts_every_image_in_its_place(n, columns, gap, channels, height, width):
    batch = some_images(n, channels, height, width)
    sheet = np.array(show.contact_sheet(batch, columns=columns, gap=gap))
    columns = min(columns, n)  # a short row leaves no empty place
    rows = (n + columns - 1) // columns
    assert sheet.shape[:2] == (
        rows * height + (rows - 1) * gap,
        columns * width + (columns - 1) * gap,
    )
    covered = np.zeros(sheet.shape[:2], bool)
    levels = np.rint(batch.numpy() * 255).astype(np.uint8)
    for index in range(n):
        row, column = divmod(index, columns)
        y, x = row * (height + gap), column * (width + gap)
        cell = sheet[y : y + height, x : x + width].reshape(height, width, channels)
        assert np.array_equal(cell.transpose(2, 0, 1), levels[index])
        covered[y : y + height, x : x + width] = True
    assert (sheet[~covered] == 128).all()


def test_bytes_are_rounded_and_clipped():
    values = torch.tensor([-0.5, 0.0, 0.4 / 255, 0.6 / 255, 0.5, 1.0, 7.0])
    assert show.to_uint8(values.reshape(1, 1, 1, 7)).ravel().tolist() == [
        0,
        0,
        0,
        1,
        128,
        255,
        255,
    ]
    levels = torch.arange(256) / 255
    assert show.to_uint8(levels.reshape(1, 1, 16, 16)).ravel().tolist() == list(range(256))
    requires_grad = torch.zeros(2, 3, 4, 5, requires_grad=True)
    assert show.to_uint8(requires_grad).shape == (2, 4, 5, 3)


def test_images_are_embedded_with_their_words():
    batch = some_images(5)
    picture = show.images(batch, alt='Five "random" <images>.', columns=3, zoom=4)
    expected = np.array(show.contact_sheet(batch, columns=3))
    assert np.array_equal(embedded_pixels(picture.markup), expected)
    (image,) = ElementTree.fromstring(picture.markup.replace('pixelated">', 'pixelated"/>'))
    assert image.get("alt") == 'Five "random" <images>.'
    assert f"max-width:{4 * expected.shape[1]}px" in image.get("style")
    decoded = Image.open(io.BytesIO(picture.png))
    assert np.array_equal(np.array(decoded), expected)


def test_several_batches_become_named_rows():
    above, below = some_images(4), 1 - some_images(4)
    picture = show.images([above, below], alt="Two rows.", rows=("x < y", "below"), columns=99)
    expected = np.array(show.contact_sheet(torch.cat([above, below]), columns=4))
    assert np.array_equal(embedded_pixels(picture.markup), expected)
    assert "<span>x &lt; y</span><span>below</span>" in picture.markup


# Source code


def code_of(markdown: show.Markdown) -> str:
    bundle = markdown._repr_mimebundle_()
    assert bundle["text/markdown"] == bundle["text/plain"]
    return re.search(r"```python\n(.*)\n```", bundle["text/markdown"], re.S)[1]


def without_docstrings(tree: ast.AST) -> str:
    """The same removal on the syntax tree, as judge."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node):
            node.body = node.body[1:]
    return ast.dump(tree)


@pytest.mark.parametrize(
    "thing", [VAE, VAE.loss, VAEConfig, kl_divergence, show.figure, show.source], ids=repr
)
def test_source_is_the_code_without_its_docstrings(thing):
    plain, full = code_of(show.source(thing)), code_of(show.source(thing, docstring=True))
    tree = ast.parse(plain)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            assert ast.get_docstring(node) is None
    assert ast.dump(tree) == without_docstrings(ast.parse(full))
    assert '"""' in full
    assert not plain.startswith((" ", "\n"))


def test_shown_source_runs_and_does_the_same():
    import math

    from course_lib.models.vae import gaussian_log_density

    scope = {"torch": torch, "math": math}
    exec(code_of(show.source(gaussian_log_density)), scope)
    z, mean, log_variance = torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(
        scope["gaussian_log_density"](z, mean, log_variance),
        gaussian_log_density(z, mean, log_variance),
    )


def test_source_of_what_is_only_a_docstring_keeps_it():
    from course_lib.weights import WeightsError

    assert ast.parse(code_of(show.source(WeightsError)))


def test_source_says_where_it_stands():
    text = show.source(kl_divergence).text
    path, line = re.match(r"`(\S+)`, line (\d+)\n", text).groups()
    assert path == "course_lib/models/vae.py"
    from pathlib import Path

    lines = (Path(show.__file__).parents[1] / path).read_text().splitlines()
    assert lines[int(line) - 1].startswith("def kl_divergence(")


# Tables


def test_table_is_markdown_with_four_digits():
    text = show.table(
        [("a|b", 0.123456, 7), ("c", 123456.0, True), ("d", np.float64(1e-9), None)],
        ("name", "value", "other"),
    ).text
    assert text == (
        "| name | value | other |\n"
        "| --- | --- | --- |\n"
        "| a\\|b | 0.1235 | 7 |\n"
        "| c | 1.235e+05 | True |\n"
        "| d | 1e-09 | None |\n"
    )


def test_table_without_rows_keeps_its_header():
    assert show.table([], ("only",)).text == "| only |\n| --- |\n"


@pytest.mark.parametrize("name", weights.names())
def test_card_shows_what_the_card_holds(name):
    about, text = weights.card(name), show.card(name).text
    for part in (
        about["summary"],
        about["command"],
        about["data_licence"],
        about["protocol"],
        f"{about['parameters']:,} parameters",
        f"{about['training']['steps']:,} steps",
        *(digest[:16] for digest in show.digests_by_part(about["sha256"]).values()),
        about["machine"],
    ):
        assert part in text
    for key, value in about["metrics"].items():
        assert f"| **{key}** | **{value:.4g}** |" in text


def test_source_of_a_decorated_method_names_its_own_file():
    from course_lib.upscaling.latent import LatentAutoencoder

    shown = show.source(LatentAutoencoder.standardize).text
    assert shown.startswith("`course_lib/upscaling/latent/autoencoder.py`, line ")
    assert "def standardize" in shown
