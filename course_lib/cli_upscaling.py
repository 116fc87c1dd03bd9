"""The commands for enlarging images: ``upscale``, ``evaluate-sr`` and ``bench``."""

import glob
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from .cli_common import (
    LARGEST_SEED,
    Force,
    Images,
    JsonFile,
    Problem,
    check_writable,
    err,
    origin,
    out,
    say,
    split_names,
    write_json,
)

if TYPE_CHECKING:
    from PIL import Image

    from .data import UserImage
    from .upscaling import Upscaler

# By the endings of files: what Pillow calls the format, and how it is written.
FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    "png": ("PNG", {}),
    "jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
    "jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
    "webp": ("WEBP", {"lossless": True}),
    "tif": ("TIFF", {"compression": "tiff_lzw"}),
    "tiff": ("TIFF", {"compression": "tiff_lzw"}),
    "bmp": ("BMP", {}),
}
WITH_ALPHA = ("PNG", "WEBP", "TIFF")
ENDINGS = (*(f".{ending}" for ending in FORMATS), ".gif")  # of what can be read
INTERRUPTED = 130
GAP = 8  # white pixels between the halves of a comparison

Steps = Annotated[int | None, typer.Option(min=1, help="Sampling steps of a diffusion model.")]
Sampler = Annotated[
    str | None,
    typer.Option(help="How to sample a diffusion model: ddpm, ddim or dpm-solver (dpm++)."),
]
Temperature = Annotated[
    float | None,
    typer.Option(min=0, help="How much noise a diffusion model starts from; 0 to 1."),
]
Runtime = Annotated[
    str,
    typer.Option(help="What computes a diffusion model: torch, openvino or openvino-bf16."),
]
Scale = Annotated[
    int | None, typer.Option(min=1, help="The factor, for nearest and bicubic: 4 unless given.")
]
Seed = Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Same seed, same images.")]
Prompt = Annotated[
    str | None, typer.Option(help="For latent: what the image shows, 'a photograph of a bird'.")
]
Negative = Annotated[
    str | None, typer.Option("--negative-prompt", help="For latent: what guidance leads away from.")
]
Guidance = Annotated[
    float | None, typer.Option(help="For latent: how far the prompt is followed, from 1 on.")
]
NoiseLevel = Annotated[
    int | None, typer.Option(min=0, help="For latent: noise on the small image, 0 to 350.")
]
ColorFix = Annotated[
    str | None,
    typer.Option(
        help="For latent: the repair of colours, back-projection, wavelet, adain or none."
    ),
]
Pretrained = Annotated[
    str | None,
    typer.Option(
        help="For latent: published weights, as the id of a repository (which is downloaded) or "
        "a folder; 'stabilityai/stable-diffusion-x4-upscaler', say."
    ),
]


# upscale


@dataclass(frozen=True)
class Job:
    """One image to enlarge, and where the results go."""

    source: Path
    target: Path
    comparison: Path | None

    @property
    def results(self) -> list[Path]:
        """The files that will be written."""
        return [path for path in (self.target, self.comparison) if path]


