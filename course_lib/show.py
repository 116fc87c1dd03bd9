"""Showing things in a chapter: figures, images, source code, tables.

Everything here returns an object that Jupyter, Colab and the built book each display in
their own way. Figures are drawn once, as SVG whose ink takes the colour of the page's
text, so that they fit light and dark pages; every picture has an alternative text.
"""

import base64
import html
import inspect
import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

INK = "#24292f"  # replaced by the page's text colour when a figure is shown
PALETTE = ("#1f7fc4", "#e07b28", "#2f9e6e", "#c94f6d", "#8a6fc9", "#8c7a2b")
COLORMAP = "viridis"
WIDE = 620  # pixels; wider figures scroll on a phone, so that their labels stay readable


class Picture:
    """HTML for pages and notebooks, PNG for what shows no HTML, and words for neither."""

    def __init__(self, markup: str, png: bytes, alt: str):
        self.markup, self.png, self.alt = markup, png, alt

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, Any]:
        return {
            "text/html": self.markup,
            "image/png": base64.b64encode(self.png).decode(),
            "text/plain": self.alt,
        }


class Markdown:
    """Text that is displayed as Markdown."""

    def __init__(self, text: str):
        self.text = text

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str]:
        return {"text/markdown": self.text, "text/plain": self.text}


@contextmanager
def style() -> Iterator[None]:
    """Draw in the book's one style within this context."""
    import matplotlib.pyplot as plt

    settings = {
        "axes.edgecolor": INK,
        "axes.labelcolor": INK,
        "axes.prop_cycle": plt.cycler(color=PALETTE),
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlecolor": INK,
        "axes.titlesize": "medium",
        "figure.constrained_layout.use": True,
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "font.size": 11,
        "grid.alpha": 0.3,
        "image.cmap": COLORMAP,
        "image.interpolation": "nearest",
        "legend.frameon": False,
        "lines.linewidth": 2,
        "savefig.facecolor": "none",
        "svg.fonttype": "path",
        "text.color": INK,
        "xtick.color": INK,
        "ytick.color": INK,
    }
    with plt.rc_context(settings):
        yield


@contextmanager
def figure(*subplots: int, alt: str, width: float = 7.0, height: float = 3.2, **options: Any):
    """Open a figure in the book's style, and display it when the context ends.

    ``figure(rows, columns, alt=...)`` yields (figure, axes) as ``plt.subplots`` does, and
    passes its other options on. ``alt`` says in words what the figure shows.
    """
    import matplotlib.pyplot as plt
    from IPython.display import display

    need_alt(alt)
    with style():
        drawn, axes = plt.subplots(*subplots, figsize=(width, height), **options)
        try:
            yield drawn, axes
            display(_as_picture(drawn, alt))
        finally:
            plt.close(drawn)


def _as_picture(drawn, alt: str) -> Picture:
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": alt}):
        drawn.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    width = float(re.search(r'width="([\d.]+)pt"', svg)[1]) * 4 / 3
    svg = re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)
    label = html.escape(alt, quote=True)
    wide = " cl-wide" if width > WIDE else ""
    svg = svg.replace(
        "<svg",
        f'<svg role="img" aria-label="{label}" class="cl-figure{wide}" '
        f'style="width:100%;max-width:{width:.0f}px;height:auto"',
        1,
    )
    png = io.BytesIO()
    drawn.savefig(png, format="png", dpi=110, facecolor="white")
    return Picture(f'<div class="cl-picture">{svg}</div>', png.getvalue(), alt)


def images(
    batch: torch.Tensor | Sequence[torch.Tensor],
    *,
    alt: str,
    columns: int = 10,
    rows: Sequence[str] = (),
    zoom: int = 2,
) -> Picture:
    """Show images (N, C, H, W) in [0, 1] as a contact sheet.

    A sequence of batches becomes a sheet with one row for each, named by ``rows``.
    """
    need_alt(alt)
    if not isinstance(batch, torch.Tensor):
        columns = len(batch[0])
        batch = torch.cat(list(batch))
    sheet = contact_sheet(batch, columns=columns)
    data, width = png_bytes(sheet), sheet.width * zoom
    picture = (
        f'<img class="cl-images" src="{data_uri(data)}" alt="{html.escape(alt, quote=True)}" '
        f'style="width:100%;max-width:{width}px;image-rendering:pixelated">'
    )
    if rows:
        names = "".join(f"<span>{html.escape(name)}</span>" for name in rows)
        picture = (
            f'<div class="cl-rows" style="display:grid;grid-template-columns:auto 1fr;'
            f'column-gap:.75em"><div style="display:grid;grid-auto-rows:1fr;'
            f'align-items:center;text-align:right">{names}</div><div>{picture}</div></div>'
        )
    return Picture(f'<div class="cl-picture">{picture}</div>', data, alt)


