"""How fast, how large and how good the upscalers are on the machine at hand.

Chapter: *SRDiff*. Each model runs in a process of its own, so that its peak of memory is its
own. Beside ours stands the configuration of SRDiff's authors, untrained, since its speed does
not depend on its weights: as plain PyTorch runs it, and with what costs nothing to change.
"""

import itertools
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn

from . import data
from .diffusion import sample_ddpm
from .metrics import MetricsError, count_operations, measure_upscaler
from .metrics.super_resolution import originals
from .models.blocks import to_network
from .noise import seeded, standard_normal
from .upscaling import CheckpointError, SRDiff, SRDiffConfig, UpscalingError
from .upscaling.runtime import RUNTIMES, compiled, in_torch, installed
from .upscaling.srdiff import Condition
from .upscaling.upscalers import UPSCALERS, channels_last, for_inference, load
from .weights import WeightsError

PLAIN = "srdiff-official"
# NAME@RUNTIME; PLAIN comes last, and without a runtime is not even tuned. What only some
# processors can do must be asked for.
COMPILED = [runtime for runtime in installed() if runtime == "openvino"]
MODELS = (
    *UPSCALERS,
    *(f"srdiff@{runtime}" for runtime in COMPILED),
    *(f"{PLAIN}@{runtime}" for runtime in ("torch", *COMPILED)),
    PLAIN,
)
CONVOLUTION = "convolution"  # not a model: what the machine can do at best
PROTOCOL = (
    "Each model enlarges one image of size x size pixels in a process of its own, once to warm "
    "up and then 'repeat' times, of which the median counts. 'peak memory' is the most that the "
    "process ever held, PyTorch and all other imports included, whose share is in brackets. "
    "'share of peak' is the number of operations (of convolutions and matrix products) a second "
    "over what a 3 x 3 convolution of 64 to 64 channels, channels last, on 128 x 128 pixels "
    "reaches at its best in this machine with as many threads. '" + PLAIN + "' is the "
    "architecture of SRDiff's authors with random weights in a plain loop of DDPM: 'repeat' of "
    "its 100 steps were timed after one to warm up, and the median taken 100 times, as that is "
    "what an image would need; '" + PLAIN + "@torch' is the same with the condition projected "
    "once instead of in each step, channels last, and inference mode. After an @ stands the "
    "runtime that computes the denoiser. PSNR and SSIM are of the luma by the protocol of "
    "'course-lib evaluate-sr' with one sample for each image; untrained models have none."
)


class BenchError(RuntimeError):
    """A measurement that could not be made; the message says of what and why."""