def upscale(
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="IN...", help="Images, folders of images, or patterns ('*.jpg')."),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="A file for one image, or a folder (made if needed)."),
    ],
    model: Annotated[
        str,
        typer.Option(
            help="nearest, bicubic, regression, srdiff or latent; or the path of a run's folder, "
            "of a .safetensors file or of a .ckpt file of SRDiff's authors."
        ),
    ] = "srdiff",
    steps: Steps = None,
    seed: Seed = 0,
    sampler: Sampler = None,
    temperature: Temperature = None,
    prompt: Prompt = None,
    negative_prompt: Negative = None,
    guidance_scale: Guidance = None,
    noise_level: NoiseLevel = None,
    color_fix: ColorFix = None,
    pretrained: Pretrained = None,
    revision: Annotated[str | None, typer.Option(help="Of --pretrained: which version.")] = None,
    scale: Scale = None,
    runtime: Runtime = "torch",
    tile: Annotated[
        str, typer.Option(help="Side of the tiles, a multiple of 4 from 64 on, or 'auto'.")
    ] = "auto",
    format_: Annotated[
        str | None,
        typer.Option(
            "--format",
            help=f"{', '.join(FORMATS)}; by default that of the file's name, png in a folder.",
        ),
    ] = None,
    compare: Annotated[
        bool,
        typer.Option(
            "--compare",
            help="Also write NAME-compare.png: bicubic on the left, the result on the right.",
        ),
    ] = False,
    force: Force = False,
) -> None:
    """Enlarge images; a folder keeps their names, with the ending of the format.

    Transparency is kept in PNG, WebP and TIFF, and enlarged bicubically. An image that cannot
    be read or written is left out and named at the end, with exit code 1. Nothing is
    overwritten without --force, and no input ever. The same seed, model and options give the
    same pixels.
    """
    from .upscaling import load

    jobs = plan(inputs, output, format_, compare=compare, force=force)
    upscaler = load(model, scale=scale, runtime=runtime, pretrained=pretrained, revision=revision)
    told = {
        "prompt": prompt,
        "negative_prompt": negative_prompt,
        "guidance_scale": guidance_scale,
        "noise_level": noise_level,
        "color_fix": color_fix,
    }
    options = conditions(upscaler, told) | {
        "steps": steps,
        "seed": seed,
        "sampler": sampler_name(sampler),
        "temperature": temperature,
        "tile": "auto" if tile == "auto" else whole_number(tile),
    }
    check_options(upscaler, options)
    done, failures = 0, []
    try:
        for place, job in enumerate(jobs, start=1):
            where = f"{place} of {len(jobs)}: " if len(jobs) > 1 else ""
            with progress(f"{where}{job.source.name}") as advance:
                complaint = enlarge_file(job, upscaler, advance, options)
            if not complaint:
                done += 1
                continue
            failures.append(complaint)
            if len(jobs) > 1:
                say(err, f"left out: {complaint}", style="red")
    except KeyboardInterrupt:
        say(err, f"stopped; {done} of {len(jobs)} images are done", style="bold yellow")
        raise typer.Exit(INTERRUPTED) from None
    if failures:
        summary = f"{len(failures)} of {len(jobs)} images could not be enlarged:"
        say(err, "\n  ".join([summary, *failures]), style="red")
        raise typer.Exit(1)


def enlarge_file(
    job: Job, upscaler: "Upscaler", advance: Any, options: dict[str, Any]
) -> str | None:
    """Enlarge one image and write it; return a complaint where that is not possible."""
    from .data import ImageError, read_image, with_alpha

    try:
        image = read_image(job.source)
        result = upscaler.upscale(image.rgb, progress=advance, **options)
        name, settings = FORMATS[ending(job.target)]
        large, notes = result.image, list(image.notes)
        if image.alpha and name in WITH_ALPHA:
            large = with_alpha(large, image.alpha, upscaler.scale)
            notes.remove("transparent parts on white")
            notes.append("transparency kept")
        job.target.parent.mkdir(parents=True, exist_ok=True)
        write_image(large, job.target, name, settings)
        if job.comparison:
            write_image(comparison(image, result.image), job.comparison, "PNG", {})
    except ImageError as error:
        message = str(error)
        return message if str(job.source) in message else f"{job.source}: {message}"
    except (OSError, MemoryError) as error:
        return f"{job.source}: {error or 'there is not enough memory'}"
    except RuntimeError as error:
        if "allocate" not in str(error):  # as PyTorch says that there is not enough memory
            raise
        return f"{job.source}: there is not enough memory; a smaller --tile needs less"
    remarks = f" ({'; '.join(notes)})" if notes else ""
    size = f"{large.width} x {large.height}"
    say(out, f"{job.source} -> {job.target}: {size}, {result.seconds:.1f} s{remarks}")
    return None


def plan(
    inputs: Sequence[str], output: Path, format_: str | None, *, compare: bool, force: bool
) -> list[Job]:
    """Return what is to be done, or raise :class:`Problem` before anything is."""
    if format_ is not None and format_.lower() not in FORMATS:
        raise Problem(f"unknown format {format_!r}; known: {', '.join(FORMATS)}")
    sources = find_images(inputs)
    if into_folder(output, len(sources)):
        suffix = f".{(format_ or 'png').lower()}"
        targets = [output / f"{source.stem}{suffix}" for source in sources]
        occupied = next((p for p in (output, *output.parents) if p.exists()), None)
        if occupied and not occupied.is_dir():
            raise Problem(f"{occupied} is a file, so there can be no folder {output}")
    else:
        if format_ and FORMATS[format_.lower()][0] != FORMATS[ending(output)][0]:
            raise Problem(f"{output} is no {format_} file: give one of the name and --format")
        targets = [output]
    jobs = [
        Job(source, target, target.with_name(f"{target.stem}-compare.png") if compare else None)
        for source, target in zip(sources, targets, strict=True)
    ]
    check_results(jobs, force)
    if targets == [output]:
        check_writable(output, force)
    return jobs


