"""One interface to all upscalers: an image in, the same kind of image out, larger.

``load('srdiff').upscale(image)`` is all that a user needs. Whatever the model, the image may
have any size: it is worked on in tiles where it is large.
"""

import math
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from ..data.reading import to_image, to_tensor
from .tiling import ALIGNMENT, Canvas, NoiseField, Tile, tiles

Picture = Image.Image | torch.Tensor
AUTO_TILE, OVERLAP = 192, 32
SEEDS = 2**32  # as many as PyTorch's generator on the CPU tells apart


class UpscalingError(ValueError):
    """A request that an upscaler cannot fulfil; the message says what it can."""


class Cancelled(Exception):
    """Raised by a ``progress`` function to stop; it passes through ``upscale`` as it is."""


@dataclass(frozen=True)
class Progress:
    """How far the work has come; ``seconds_left`` is an estimate, or ``None`` at the start."""

    done: int
    total: int
    seconds: float

    @property
    def seconds_left(self) -> float | None:
        """The time that the rest will take at the rate so far."""
        return self.seconds * (self.total - self.done) / self.done if self.done else None


@dataclass(frozen=True)
class State:
    """An intermediate state of a sampler, for the first image of a batch.

    ``t`` is the timestep, ``state`` the noisy picture and ``estimate`` the picture that the
    network believes in, both (1, 3, H, W) in [0, 1].
    """

    t: int
    state: torch.Tensor
    estimate: torch.Tensor


@dataclass(frozen=True)
class Upscaled:
    """What :meth:`Upscaler.upscale` returns.

    ``images`` are the samples, each of the kind that was put in; ``seed`` is the one that
    gives them again, ``None`` where nothing is random; ``seconds`` is the time taken;
    ``states`` are there where they were asked for.
    """

    images: tuple[Picture, ...]
    seed: int | None
    seconds: float
    states: tuple[State, ...] = ()

    @property
    def image(self) -> Picture:
        """The first sample."""
        return self.images[0]


@dataclass(frozen=True)
class Request:
    """What a tile is enlarged with: the sampler's options, and the noise of its place.

    ``conditioning`` is what else the model is told, a text for example.
    """

    steps: int | None
    sampler: str | None
    temperature: float | None
    field: NoiseField | None
    tile: Tile
    on_step: Callable[[int, torch.Tensor, torch.Tensor], None] | None
    conditioning: Any = None

    def noise(self, draw: int, scale: int) -> torch.Tensor:
        """Return draw number ``draw`` of the noise (1, 3, H, W) of the enlarged tile."""
        tile = self.tile
        sides = (tile.top, tile.left, tile.height, tile.width)
        return self.field.read(draw, *(scale * side for side in sides))