def bench(
    models: Sequence[str] = MODELS,
    *,
    size: int = 128,
    repeat: int = 3,
    images: Path | None = None,
    on_model: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Measure upscalers as ``PROTOCOL`` says, one after another.

    ``models`` are names of ``MODELS`` or what :func:`~course_lib.upscaling.upscalers.load`
    takes, with an @ and a runtime if wanted; ``size`` is a multiple of 4 from 16 on;
    ``images`` is a folder of originals, by default the examples that ship. ``on_model`` is
    told what is measured next.

    Returns ``machine``, ``threads``, ``torch``, ``peak`` (operations a second), ``size``,
    ``repeat``, ``images``, ``protocol`` and ``models``, with for each what :func:`measure`
    returns, and ``megapixel_seconds`` (of output), ``share`` of the peak and ``faster`` (times
    than ``PLAIN``, if that was measured). Raises :class:`BenchError` where one of them fails.
    """
    if size < 16 or size % 4:
        raise BenchError(f"size must be a multiple of 4 from 16 on, not {size}")
    if repeat < 1:
        raise BenchError(f"repeat must be at least 1, not {repeat}")
    request = {"size": size, "repeat": repeat, "images": str(images) if images else None}

    def measured(model: str) -> dict[str, Any]:
        if on_model:
            on_model(model)
        return in_own_process({"model": model, **request})

    peak = measured(CONVOLUTION)
    rows = [measured(model) for model in models]
    plain = next((row["seconds"] for row in rows if row["model"] == PLAIN), None)
    for row in rows:
        row["megapixel_seconds"] = row["seconds"] / (row["scale"] * size) ** 2 * 1e6
        row["share"] = row["operations"] / row["seconds"] / peak["peak"]
        row["faster"] = plain and plain / row["seconds"]
    return {
        "machine": machine(),
        "torch": torch.__version__,
        **peak,
        **request,
        "protocol": PROTOCOL,
        "models": rows,
    }


def in_own_process(request: dict[str, Any]) -> dict[str, Any]:
    """Answer a request in a new process, which has this one's environment."""
    finished = subprocess.run(
        [sys.executable, "-m", "course_lib.bench"],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    if finished.returncode:
        lines = finished.stderr.strip().splitlines() or [f"exit code {finished.returncode}"]
        raise BenchError(f"{request['model']} could not be measured: {lines[-1]}")
    return json.loads(finished.stdout.splitlines()[-1])


def main() -> None:
    """Answer the request on the standard input, as :func:`in_own_process` makes it."""
    request = json.loads(sys.stdin.read())
    model = request.pop("model")
    try:
        if model == CONVOLUTION:
            answer = {"peak": convolution_peak(), "threads": torch.get_num_threads()}
        else:
            answer = measure(model, **request)
    except (
        CheckpointError,
        data.ImageError,
        MetricsError,
        OSError,
        UpscalingError,
        WeightsError,
    ) as error:
        sys.exit(str(error))
    print(json.dumps(answer))


def measure(model: str, *, size: int, repeat: int, images: str | None = None) -> dict[str, Any]:
    """Measure one model in this process.

    Returns ``model``, ``scale``, ``seconds`` for one image, whether they are ``extrapolated`` from
    some of the steps, ``operations``, ``peak_bytes`` and ``import_bytes`` (``None`` where the
    system does not tell), ``psnr_y`` and ``ssim_y``.
    """
    imports = peak_memory()
    lr = data.resize(data.example(data.EXAMPLES[0]), size, size).clamp(0, 1)
    name, runtime = split_runtime(model)
    if name == PLAIN:
        upscaler, scale = None, SRDiffConfig.official().scale
        seconds, operations, peak = official(lr, repeat=repeat, runtime=runtime)
    else:
        upscaler = load(name, runtime=runtime or "torch")
        scale = upscaler.scale
        seconds, peak = timed(lambda: upscaler.upscale(lr, seed=0), repeat)
    quality = {}
    if upscaler:
        pairs = originals(Path(images)) if images else examples()
        quality = measure_upscaler(upscaler, pairs, samples=1)["mean"]
        if runtime:
            in_torch(upscaler.model)
        operations = count_operations(lambda: upscaler.upscale(lr, seed=0))
    return {
        "model": model,
        "scale": scale,
        "seconds": seconds,
        "extrapolated": upscaler is None,
        "operations": operations,
        "peak_bytes": peak,
        "import_bytes": imports,
        "psnr_y": quality.get("psnr_y"),
        "ssim_y": quality.get("ssim_y"),
    }


def split_runtime(model: str) -> tuple[str, str | None]:
    """Return the name and the runtime, if one is named, of NAME@RUNTIME."""
    name, _, runtime = model.rpartition("@")
    return (name, runtime) if runtime in RUNTIMES else (model, None)


def timed(function: Callable[[], object], repeat: int) -> tuple[float, int | None]:
    """Return seconds (the median) and the peak of memory after a call to warm up."""
    function()
    seconds = median(clocked(function) for _ in range(repeat))
    return seconds, peak_memory()


def clocked(function: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


class _Enough(Exception):
    """Ends a walk back after the steps that are timed."""


def official(
    lr: torch.Tensor, *, repeat: int, runtime: str | None, config: SRDiffConfig | None = None
) -> tuple[float, int, int | None]:
    """Return seconds, operations and peak of memory of the authors' SRDiff, untrained.

    The first two are those of the preparation and of all steps, of which ``repeat`` are made.
    Without a ``runtime`` all is done in the plainest way.
    """
    model = SRDiff(config or SRDiffConfig.official()).eval()
    tuned = runtime is not None
    mode = torch.inference_mode if tuned else torch.no_grad
    if tuned:
        model, lr = compiled(for_inference(model), runtime), channels_last(lr)
    schedule, scale = model.schedule, model.config.scale
    shape = (len(lr), 3, scale * lr.shape[2], scale * lr.shape[3])
    generator = seeded(0)

    def prepare() -> tuple[torch.Tensor, torch.Tensor]:
        image, features = model.rrdb.forward_with_condition(to_network(lr))
        return image, model.denoise_fn.project(features) if tuned else features

    def walk(steps: int) -> list[float]:
        """Make the first steps back, and return the time of each."""
        image, features = prepare()

        def denoise(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            projected = features if tuned else model.denoise_fn.project(features)
            return model.denoise(x, t, Condition(image, projected))

        def on_step(t: int, *_: torch.Tensor) -> None:
            times.append(time.perf_counter())
            if len(times) > steps:
                raise _Enough

        x = standard_normal(*shape, like=lr, generator=generator)
        times = [time.perf_counter()]
        with suppress(_Enough):
            sample_ddpm(
                denoise,
                channels_last(x) if tuned else x,
                schedule,
                generator=generator,
                on_step=on_step,
            )
        return [after - before for before, after in itertools.pairwise(times)]

    with mode():
        prepare()
        preparation = clocked(prepare)
        step = median(walk(repeat + 1)[1:])
        peak = peak_memory()
        in_torch(model)
        fixed = count_operations(prepare)
        one = count_operations(lambda: walk(1)) - fixed
    return preparation + schedule.timesteps * step, fixed + schedule.timesteps * one, peak


@torch.inference_mode()
def convolution_peak(repeat: int = 20) -> float:
    """Return the operations a second of a convolution that suits the machine well, at best."""
    layer = nn.Conv2d(64, 64, 3, padding=1).to(memory_format=torch.channels_last)
    x = channels_last(torch.rand(1, 64, 128, 128, generator=seeded(0)))
    operations = count_operations(lambda: layer(x))
    return operations / min(clocked(lambda: layer(x)) for _ in range(repeat))


def examples() -> list[tuple[str, torch.Tensor]]:
    """Return the photographs that ship, with their names."""
    return [(name, data.example(name)) for name in data.EXAMPLES]


def peak_memory() -> int | None:
    """Return the most bytes that this process held so far, or ``None`` if nobody knows."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would begin with the parent's peak
        line = next((s for s in status.read_text().splitlines() if s.startswith("VmHWM:")), None)
        return int(line.split()[1]) * 1024 if line else None
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


def machine() -> str:
    """Return the processor's name and the system."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    processor = next(names, "") or platform.processor() or "unknown processor"
    return f"{processor} ({platform.machine()}), {platform.system()}"


if __name__ == "__main__":
    main()