def contact_sheet(batch: torch.Tensor, *, columns: int = 10, gap: int = 2) -> Image.Image:
    """Return images (N, C, H, W) in [0, 1] side by side, ``columns`` in a row."""
    levels = to_uint8(batch)
    count, height, width, channels = levels.shape
    columns = min(columns, count)
    rows = -(-count // columns)
    sheet = np.full(
        (rows * (height + gap) - gap, columns * (width + gap) - gap, channels), 128, np.uint8
    )
    for index, picture in enumerate(levels):
        y, x = (index // columns) * (height + gap), (index % columns) * (width + gap)
        sheet[y : y + height, x : x + width] = picture
    return Image.fromarray(sheet[..., 0] if channels == 1 else sheet)


def to_uint8(batch: torch.Tensor) -> np.ndarray:
    """Return images (N, C, H, W) in [0, 1] as (N, H, W, C) bytes, rounded and clipped."""
    levels = batch.detach().cpu().clamp(0, 1).mul(255).round().to(torch.uint8)
    return levels.permute(0, 2, 3, 1).numpy()


def png_bytes(image: Image.Image) -> bytes:
    """Return an image as the bytes of a PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def data_uri(png: bytes) -> str:
    """Return PNG bytes as an address that a page can hold in itself."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def source(thing: Callable | type, *, docstring: bool = False) -> Markdown:
    """Show the source code of a function, method or class of the package.

    Docstrings are left out unless asked for: the chapter's text is their long form.
    """
    thing = inspect.unwrap(thing)  # of what decorators put around it
    lines, first = inspect.getsourcelines(thing)
    text = inspect.cleandoc("\n" + "".join(lines))
    if not docstring:
        text = _without_docstrings(text)
    path = Path(inspect.getsourcefile(thing))
    package = Path(__file__).parent
    place = path.relative_to(package.parent) if package in path.parents else path.name
    return Markdown(f"`{place}`, line {first}\n\n```python\n{text}\n```\n")


def _without_docstrings(text: str) -> str:
    import ast

    lines = text.splitlines()
    drop: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node):
            if len(node.body) == 1:  # nothing else would be left
                continue
            literal = node.body[0]
            drop |= set(range(literal.lineno - 1, literal.end_lineno))
            if literal.end_lineno < len(lines) and not lines[literal.end_lineno].strip():
                drop.add(literal.end_lineno)
    return "\n".join(line for number, line in enumerate(lines) if number not in drop)


def table(rows: Sequence[Sequence[Any]], header: Sequence[str]) -> Markdown:
    """Show rows of values under a header; numbers are given to four significant digits."""

    def cell(value: Any) -> str:
        return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", r"\|")

    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    lines += ["| " + " | ".join(map(cell, row)) + " |" for row in rows]
    return Markdown("\n".join(lines) + "\n")


def card(name: str) -> Markdown:
    """Show the card of a shipped model: what it is, how it was trained and measured."""
    from . import weights

    about = weights.card(name)
    training = about["training"]
    critic_steps = training.get("critic_steps", 1)
    moves = f", {critic_steps} moves of the critic in each" if critic_steps > 1 else ""
    coarse = ", computed in bfloat16" if training.get("precision") == "bfloat16" else ""
    rows = [
        ("what it is", about["summary"]),
        ("model", f"`{about['model']}`, {about['parameters']:,} parameters, {about['format']}"),
        ("configuration", ", ".join(f"{k} = {v}" for k, v in about["config"].items())),
        ("trained on", f"{about['data']} ({about['data_licence']})"),
        ("command", f"`{about['command']}`"),
        (
            "training",
            f"{training['steps']:,} steps of {training['batch_size']} images{moves}, learning rate "
            f"{training['learning_rate']:g} ({training['schedule']}), seed {training['seed']}"
            f"{coarse}",
        ),
        ("time", f"{about['wall_seconds'] / 60:.0f} minutes on {about['machine']}"),
        ("measured on", f"{about['evaluated_on']}: {about['protocol']}"),
        *((f"**{key}**", f"**{value:.4g}**") for key, value in about["metrics"].items()),
        *(
            (f"{benchmark}: {key}", f"{value:.4g}")
            for benchmark, found in about.get("details", {}).get("benchmarks", {}).items()
            for key, value in found.items()
            if isinstance(value, float)
        ),
        *(
            (f"SHA-256{where}", f"`{digest[:16]}…`")
            for where, digest in digests_by_part(about["sha256"]).items()
        ),
    ]
    return table(rows, (f"`{name}`", "card"))


def digests_by_part(digests: str | dict[str, str]) -> dict[str, str]:
    """Return the SHA-256 of each file of weights, by what to write behind 'SHA-256'."""
    if isinstance(digests, str):
        return {"": digests}
    return {f", {Path(file).parent.name}": digest for file, digest in digests.items()}


def need_alt(alt: str) -> None:
    """Raise ``ValueError`` where a picture has no alternative text."""
    if not alt.strip():
        raise ValueError("alt must say in words what the picture shows")


class LiveLoss:
    """A loss curve that grows while a model trains; pass it to ``fit`` as ``on_log``."""

    def __init__(self, alt: str, *names: str):
        """``names`` are the logged values to draw side by side (by default the loss)."""
        from IPython.display import display

        need_alt(alt)
        self.alt, self.names, self.lines = alt, names or ("loss",), []
        self.handle = display(Markdown("training …"), display_id=True)

    def __call__(self, line: dict[str, float]) -> None:
        """Take in one logged line and redraw."""
        import matplotlib.pyplot as plt

        self.lines.append(line)
        steps = [entry["step"] for entry in self.lines]
        with style():
            drawn, axes = plt.subplots(
                1, len(self.names), figsize=(1.5 + 4 * len(self.names), 2.6), squeeze=False
            )
            for axis, name in zip(axes[0], self.names, strict=True):
                axis.plot(steps, [entry[name] for entry in self.lines])
                axis.set_xlabel("step")
                axis.set_ylabel(name)
                axis.grid(True)
            if self.handle is not None:
                self.handle.update(_as_picture(drawn, self.alt))
            plt.close(drawn)
