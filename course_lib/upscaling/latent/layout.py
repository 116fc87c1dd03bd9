"""Which files make up a published pipeline: parts with a config each, and weights.

They are as diffusers' ``save_pretrained`` writes them. Only safetensors count as weights.
"""

import math
import re

import safetensors

from .repository import ALTERNATIVES, INDEX, PublishedError, Repository

PIPELINE = "StableDiffusionUpscalePipeline"
# What a pipeline must have, and the file without which a part is nothing.
CONFIGS = {
    "vae": "config.json",
    "unet": "config.json",
    "text_encoder": "config.json",
    "tokenizer": "tokenizer_config.json",
    "scheduler": "scheduler_config.json",
    "low_res_scheduler": "scheduler_config.json",
}
WITHOUT_WEIGHTS = ("tokenizer", "scheduler", "low_res_scheduler", "feature_extractor")
# Those of diffusers and of transformers; whatever else a repository names is code of its own.
LIBRARIES = ("diffusers", "transformers", "stable_diffusion", "deepfloyd_if")
WEIGHTS = r"(diffusion_pytorch_)?model(\.fp16)?(-\d+-of-\d+)?(\.fp16)?\.safetensors"
PICKLES = (".bin", ".ckpt", ".pt", ".pth")


def parts(repository: Repository) -> list[str]:
    """Return the names of the parts, once the index says that they are what we can load."""
    index = repository.json(INDEX)
    if index.get("_class_name") != PIPELINE:
        raise PublishedError(
            f"{repository.source} holds a {index.get('_class_name')}, not a {PIPELINE}, the only "
            f"kind that is loaded here. {ALTERNATIVES}"
        )
    entries = {name: entry for name, entry in index.items() if isinstance(entry, list)}
    libraries = {name: entry[0] for name, entry in entries.items() if entry[0] is not None}
    for part, config in CONFIGS.items():
        if part not in libraries:
            raise PublishedError(f"the {INDEX} of {repository.source} names no {part}")
        if f"{part}/{config}" not in repository.sizes:
            raise repository.missing(f"{part}/{config}")
    for part, library in libraries.items():
        if library not in LIBRARIES:
            raise PublishedError(
                f"the {part} of {repository.source} needs {library!r}, code that is neither "
                "diffusers' nor transformers'; none of that kind is run here"
            )
    return list(libraries)


def configs(repository: Repository, names: list[str]) -> list[str]:
    """Return the small files of the named parts."""
    return sorted(
        name
        for name in repository.sizes
        if name.partition("/")[0] in names and re.fullmatch(r"\w+/[^/]+\.(json|txt)", name)
    )


def weights(repository: Repository, part: str) -> list[str]:
    """Return the files of a part's weights.

    Where it is there both in half precision and as it was, they are those of which less must be
    downloaded, and the ones in half precision where that is equal. Raises for a part without
    any, or with pickled ones only, which can run code when they are read.
    """
    inside = sorted(name for name in repository.sizes if name.startswith(f"{part}/"))
    found = [name for name in inside if re.fullmatch(WEIGHTS, name.removeprefix(f"{part}/"))]
    half = [name for name in found if in_half(name)]
    candidates = [whole(names) for names in (half, [n for n in found if n not in half]) if names]
    complete = [names for names in candidates if names]
    if complete:
        return min(complete, key=lambda names: _download(repository, names))
    if found:
        raise repository.missing(f"one of the {found[0].split('-of-')[1][:5]} files of the {part}")
    if any(name.endswith(PICKLES) for name in inside):
        raise PublishedError(
            f"{repository.source} has the weights of its {part} only as a pickle, which can run "
            f"any code when it is read; safetensors only are loaded here. {ALTERNATIVES}"
        )
    prefix = "model" if part == "text_encoder" else "diffusion_pytorch_model"
    raise repository.missing(f"{part}/{prefix}.safetensors")


def in_half(name: str) -> bool:
    """Whether a file's name says that it holds numbers in half precision."""
    return ".fp16" in name


def whole(names: list[str]) -> list[str]:
    """Return a file that has all weights, or the several that do together, or none."""
    for name in names:
        if "-of-" not in name:
            return [name]
    count = int(re.search(r"-of-(\d+)", names[0])[1])
    return names if len(names) == count else []


def numbers(repository: Repository, name: str) -> int:
    """Return how many numbers a file of weights holds; from its size if it is not on disk."""
    path = repository.here(name)
    if path is None:
        return (repository.sizes[name] or 0) // (2 if in_half(name) else 4)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            keys = file.keys()
            return sum(math.prod(file.get_slice(key).get_shape()) for key in keys)
    except (OSError, safetensors.SafetensorError) as error:
        raise PublishedError(
            f"{path} is damaged or not what its name says ({error}). Delete it, and get it again"
        ) from error


def channels(repository: Repository, part: str) -> list[int]:
    """Return the channels of a network's resolutions, from fine to coarse."""
    found = repository.json(f"{part}/config.json").get("block_out_channels")
    if not (isinstance(found, list) and found and all(isinstance(n, int) for n in found)):
        raise PublishedError(f"the config of the {part} of {repository.source} is not one")
    return found


def _download(repository: Repository, names: list[str]) -> int:
    return sum(repository.sizes[name] or 0 for name in names if repository.here(name) is None)
