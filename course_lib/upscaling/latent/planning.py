"""What a published pipeline would take, known before it is downloaded or loaded."""

from dataclasses import dataclass
from pathlib import Path

from ..interface import OVERLAP
from . import layout, resources
from .attention import attention_bytes
from .repository import INDEX, SMALL_MODEL, Repository, opened

TILE = 128  # the side of the tiles into which large images are cut, in low-resolution pixels
LARGEST = TILE + 2 * OVERLAP  # the side of the largest square that is one tile
VAE_TILE = 64  # the side of the tiles that the autoencoder decodes, in codes
# How many arrays of the finest resolution and width a network holds at once: counted on the
# published architecture, 15.3 and 6.0.
UNET_ARRAYS, VAE_ARRAYS = 16, 6
SPARE = 1_000_000_000  # bytes for the libraries, and for what kernels need inside themselves


@dataclass(frozen=True)
class Plan:
    """What loading weights would take, in bytes, and where they would run.

    ``download_bytes`` is what is not yet on disk, ``None`` where the hub does not tell.
    ``load_bytes`` is the size of the weights in memory, ``peak_bytes`` what is needed at most
    for images in tiles, on the ``device``, of whose memory ``free_memory`` is free. ``offload``
    says what waits in main memory while the device works: 'nothing', 'parts' or 'layers'.
    ``problems`` are the reasons why it cannot be, each with advice.
    """

    source: str
    revision: str | None
    local: bool
    download_bytes: int | None
    load_bytes: int
    peak_bytes: int
    free_memory: int
    free_disk: int
    device: str
    dtype: str
    offload: str
    variant: str | None
    files: tuple[str, ...]
    problems: tuple[str, ...]

    def describe(self) -> str:
        """Say it in several lines."""
        if self.download_bytes is None:
            download = "of unknown size"
        elif self.download_bytes:
            download = f"{size(self.download_bytes)}; {size(self.free_disk)} of disk are free"
        else:
            download = f"nothing, the files are in {'this folder' if self.local else 'the cache'}"
        where = {"cuda": "the graphics card (cuda)", "cpu": "the processor (cpu)"}[self.device]
        offload = {
            "nothing": "",
            "parts": "; parts that do not work at the moment wait in main memory",
            "layers": "; each layer waits in main memory for its turn, which is slow",
        }[self.offload]
        lines = (
            self.source + (f", revision {self.revision}" if self.revision else ""),
            f"Download: {download}.",
            f"Runs on: {where}, in {self.dtype}{offload}.",
            f"Memory: {size(self.load_bytes)} of weights; up to {size(self.peak_bytes)} are "
            f"needed, {size(self.free_memory)} are free.",
            *(f"Problem: {problem}" for problem in self.problems),
        )
        return "\n".join(lines)


def plan(source: str | Path, *, revision: str | None = None) -> Plan:
    """Return what loading a pipeline would take; no weights are downloaded or loaded.

    ``source`` is a folder that ``save_pretrained`` wrote, or a repository's id on the hub, which
    is asked for its list of files and two small ones; without a network, the hub's cache is all
    there is. Raises :class:`~course_lib.upscaling.latent.repository.PublishedError` where it is
    no upscale pipeline or cannot be had.
    """
    return planned(opened(str(source), revision))


def planned(repository: Repository) -> Plan:
    """Return the plan for an opened repository.

    The peak is that of the weights, of what the networks hold for the largest tile, and
    ``SPARE``. The autoencoder stays in float32 everywhere, as the half numbers overflow in it.
    """
    parts = layout.parts(repository)
    channels = [layout.channels(repository, part) for part in ("unet", "vae")]
    weights = {
        part: layout.weights(repository, part)
        for part in parts
        if part not in layout.WITHOUT_WEIGHTS
    }
    chosen = [name for names in weights.values() for name in names]
    files = (INDEX, *layout.configs(repository, parts), *chosen)
    absent = [repository.sizes[name] for name in files if repository.here(name) is None]
    download = None if None in absent else sum(absent)

    on_card, main = resources.free_on_card(), resources.free_memory()
    bytes_per_number = 4 if on_card is None else 2
    held = [
        (4 if part == "vae" else bytes_per_number)
        * sum(layout.numbers(repository, name) for name in names)
        for part, names in weights.items()
    ]
    working = SPARE + activation_bytes(*channels, bytes_per_number)
    ways = {"nothing": sum(held), "parts": max(held), "layers": 0}
    if on_card is None:
        offload = "nothing"
    else:
        fitting = [way for way, held_there in ways.items() if held_there + working <= on_card]
        offload = fitting[0] if fitting else "layers"
    found = {
        "download_bytes": download,
        "load_bytes": sum(held),
        "peak_bytes": ways[offload] + working,
        "free_memory": main if on_card is None else on_card,
        "free_disk": resources.free_disk(repository.stored),
        "device": "cpu" if on_card is None else "cuda",
    }
    return Plan(
        source=repository.source,
        revision=repository.revision,
        local=repository.local,
        dtype="float32" if on_card is None else "float16",
        offload=offload,
        variant="fp16" if any(map(layout.in_half, chosen)) else None,
        files=files,
        problems=tuple(_problems(**found, main=main)),
        **found,
    )


def activation_bytes(
    unet_channels: list[int], vae_channels: list[int], bytes_per_number: int
) -> int:
    """Return what the networks hold besides their weights, at most, for the largest tile.

    The U-Net holds ``UNET_ARRAYS`` of its finest resolution, for two images because of the
    guidance; the autoencoder works in float32 on tiles of ``VAE_TILE`` codes, whose attention
    holds two arrays: :eq:`latent-attention-memory`.
    """
    unet = UNET_ARRAYS * unet_channels[0] * LARGEST**2 * 2 * bytes_per_number
    side = 2 ** (len(vae_channels) - 1) * VAE_TILE
    vae = VAE_ARRAYS * vae_channels[0] * side**2 * 4
    return max(unet, vae, 2 * attention_bytes(VAE_TILE, VAE_TILE))


def size(count: int) -> str:
    """Return a number of bytes as people read it."""
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def _problems(
    *,
    download_bytes: int | None,
    load_bytes: int,
    peak_bytes: int,
    free_memory: int,
    free_disk: int,
    device: str,
    main: int,
) -> list[str]:
    problems = []
    if download_bytes is None:
        problems.append(
            "the hub does not tell the size of the files, so it cannot be known whether they fit. "
            "Download them yourself, and give the folder."
        )
    elif download_bytes and download_bytes + SPARE > free_disk:
        problems.append(
            f"{size(download_bytes)} would be downloaded, but only {size(free_disk)} of disk are "
            "free. Free some, or name a folder on a larger disk in the environment variable "
            "HF_HOME."
        )
    if peak_bytes > free_memory:
        problems.append(
            f"up to {size(peak_bytes)} of memory are needed on the {device}, but only "
            f"{size(free_memory)} are free. Close other programs, go to a larger machine (Colab "
            f"lends graphics cards), or use {SMALL_MODEL}."
        )
    if device != "cpu" and load_bytes + SPARE > main:
        problems.append(
            f"on their way to the graphics card the weights take {size(load_bytes + SPARE)} of "
            f"main memory, of which only {size(main)} are free. Close other programs, or use "
            f"{SMALL_MODEL}."
        )
    return problems