def into_folder(output: Path, images: int) -> bool:
    """Return whether the output is a folder; raise where it must be one and is not."""
    if output.is_dir():
        return True
    if not output.suffix:
        return True
    if ending(output) not in FORMATS:
        raise Problem(
            f"{output} must be a folder, or end in {', '.join(f'.{name}' for name in FORMATS)}"
        )
    if images > 1:
        raise Problem(f"{images} images do not fit into the file {output}: name a folder")
    return False


def ending(path: Path) -> str:
    """Return what a file's format is known by."""
    return path.suffix.lower().removeprefix(".")


def find_images(inputs: Sequence[str]) -> list[Path]:
    """Return the images that files, folders and patterns mean, each once.

    A file is taken whatever its name; of folders and patterns, what ends as images do.
    """
    found: dict[Path, Path] = {}
    for text in inputs:
        path = Path(text)
        if path.is_dir():
            paths = sorted(p for p in path.iterdir() if p.suffix.lower() in ENDINGS)
        elif path.exists():
            paths = [path]
        elif glob.has_magic(text):
            matches = map(Path, sorted(glob.glob(text, recursive=True)))
            paths = [p for p in matches if p.suffix.lower() in ENDINGS and not p.is_dir()]
        else:
            raise Problem(f"{text} does not exist")
        if not paths:
            raise Problem(f"there are no images in {text} ({', '.join(ENDINGS)})")
        for each in paths:
            found.setdefault(each.resolve(), each)
    return list(found.values())


def check_results(jobs: Sequence[Job], force: bool) -> None:
    """Raise :class:`Problem` where a result would replace an input, another result or a file."""
    sources = {job.source.resolve(): job.source for job in jobs}
    owners: dict[str, Path] = {}
    for job in jobs:
        for path in job.results:
            if path.resolve() in sources:
                raise Problem(f"{path} is an input, and would be overwritten")
            # Some file systems do not tell A from a.
            owner = owners.setdefault(str(path.resolve()).casefold(), job.source)
            if owner != job.source:
                raise Problem(
                    f"{owner} and {job.source} would both become {path}: enlarge them into "
                    "different folders"
                )
    for path in (path for job in jobs for path in job.results):
        if path.is_dir():
            raise Problem(f"{path} is a folder")
        if path.exists() and not force:
            raise Problem(f"{path} exists already; --force overwrites it")


def check_options(upscaler: "Upscaler", options: dict[str, Any]) -> None:
    """Raise :class:`Problem` for options that the upscaler refuses, before any image is read."""
    import torch

    from .upscaling import Cancelled

    def stop(_: Any) -> None:
        raise Cancelled

    try:  # the first step of one pixel
        upscaler.upscale(torch.zeros(1, 3, 1, 1), progress=stop, **options)
    except Cancelled:
        pass
    except ValueError as error:
        raise Problem(str(error)) from error


def conditions(upscaler: "Upscaler", told: dict[str, Any]) -> dict[str, Any]:
    """Return what was given of what only a latent upscaler is told; raise for the others."""
    from .upscaling.latent import LatentUpscaler

    given = {key: value for key, value in told.items() if value is not None}
    if given and not isinstance(upscaler, LatentUpscaler):
        option = next(iter(given)).replace("_", "-")
        raise Problem(f"{upscaler.name} sees the image alone, so it has no --{option}")
    return given


def sampler_name(sampler: str | None) -> str | None:
    """Return a sampler's name in the package; DPM-Solver++ is known by another too."""
    return "dpm-solver" if sampler == "dpm++" else sampler


def whole_number(text: str) -> int:
    """Return the side of a tile."""
    try:
        return int(text)
    except ValueError:
        raise Problem(f"--tile must be 'auto' or a whole number, not {text!r}") from None


def comparison(image: "UserImage", large: "Image.Image") -> "Image.Image":
    """Return the bicubic enlargement and the result side by side."""
    from PIL import Image

    from .upscaling import load

    scale = large.width // image.rgb.width
    sheet = Image.new("RGB", (2 * large.width + GAP, large.height), "white")
    sheet.paste(load("bicubic", scale=scale).upscale(image.rgb).image, (0, 0))
    sheet.paste(large, (large.width + GAP, 0))
    return sheet


