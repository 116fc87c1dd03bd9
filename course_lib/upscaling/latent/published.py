"""Published weights in the same pipeline: what they would take, and loading them.

Chapter: *Stable Diffusion upscaling*. Stability's x4 upscaler has a U-Net of 473 million
parameters, a text encoder of 340 and an autoencoder of 55 million, which take 1.7 GB in half
precision and 3.5 GB in float32. So :func:`plan` says what is needed before anything is
downloaded or loaded, and :func:`load_published` refuses where it is not there. Only safetensors
are read, and no code that comes with weights is run.
"""

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors
import torch

from .planning import TILE, VAE_TILE, Plan, plan, planned, size
from .repository import SMALL_MODEL, PublishedError, opened
from .upscaler import Conditioning, LatentUpscaler

if TYPE_CHECKING:
    from diffusers import StableDiffusionUpscalePipeline

__all__ = ["Plan", "PublishedError", "load_published", "load_upscaler", "plan"]


def load_published(
    source: str | Path,
    *,
    revision: str | None = None,
    on_status: Callable[[str], None] | None = None,
) -> "StableDiffusionUpscalePipeline":
    """Return a published pipeline, ready for images in tiles; ``source`` as for :func:`plan`.

    It runs in half precision on a graphics card where there is one, otherwise in float32 on the
    processor. ``on_status`` is told in words what happens. Raises :class:`PublishedError`, with
    advice: before anything is downloaded where memory or disk do not suffice, and where the
    weights cannot be had or loaded.
    """
    say = on_status or (lambda text: None)
    repository = opened(str(source), revision)
    about = _possible(planned(repository))
    if about.download_bytes:
        say(f"Downloading {size(about.download_bytes)} of {source} …")
    folder = repository.fetch(list(about.files))
    if not repository.local:  # how many numbers the files hold is known only now
        about = _possible(plan(folder))
    say(f"Loading {size(about.load_bytes)} of weights in {about.dtype} …")
    try:
        pipeline = _pipeline(folder, about)
        if strangers := unread(pipeline, folder, about.files):
            raise ValueError(f"none of the files holds the values of {', '.join(strangers[:3])}")
        return _saving_memory(pipeline, about)
    except Exception as error:
        raise PublishedError(
            f"the weights in {folder} could not be loaded: {error}. They may be damaged, so that "
            "you must get them again, or written by a newer release of diffusers or transformers "
            f"than yours; or use {SMALL_MODEL}"
        ) from error


def load_upscaler(
    source: str | Path,
    *,
    revision: str | None = None,
    on_status: Callable[[str], None] | None = None,
) -> LatentUpscaler:
    """Return an upscaler around :func:`load_published`.

    The authors' guidance of 9 has to be asked for: as long as there is no text it changes
    nothing, and doubles the time. For their 75 steps there are 20, so that a processor is done
    in minutes.
    """
    return LatentUpscaler(
        load_published(source, revision=revision, on_status=on_status),
        name=str(source),
        steps=20,
        defaults=Conditioning(guidance_scale=1.0, noise_level=20),
        auto_tile=TILE,
    )


def _possible(about: Plan) -> Plan:
    """Return the plan, or raise for what stands against it."""
    if about.problems:
        raise PublishedError(f"{about.source} cannot be loaded: {' Also, '.join(about.problems)}")
    return about


def _pipeline(folder: Path, about: Plan) -> "StableDiffusionUpscalePipeline":
    """Load from a folder, in one type of numbers: a variant alone would leave them mixed."""
    import diffusers

    return diffusers.StableDiffusionUpscalePipeline.from_pretrained(
        folder,
        variant=about.variant,
        use_safetensors=True,
        local_files_only=True,
        **{_dtype_argument(diffusers.__version__): getattr(torch, about.dtype)},
    )


def unread(pipeline: Any, folder: Path, files: Iterable[str]) -> list[str]:
    """Return the names of the parameters whose values are in none of the files.

    There should be none. The libraries give a weight that they do not find random numbers, and
    only write a warning; they also rename weights, so that the names do not tell.
    """
    strangers = []
    for part, network in pipeline.components.items():
        if not isinstance(network, torch.nn.Module):
            continue
        read, dtype = set(), network.dtype
        for name in files:
            if name.startswith(f"{part}/") and name.endswith(".safetensors"):
                with safetensors.safe_open(folder / name, framework="pt") as file:
                    keys = file.keys()
                    read |= {_some(file.get_tensor(key), dtype) for key in keys}
        strangers += [
            f"{part}.{name}"
            for name, values in network.named_parameters()
            if values.is_meta or _some(values, dtype) not in read
        ]
    return strangers


def _some(values: torch.Tensor, dtype: torch.dtype) -> tuple[float, ...]:
    """Return how many numbers a tensor has, and up to eight of them from all over it."""
    flat = values.detach().flatten()
    return len(flat), *flat[:: math.ceil(len(flat) / 8)].to(dtype).tolist()


def _dtype_argument(version: str) -> str:
    """Return how this release of diffusers calls the type of numbers; it was renamed in 0.40."""
    major, minor = version.split(".")[:2]
    return "dtype" if (int(major), int(minor)) >= (0, 40) else "torch_dtype"


def _saving_memory(pipeline: Any, about: Plan) -> Any:
    """Move a pipeline to its device, and let it take no more memory than planned."""
    pipeline.set_progress_bar_config(disable=True)
    pipeline.enable_attention_slicing("max")  # head by head, however many there are
    pipeline.vae.float()  # once, where the pipeline would do it for each tile and undo it
    pipeline.vae.enable_tiling()
    pipeline.vae.tile_latent_min_size = VAE_TILE
    pipeline.vae.tile_sample_min_size = VAE_TILE * pipeline.vae_scale_factor
    if about.offload == "parts":
        pipeline.enable_model_cpu_offload()
    elif about.offload == "layers":
        pipeline.enable_sequential_cpu_offload()
    else:
        pipeline.to(about.device)
    return pipeline
