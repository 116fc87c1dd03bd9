"""Sliders that live with a kernel and without one.

:func:`explore` makes one object with two faces. Where a kernel runs, Jupyter and Colab show
ipywidgets sliders that call the model. The published page shows plain sliders over frames
that were rendered when the book was built; ``book/assets/explore.js`` moves them.
"""

import base64
import html
import itertools
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .show import contact_sheet, data_uri, need_alt, png_bytes


@dataclass(frozen=True)
class Axis:
    """One slider: a name to show and the values that it takes, with their labels."""

    label: str
    values: Sequence[Any]
    start: int | None = None

    def __post_init__(self):
        if len(self.values) == 0:
            raise ValueError(f"the axis {self.label!r} has no values")
        if self.start is not None and not 0 <= self.start < len(self.values):
            raise ValueError(
                f"start must be an index of the {len(self.values)} values of {self.label!r}, "
                f"not {self.start}"
            )

    @property
    def first(self) -> int:
        """The index of the value that is shown at first (by default the middle one)."""
        return len(self.values) // 2 if self.start is None else self.start

    def text(self, index: int) -> str:
        """Return a value as a reader sees it."""
        value = self.values[index]
        return f"{value:.2f}" if isinstance(value, float | np.floating) else str(value)


class Explorer:
    """Sliders and the picture that they govern; made by :func:`explore`."""

    def __init__(
        self, render: Callable[..., torch.Tensor], axes: dict[str, Axis], alt: str, zoom: int
    ):
        self.render, self.axes, self.alt, self.zoom = render, axes, alt, zoom

    def picture(self, indices: Sequence[int]) -> torch.Tensor:
        """Return the image (C, H, W) in [0, 1] for one index on each axis."""
        pairs = zip(self.axes.items(), indices, strict=True)
        with torch.inference_mode():
            return self.render(**{name: axis.values[i] for (name, axis), i in pairs})

    def widget(self):
        """Return the sliders as ipywidgets, wired to the model."""
        import ipywidgets

        view = ipywidgets.Image(format="png")
        view.layout.max_width = "100%"
        sliders = [
            ipywidgets.SelectionSlider(
                options=[(axis.text(i), i) for i in range(len(axis.values))],
                value=axis.first,
                description=axis.label,
                style={"description_width": "initial"},
                continuous_update=True,
            )
            for axis in self.axes.values()
        ]

        def update(change=None) -> None:
            shown = self.picture([slider.value for slider in sliders])
            image = contact_sheet(shown[None], columns=1)
            size = (image.width * self.zoom, image.height * self.zoom)
            view.value = png_bytes(image.resize(size, resample=0))
            view.layout.width = f"{size[0]}px"

        for slider in sliders:
            slider.observe(update, names="value")
        update()
        return ipywidgets.VBox([*sliders, view], layout={"align_items": "flex-start"})

    def markup(self) -> str:
        """Return the sliders as HTML over one picture that holds all frames."""
        counts = [len(axis.values) for axis in self.axes.values()]
        frames = [self.picture(indices) for indices in itertools.product(*map(range, counts))]
        columns = counts[-1] if len(counts) > 1 else math.ceil(math.sqrt(len(frames)))
        sheet = contact_sheet(torch.stack(frames), columns=columns, gap=0)
        height, width = frames[0].shape[1:]
        controls = "".join(
            f'<label>{html.escape(axis.label)} <span class="cl-value" aria-hidden="true">'
            f"{html.escape(axis.text(axis.first))}</span>"
            f'<input type="range" min="0" max="{len(axis.values) - 1}" '
            f'value="{axis.first}" data-labels="{self._labels(axis)}"></label>'
            for axis in self.axes.values()
        )
        alt = html.escape(self.alt, quote=True)
        return (
            f'<div class="cl-explore" data-columns="{columns}" data-width="{width}" '
            f'data-height="{height}" data-zoom="{self.zoom}">'
            f'<div class="cl-controls" hidden>{controls}</div>'
            f'<img src="{data_uri(png_bytes(sheet))}" alt="{alt}" '
            f'style="max-width:100%;image-rendering:pixelated"></div>'
        )

    @staticmethod
    def _labels(axis: Axis) -> str:
        texts = [axis.text(i) for i in range(len(axis.values))]
        return html.escape(json.dumps(texts), quote=True)

    def _repr_mimebundle_(self, include=None, exclude=None) -> tuple[dict, dict]:
        data = self.widget()._repr_mimebundle_()
        first = self.picture([axis.first for axis in self.axes.values()])
        png = base64.b64encode(png_bytes(contact_sheet(first[None], columns=1))).decode()
        return {**data, "text/html": self.markup(), "image/png": png, "text/plain": self.alt}, {}


def explore(
    render: Callable[..., torch.Tensor], *, alt: str, zoom: int = 4, **axes: Axis
) -> Explorer:
    """Make sliders for the keyword arguments of ``render``, which returns an image.

    ``render(**values)`` gives an image (C, H, W) in [0, 1]; each keyword argument here is
    an :class:`Axis` of the same name. The published page holds a frame for every
    combination of values, so keep their product to a few hundred small images: more than
    1,000 raise ``ValueError``.
    """
    need_alt(alt)
    if not axes:
        raise ValueError("explore needs at least one Axis")
    frames = math.prod(len(axis.values) for axis in axes.values())
    if frames > 1000:
        raise ValueError(f"{frames:,} frames are too many for a page; give fewer values")
    return Explorer(render, axes, alt, zoom)