def write_image(image: "Image.Image", path: Path, name: str, settings: dict[str, Any]) -> None:
    """Write an image that is whole or not there, also if the user stops us meanwhile."""
    from .files import replace_atomically

    file = BytesIO()
    try:
        image.save(file, name, **settings)
    except ValueError as error:  # as for sides that the format does not have
        raise OSError(f"it cannot be written as {name}: {error}") from error

    replace_atomically(path, lambda temporary: temporary.write_bytes(file.getvalue()))


@contextmanager
def progress(text: str) -> Iterator[Any]:
    """Show a bar with the time left, on a terminal; yields what ``upscale`` tells of steps."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeLeft()
    shown = Progress(*columns, console=err, transient=True, disable=not err.is_terminal)
    with shown:
        task = shown.add_task(escape(text), total=None)
        yield lambda state: shown.update(task, completed=state.done, total=state.total)


# evaluate-sr

LABELS = {
    "psnr_y": "PSNR-Y",
    "ssim_y": "SSIM-Y",
    "psnr_rgb": "PSNR-RGB",
    "lr_psnr": "LR-PSNR",
    "gradient_ratio": "gradient ratio",
    "distance": "distance",
    "psnr_y_of_mean": "PSNR-Y of mean",
    "diversity": "diversity",
}
DECIBELS = ("psnr_y", "psnr_rgb", "lr_psnr", "psnr_y_of_mean")


def evaluate_sr(
    images: Images,
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--models",
            help="Names as for 'upscale', with commas or repeated; by default all that ship.",
        ),
    ] = None,
    samples: Annotated[
        int, typer.Option(min=1, help="Samples of each image, of models that draw their answer.")
    ] = 8,
    distance: Annotated[
        str, typer.Option(help="Perceptual distance: efficientnet-lite0, lpips or none.")
    ] = "efficientnet-lite0",
    seed: Seed = 0,
    steps: Steps = None,
    sampler: Sampler = None,
    temperature: Temperature = None,
    scale: Scale = None,
    json_file: JsonFile = None,
    record: Annotated[
        str | None,
        typer.Option(
            help="Write the mean numbers into the cards of the shipped models, under this name."
        ),
    ] = None,
    force: Force = False,
) -> None:
    """Measure upscalers on a folder of originals: shrink them, enlarge them again, compare.

    Steps, sampler and temperature are for the models that have them; the others are measured
    without.
    """
    from . import metrics, upscaling, weights
    from .metrics import super_resolution

    if json_file:
        check_writable(json_file, force)
    names = split_names(models, upscaling.UPSCALERS)
    given = {"steps": steps, "sampler": sampler_name(sampler), "temperature": temperature}
    if record is not None:
        if any(value is not None for value in given.values()):
            raise Problem("--record is for models as they come: no --steps, --sampler, ...")
        learned = [name for name in names if name in weights.names()]
        if not learned:
            raise Problem("--record needs a shipped model that has learned")
        if "bicubic" not in names:
            names = ["bicubic", *names]  # which is noted beside them
    upscalers = {name: upscaling.load(name, scale=scale) for name in names}
    if len({upscaler.scale for upscaler in upscalers.values()}) > 1:
        raise Problem("the models enlarge by different factors, so they cannot be compared")
    for upscaler in upscalers.values():
        if upscaler.samplers:
            check_options(upscaler, given)
    measure = None if distance == "none" else perceptual(distance)
    results = {}
    for name, upscaler in upscalers.items():
        with err.status(escape(f"measuring {name}")) as status:
            results[name] = metrics.measure_upscaler(
                upscaler,
                super_resolution.originals(images),
                samples=samples,
                seed=seed,
                distance=measure,
                on_image=lambda image, _, name=name, status=status: status.update(
                    escape(f"measuring {name}: {image} is done")
                ),
                **(given if upscaler.samplers else {}),
            )
    out.print(quality_table(images, results))
    say(out, metrics.SR_PROTOCOL)
    if json_file:
        about = {
            **origin(),
            "folder": str(images),
            **given,
            "distance": distance,
            "models": results,
        }
        write_json(json_file, about | {"protocol": metrics.SR_PROTOCOL})
    if record is not None:
        for name in learned:
            record_benchmark(name, record, results[name], results["bicubic"])
            say(out, f"the numbers of {name} are in its card, under {record}")


def perceptual(name: str) -> Any:
    """Return the distance; where it cannot be had, the message says how to do without."""
    from . import metrics

    try:
        return metrics.perceptual(name)
    except metrics.MetricsError as error:
        raise Problem(f"{error}; '--distance none' does without") from error


def quality_table(folder: Path, results: dict[str, dict[str, Any]]) -> Table:
    """Return the mean numbers, a row for each model."""
    first = next(iter(results.values()))
    keys = [key for key in LABELS if any(key in found["mean"] for found in results.values())]
    labels = [LABELS[key] if key != "distance" else first["distance"] for key in keys]
    count = len(first["images"])
    title = f"{count} image{'s' * (count != 1)} in {folder}, enlarged by {first['scale']}"
    table = Table("model", "samples", *labels, title=escape(title))
    for name, found in results.items():
        cells = [number(found["mean"].get(key), 2 if key in DECIBELS else 4) for key in keys]
        table.add_row(escape(name), str(found["samples"]), *cells)
    return table


def number(value: float | None, digits: int) -> str:
    """Return a number with some digits, or nothing where there is none."""
    return "" if value is None else f"{value:,.{digits}f}"


def record_benchmark(
    name: str,
    benchmark: str,
    found: dict[str, Any],
    bicubic: dict[str, Any],
    where: Path | None = None,
) -> None:
    """Write mean numbers into a model's card, under details, benchmarks and their name."""
    from . import weights
    from .cli_common import finite

    details = weights.card(name, where).get("details", {})
    entry = {
        "images": len(found["images"]),
        **{key: found[key] for key in ("scale", "samples", "seed", "steps", "distance")},
        **found["mean"],
        "bicubic": bicubic["mean"],
    }
    benchmarks = details.get("benchmarks", {}) | {benchmark: finite(entry)}
    weights.amend(name, details | {"benchmarks": benchmarks}, where)


