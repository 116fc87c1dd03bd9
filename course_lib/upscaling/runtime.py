"""The same network by another runtime: OpenVINO, which is faster on many processors.

Chapter: *SRDiff*. PyTorch calls one operation after another; OpenVINO first sees the whole
network, fuses what follows on a convolution into it, and plans its memory once. The package
is optional: ``pip install course_lib[fast]``.
"""

import importlib.util
import sys
import warnings
from types import ModuleType

import torch
from torch import nn

from .interface import UpscalingError

# By their names: the precision that OpenVINO is asked for.
RUNTIMES = {"torch": None, "openvino": "f32", "openvino-bf16": "bf16"}


def check_known(runtime: str) -> None:
    """Raise :class:`~course_lib.upscaling.interface.UpscalingError` for an unknown name."""
    if runtime not in RUNTIMES:
        raise UpscalingError(f"unknown runtime {runtime!r}; known: {', '.join(RUNTIMES)}")


def installed() -> list[str]:
    """Return the names of the runtimes that are there."""
    there = importlib.util.find_spec("openvino") is not None
    return [name for name, precision in RUNTIMES.items() if there or precision is None]


def openvino() -> ModuleType:
    """Import OpenVINO, without the part of it that reports to its makers.

    Raises :class:`~course_lib.upscaling.interface.UpscalingError` where it is not installed.
    """
    silent = {} if "openvino" in sys.modules else {"openvino_telemetry": None}
    sys.modules.update(silent)  # None makes an import fail, and OpenVINO does without
    try:
        import openvino
    except ImportError as error:
        raise UpscalingError(
            f"the runtime OpenVINO is not there ({error}); pip install 'course_lib[fast]'"
        ) from error
    finally:
        for name in silent:
            del sys.modules[name]
    return openvino


class Compiled(nn.Module):
    """A denoiser whose ``forward`` OpenVINO computes; all else is that of the original.

    It takes pictures of any size that the original takes, and computes in float32 or, for
    'bf16', in bfloat16 (8 significant bits), which needs a processor that has it.
    """

    def __init__(self, denoiser: nn.Module, precision: str, example: tuple[torch.Tensor, ...]):
        """``example`` are inputs (x_t, t, projected) of any size, small to save time.

        Raises :class:`~course_lib.upscaling.interface.UpscalingError` where OpenVINO or the
        precision is not there.
        """
        super().__init__()
        runtime = openvino()
        core = runtime.Core()
        able = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if precision == "bf16" and "BF16" not in able:
            raise UpscalingError("this processor does not compute in bfloat16")
        with warnings.catch_warnings():  # of tracing, about checks of shapes, and its future
            warnings.simplefilter("ignore")
            graph = runtime.convert_model(denoiser, example_input=example)
        settings = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        }
        self.request = core.compile_model(graph, "CPU", settings).create_infer_request()
        self.original = denoiser
        self.multiple = denoiser.multiple

    def project(self, condition: torch.Tensor) -> torch.Tensor:
        """Return the condition as the denoiser adds it: once for an image, so by PyTorch."""
        return self.original.project(condition)

    def forward(self, x_t: torch.Tensor, t: torch.Tensor, projected: torch.Tensor) -> torch.Tensor:
        """Map states (N, 3, H, W), steps (N,) and the projected condition to (N, 3, H, W)."""
        inputs = [each.contiguous().numpy() for each in (x_t, t, projected)]
        return torch.from_numpy(self.request.infer(inputs)[0].copy())


def compiled(model: nn.Module, runtime: str) -> nn.Module:
    """Return an :class:`~course_lib.upscaling.srdiff.SRDiff`, its denoiser run by ``runtime``.

    The model itself is changed, and is for use only, not for training. Raises
    :class:`~course_lib.upscaling.interface.UpscalingError` for a runtime that is unknown or
    not there.
    """
    check_known(runtime)
    if precision := RUNTIMES[runtime]:
        side = model.padded_size(1, 1)[0]
        with torch.no_grad():
            small = torch.zeros(1, 3, *(side // model.config.scale for _ in range(2)))
            projected = model.condition(small).projected
            example = torch.zeros(1, 3, side, side), torch.zeros(1, dtype=torch.long), projected
            model.denoise_fn = Compiled(model.denoise_fn, precision, example)
    return model


def in_torch(model: nn.Module) -> nn.Module:
    """Undo :func:`compiled`, so that operations can be counted; returns the model."""
    if isinstance(model.denoise_fn, Compiled):
        model.denoise_fn = model.denoise_fn.original
    return model
