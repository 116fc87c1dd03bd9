"""The models of the page on Stable Diffusion upscaling, and what is known of them beforehand.

A model is loaded when it is asked for, and not before: with the first one comes diffusers, whose
import alone takes some ten seconds.
"""

import gc
from dataclasses import dataclass

import streamlit as st
import torch

from course_lib.upscaling import UpscalingError, load
from course_lib.upscaling.latent import Conditioning, LatentDiffusionConfig, LatentUpscaler, parts
from course_lib.upscaling.latent.resources import free_memory, free_on_card
from jobs import Report
from models import LATENT, PUBLISHED
from pictures import Prepared
from results import Result, Settings, run

# Where strangers shall not choose what the server downloads, leave out the second.
KINDS = {LATENT: "Small model (embedded)", PUBLISHED: "Published weights"}
SOURCE = "stabilityai/stable-diffusion-x4-upscaler"
# Gigabytes that the whole server takes at its peak on a CPU, by the largest picture.
MEMORY = {64: 1.0, 128: 1.4, 256: 1.9, 512: 2.0}


@dataclass(frozen=True)
class Weights:
    """Published weights: a repository's id or a local folder, and which version of it."""

    source: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"{self.source}, revision {self.revision}" if self.revision else self.source


@dataclass(frozen=True)
class Options:
    """What a model makes of a picture, and how it is used unless the visitor says otherwise.

    ``needs`` says where it runs, if that is known.
    """

    scale: int
    most_noise: int
    steps: int
    told: Conditioning
    needs: str = ""

    @classmethod
    def of(cls, upscaler: LatentUpscaler) -> "Options":
        """Return the options of a model in memory."""
        return cls(
            upscaler.scale,
            upscaler.max_noise_level,
            upscaler.default_steps,
            upscaler.defaults,
            published_needs(upscaler),
        )


# Those of the small model are known without loading it; a test compares them.
SMALL_OPTIONS = Options(LatentDiffusionConfig.scale, parts.LEVELS - 1, 10, Conditioning())


def device() -> str:
    """Return where models run: a GPU is used when there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def small_needs(limit: int) -> str:
    """Say where the small model runs, and what memory pictures of up to ``limit`` pixels take."""
    if device() == "cuda":
        free = free_on_card() / 1e9
        return (
            f"Runs on the GPU ({torch.cuda.get_device_name()}) in float32; {free:.1f} GB of its "
            "memory are free."
        )
    free = free_memory() / 1e9
    return (
        f"Runs on the CPU in float32; the server takes up to {MEMORY[limit]:.1f} GB of memory, "
        f"and {free:.1f} GB are free."
    )


def published_needs(upscaler: LatentUpscaler) -> str:
    """Say where published weights run, and what memory they take."""
    parts = [part for part in upscaler.pipeline.components.values() if hasattr(part, "parameters")]
    size = sum(p.numel() * p.element_size() for part in parts for p in part.parameters()) / 1e9
    where = "GPU" if device() == "cuda" else "CPU"
    number = str(upscaler.pipeline.unet.dtype).removeprefix("torch.")
    return f"Runs on the {where} in {number}; the weights alone take {size:.1f} GB of memory."


class Shelf:
    """The models in memory, for all visitors: the small one, and one of published weights.

    Each comes when it is asked for. They come and go in the one thread that runs the queue.
    """

    def __init__(self):
        self._small: LatentUpscaler | None = None
        self.published: tuple[Weights, LatentUpscaler] | None = None

    def options(self, weights: Weights | None) -> Options | None:
        """Return the options of the small model (None), or of weights if they are in memory."""
        if weights is None:
            return SMALL_OPTIONS
        held = self.published
        return Options.of(held[1]) if held and held[0] == weights else None

    def get(self, weights: Weights | None, report: Report) -> LatentUpscaler:
        """Return a model; raises :class:`UpscalingError` where its weights are no longer there."""
        if weights is None:
            if self._small is None:
                report("Loading the small model and its libraries, this once: some 15 s …")
                upscaler = load(LATENT)
                upscaler.pipeline.to(device())
                self._small = upscaler
                tidy()
            return self._small
        if not self.published or self.published[0] != weights:
            raise UpscalingError(f"{weights} is no longer in memory. Load it again.")
        return self.published[1]

    def put(self, weights: Weights, report: Report) -> None:
        """Load published weights, once those before have gone."""
        self.clear(report)
        report(f"Loading {weights} …")
        upscaler = load(
            LATENT, pretrained=weights.source, revision=weights.revision, on_status=report
        )
        self.published = weights, upscaler
        tidy()

    def clear(self, report: Report) -> None:
        """Take the published weights out of memory."""
        self.published = None
        tidy()
        torch.cuda.empty_cache()


def tidy() -> None:
    """Free what nobody needs, and spare Python from looking at all the rest again and again.

    Streamlit has it look after each run of a page, which takes 0.3 s with diffusers in memory.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


@st.cache_resource(show_spinner=False)
def shelf() -> Shelf:
    """Return the one shelf of this process."""
    return Shelf()


def enlarge(
    shelf: Shelf, weights: Weights | None, settings: Settings, prepared: Prepared, report: Report
) -> Result:
    """Enlarge a picture by a model, which is loaded if need be."""
    upscaler = shelf.get(weights, report)
    report("Starting …")  # where someone who has cancelled meanwhile is let go
    return run(upscaler, settings, prepared, report)
