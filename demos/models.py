"""What models and samplers are called; the page on SRDiff's models, each loaded once for all."""

import argparse
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import streamlit as st

from common import failure
from course_lib.upscaling import CheckpointError, SRDiff, Upscaler, latent, load
from course_lib.upscaling.upscalers import Diffusion

LOGGER = logging.getLogger(__name__)
VARIABLE = "SRDIFF_CHECKPOINT"
SHIPPED, OFFICIAL = ("srdiff", "regression"), "official"  # the models of the page on SRDiff
LATENT, PUBLISHED = "latent", "published"  # those of the page on Stable Diffusion
LABELS = {
    "srdiff": "SRDiff",
    "regression": "Regression",
    OFFICIAL: "SRDiff, the authors' checkpoint",
    LATENT: "Latent diffusion",
    PUBLISHED: "Published weights",
}
SAMPLERS = {"ddim": "DDIM", "dpm-solver": "DPM-Solver++", "ddpm": "DDPM"}
COLOR_FIXES = {name: name for name in latent.COLOR_FIXES} | {"adain": "AdaIN"}


def checkpoint_path(arguments: Sequence[str], environment: Mapping[str, str]) -> Path | None:
    """Return the file named by ``--checkpoint``, or else by the environment, if any."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--checkpoint", nargs="?")
    named = parser.parse_known_args(arguments)[0].checkpoint or environment.get(VARIABLE)
    return Path(named) if named else None


@st.cache_resource(show_spinner="Loading the model …")
def shipped(name: str) -> Upscaler:
    """Load a model of the course; its errors are those of :func:`course_lib.upscaling.load`."""
    return load(name)


@st.cache_resource(show_spinner="Loading the authors' checkpoint …", max_entries=1)
def official(path: Path, version: float) -> tuple[Upscaler | None, str]:
    """Load the authors' file, or say why not: kept, so that a large file is read only once."""
    try:
        return Diffusion(SRDiff.from_official(path)), ""
    except Exception as error:
        LOGGER.exception("The checkpoint cannot be used")
        # Visitors need not know where on the server a file is.
        if isinstance(error, CheckpointError):
            error = CheckpointError(str(error).replace(str(path), path.name))
        return None, failure(error)


def offered(checkpoint: Path | None) -> tuple[list[str], str]:
    """Return the names of the models that can be chosen, and what is wrong with the file."""
    names = list(SHIPPED)
    if checkpoint is None:
        return names, ""
    version = checkpoint.stat().st_mtime if checkpoint.is_file() else 0.0
    upscaler, complaint = official(checkpoint, version)
    return [*names, OFFICIAL] if upscaler else names, complaint


def get(name: str, checkpoint: Path | None) -> Upscaler | None:
    """Return a model that is offered; None, with a message, where it cannot be loaded."""
    if name == OFFICIAL:
        return official(checkpoint, checkpoint.stat().st_mtime)[0]
    try:
        return shipped(name)
    except Exception as error:
        LOGGER.exception("The model %s cannot be loaded", name)
        st.error(f"The model {LABELS[name]} cannot be loaded. {failure(error)}")
        return None