class Upscaler:
    """An enlargement by ``scale``. Subclasses say how one tile is enlarged.

    ``samplers`` are the names of the samplers it has: none where there are no steps.
    ``noise_channels`` is how many numbers of noise it needs for a pixel; ``auto_tile`` is the
    side of the tiles into which large images are cut, in low-resolution pixels.
    """

    name: str
    scale: int
    samplers: tuple[str, ...] = ()
    noise_channels: int = 3
    auto_tile: int = AUTO_TILE
    keeps_states: bool = True  # where there are steps at all

    @property
    def random(self) -> bool:
        """Whether answers are drawn, so that there can be several, and a seed decides."""
        return bool(self.samplers)

    def enlarge(self, lr: torch.Tensor, request: Request) -> torch.Tensor:
        """Return (N, 3, scale h, scale w) for a tile (N, 3, h, w), both in [0, 1]."""
        raise NotImplementedError

    def finish(self, sr: torch.Tensor, lr: torch.Tensor, conditioning: Any) -> torch.Tensor:
        """Return the whole enlarged image as it should be, once its tiles are put together."""
        return sr

    def steps_for(self, steps: int | None, sampler: str | None) -> int:
        """Return how often a network is applied to each tile; raise for impossible numbers."""
        return 1

    def upscale(
        self,
        image: Picture,
        *,
        steps: int | None = None,
        seed: int | None = None,
        samples: int = 1,
        sampler: str | None = None,
        temperature: float | None = None,
        progress: Callable[[Progress], None] | None = None,
        tile: int | str = "auto",
        keep_states: bool = False,
        conditioning: Any = None,
    ) -> Upscaled:
        """Enlarge an image: a PIL image, or a tensor (N, 3, H, W) in [0, 1].

        ``steps``, ``sampler``, ``temperature``, ``seed`` and more than one of ``samples``
        are for models that draw their answer; what is ``None`` is the model's default, and
        for ``seed`` a new one each time. ``tile`` is the side of the tiles in low-resolution
        pixels, a multiple of 4 from 64 on; 'auto' uses them for large images only.
        ``progress`` is told of every step, and may raise :class:`Cancelled`.
        ``keep_states`` keeps the intermediate states of the first sample, for images of one
        tile. ``conditioning`` is handed on to the model. Raises :class:`UpscalingError` for
        what the model cannot do.
        """
        started = time.monotonic()
        lr = self._checked(image, steps, sampler, temperature, samples, seed)
        if not self.random:
            seed = None
        elif seed is None:
            seed = secrets.randbelow(2**31)
        plan = self._plan(lr, tile)
        if keep_states and (len(plan) > 1 or not self.samplers or not self.keeps_states):
            raise UpscalingError(
                "intermediate states are kept for models whose steps are in pixels, and for "
                "images that fit into one tile"
            )
        states: list[State] = []
        total = samples * len(plan) * self.steps_for(steps, sampler)
        done = 0

        def tick() -> None:
            nonlocal done
            done += 1
            if progress:
                progress(Progress(done, total, time.monotonic() - started))

        images = []
        for sample in range(samples):

            def on_step(t: int, state: torch.Tensor, estimate: torch.Tensor, first=sample == 0):
                if keep_states and first:
                    states.append(State(t, state[:1].clone(), estimate[:1].clone()))
                tick()

            field = NoiseField(seed + sample, self.noise_channels) if self.random else None
            canvas = Canvas(len(lr), *lr.shape[2:], scale=self.scale, overlap=OVERLAP)
            for part in plan:
                request = Request(
                    steps,
                    sampler,
                    temperature,
                    field,
                    part,
                    on_step if self.samplers else None,
                    conditioning,
                )
                canvas.add(part, self.enlarge(part.cut(lr), request))
                if not self.samplers:
                    tick()
            result = self.finish(canvas.result().clamp_(0, 1), lr, conditioning)
            images.append(to_image(result) if isinstance(image, Image.Image) else result)
        return Upscaled(tuple(images), seed, time.monotonic() - started, tuple(states))

    def _plan(self, lr: torch.Tensor, tile: int | str) -> list[Tile]:
        height, width = lr.shape[2:]
        if tile == "auto":
            small = height * width <= (self.auto_tile + 2 * OVERLAP) ** 2
            tile = max(height, width) if small else self.auto_tile
        elif type(tile) is not int or tile < 2 * OVERLAP or tile % ALIGNMENT:
            raise UpscalingError(
                f"tile must be 'auto' or a multiple of {ALIGNMENT} from {2 * OVERLAP} on, "
                f"not {tile!r}"
            )
        if max(height, width) <= tile:
            return [Tile(0, 0, height, width)]
        return tiles(height, width, tile=tile, overlap=OVERLAP)

    def _checked(
        self,
        image: Picture,
        steps: int | None,
        sampler: str | None,
        temperature: float | None,
        samples: int,
        seed: int | None,
    ) -> torch.Tensor:
        """Return the image as a tensor, once all that was asked for is possible."""
        if not self.random:
            asked = {"steps": steps, "sampler": sampler, "temperature": temperature}
            for option, value in asked.items():
                if value is not None:
                    raise UpscalingError(f"{self.name} draws nothing, so it has no {option}")
            if samples != 1:
                raise UpscalingError(f"{self.name} has one answer, so samples must be 1")
        elif not self.samplers:
            for option, value in {"steps": steps, "sampler": sampler}.items():
                if value is not None:
                    raise UpscalingError(f"{self.name} draws in one go, so it has no {option}")
        if type(samples) is not int or samples < 1:
            raise UpscalingError(f"samples must be a whole number from 1 on, not {samples!r}")
        if seed is not None and not (type(seed) is int and 0 <= seed <= SEEDS - samples):
            raise UpscalingError(
                f"seed must be a whole number from 0 to {SEEDS - samples:,}, not {seed!r}"
            )
        if steps is not None and type(steps) is not int:
            raise UpscalingError(f"steps must be a whole number, not {steps!r}")
        if temperature is not None and not 0 <= temperature < math.inf:
            raise UpscalingError(f"temperature must be a number from 0 on, not {temperature}")
        if sampler is not None and sampler not in self.samplers:
            raise UpscalingError(
                f"{self.name} has no sampler {sampler!r}; known: {', '.join(self.samplers)}"
            )
        if isinstance(image, Image.Image):
            if 0 in image.size:
                raise UpscalingError(f"the image is empty: {image.size[0]} x {image.size[1]}")
            return to_tensor(image.convert("RGB"))
        if not isinstance(image, torch.Tensor):
            raise UpscalingError(f"image must be a PIL image or a tensor, not {type(image)}")
        if image.ndim != 4 or image.shape[1] != 3 or 0 in image.shape:
            raise UpscalingError(f"image must be (N, 3, H, W), not {tuple(image.shape)}")
        if not image.is_floating_point() or not bool(((image >= 0) & (image <= 1)).all()):
            raise UpscalingError("image must be of floating point numbers in [0, 1]")
        return image.detach().float()
