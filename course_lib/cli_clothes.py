"""``course-lib evaluate-clothes``: the table of *One task, four models*."""

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from .cli_common import (
    LARGEST_SEED,
    Force,
    JsonFile,
    Problem,
    check_writable,
    err,
    out,
    say,
    split_names,
    write_json,
)

COLUMNS = {
    "psnr": ("PSNR of a draw, dB", 2),
    "psnr_of_mean": ("PSNR of the mean, dB", 2),
    "lr_psnr": ("LR-consistency, dB", 2),
    "diversity": ("diversity", 4),
    "frechet": ("Fréchet feature distance", 2),
    "precision": ("precision", 3),
    "recall": ("recall", 3),
    "agreement": ("agreement", 3),
    "images_per_second": ("images a second", 0),
}


def evaluate_clothes(
    models: Annotated[
        list[str] | None,
        typer.Option("--models", "-m", help="Names, also with commas; by default, all."),
    ] = None,
    draws: Annotated[
        int, typer.Option("--draws", min=2, max=64, help="Draws for each small image.")
    ] = 8,
    seed: Annotated[
        int, typer.Option("--seed", min=0, max=LARGEST_SEED - 64, help="Same seed, same numbers.")
    ] = 0,
    limit: Annotated[
        int, typer.Option("--limit", min=100, max=2_000, help="How many test images.")
    ] = 2_000,
    json_file: JsonFile = None,
    force: Force = False,
) -> None:
    """Measure the models that enlarge clothes of 7 x 7 pixels, bicubic interpolation beside.

    The Fréchet distance depends on the number of images: compare only what has the same.
    """
    from . import metrics, upscaling

    if json_file:
        check_writable(json_file, force)
    known = ("bicubic", *upscaling.CLOTHES)
    names = split_names(models, known)
    if unknown := [name for name in names if name not in known]:
        raise Problem(f"unknown model {unknown[0]!r}; known: {', '.join(known)}")
    results = {}
    for name in names:
        with err.status(escape(f"measuring {name}")):
            results[name] = measured(name, draws=draws, seed=seed, limit=limit)
    out.print(table(results, draws, limit))
    say(out, metrics.SMALL_PROTOCOL)
    if json_file:
        about = {"draws": draws, "seed": seed, "limit": limit, "models": results}
        write_json(json_file, about | {"protocol": metrics.SMALL_PROTOCOL})


def measured(name: str, *, draws: int, **options: int) -> dict[str, float]:
    """Return the numbers of a model, or of bicubic interpolation."""
    from . import data, metrics, weights

    if name == "bicubic":
        return metrics.measure_small_upscaling(
            lambda lr, _: data.upscale(lr, 4).clamp(0, 1), draws=1, **options
        )
    return metrics.measure_small_model(weights.load(name), draws=draws, **options)


def table(results: dict[str, dict[str, float]], draws: int, limit: int) -> Table:
    """Return the numbers, a row for each model."""
    headers = [label for label, _ in COLUMNS.values()]
    title = f"{limit:,} images of 7 x 7 pixels, enlarged by 4; {draws} draws of each"
    found = Table("model", *headers, title=title)
    for name, numbers in results.items():
        cells = (f"{numbers[key]:,.{digits}f}" for key, (_, digits) in COLUMNS.items())
        found.add_row(escape(name), *cells)
    return found