# bench


def bench(
    images: Annotated[
        Path | None,
        typer.Option(help="A folder of originals for PSNR and SSIM, by default some that ship."),
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--models",
            help="Names as for 'upscale', or srdiff-official (its authors'), with @RUNTIME if "
            "wanted, with commas or repeated; by default all.",
        ),
    ] = None,
    size: Annotated[int, typer.Option(min=16, help="Sides of the small image.")] = 128,
    repeat: Annotated[int, typer.Option(min=1, help="Measurements, of which the median is.")] = 3,
    json_file: JsonFile = None,
    force: Force = False,
) -> None:
    """Measure time, memory and quality of upscalers on this machine.

    The architecture of SRDiff's authors is measured too, with random weights and over a few of
    its 100 steps: by default that takes minutes.
    """
    from . import bench as benchmarks

    if json_file:
        check_writable(json_file, force)
    names = split_names(models, benchmarks.MODELS)
    with err.status("measuring") as status:
        found = benchmarks.bench(
            names,
            size=size,
            repeat=repeat,
            images=images,
            on_model=lambda model: status.update(escape(f"measuring {model}")),
        )
    out.print(speed_table(found))
    say(out, f"{found['machine']}, {found['threads']} threads, PyTorch {found['torch']}; ")
    say(out, f"a convolution reaches {found['peak'] / 1e9:,.1f} GFLOP/s at its best")
    say(out, found["protocol"])
    if json_file:
        write_json(json_file, origin() | found)


def speed_table(found: dict[str, Any]) -> Table:
    """Return what was measured, a row for each model."""
    table = Table(
        "model",
        "seconds an image",
        "seconds a megapixel",
        "times faster",
        "peak memory, MB (imports)",
        "share of peak",
        "PSNR-Y",
        "SSIM-Y",
        title=f"one image of {found['size']} x {found['size']} pixels",
        caption="~ from a few of the steps; 'times faster' than srdiff-official",
    )
    for row in found["models"]:
        about = "~" if row["extrapolated"] else ""
        peak, imports = (row[f"{key}_bytes"] for key in ("peak", "import"))
        table.add_row(
            escape(row["model"]),
            about + f"{row['seconds']:,.3g}",
            about + f"{row['megapixel_seconds']:,.3g}",
            f"{row['faster']:,.3g}" if row["faster"] else "",
            f"{peak / 1e6:,.0f} ({imports / 1e6:,.0f})" if peak else "unknown",
            f"{row['share']:.0%}" if row["operations"] else "",
            number(row["psnr_y"], 2),
            number(row["ssim_y"], 4),
        )
    return table
