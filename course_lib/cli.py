"""The command line: ``course-lib`` with its commands.

``train``, ``sample``, ``evaluate`` and ``models`` are here, those for enlarging images in
``course_lib.cli_upscaling``.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from . import cli_assignments, cli_clothes, cli_latent, cli_upscaling
from .cli_common import (
    LARGEST_SEED,
    Force,
    JsonFile,
    Problem,
    check_writable,
    err,
    out,
    say,
    write_json,
)

app = typer.Typer(
    name="course-lib",
    help="Train, measure and use the models of the course "
    "'Deep Generative Models for Image Super-Resolution'.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)

for command in (
    cli_upscaling.upscale,
    cli_upscaling.evaluate_sr,
    cli_upscaling.bench,
    cli_clothes.evaluate_clothes,
    cli_latent.evaluate_latent,
):
    app.command()(command)

app.add_typer(cli_assignments.app)

Name = Annotated[str, typer.Argument(help="A model's name; 'course-lib models' lists them.")]
Source = Annotated[
    Path | None,
    typer.Option("--from", help="The folder of a run of your own, instead of a shipped model."),
]
Sampler = Annotated[
    str | None, typer.Option(help="How to sample a diffusion model: ddpm, ddim or dpm-solver.")
]
Steps = Annotated[int | None, typer.Option(min=1, help="Sampling steps of a diffusion model.")]


def main() -> None:
    """Run the command line; problems of the user's making end with exit code 2."""
    try:
        app()
    except Exception as error:
        sys.exit(explain(error))


def explain(error: Exception) -> int:
    """Print what the user should know of an error and return the exit code.

    Raises the error again where it is not the user's to mend. The classes are imported
    here, so that ``--help`` need not wait for PyTorch.
    """
    from .assignments.errors import AssignmentError
    from .bench import BenchError
    from .data import DataError, ImageError
    from .metrics import MetricsError
    from .training import Interrupted
    from .upscaling import CheckpointError, UpscalingError
    from .weights import WeightsError

    problems = (
        Problem,
        AssignmentError,
        BenchError,
        CheckpointError,
        DataError,
        ImageError,
        MetricsError,
        UpscalingError,
        WeightsError,
        OSError,
    )

    if isinstance(error, Interrupted):
        say(err, str(error), style="bold yellow")
        if error.folder:
            say(err, "Run the same command again to go on from there.")
        return 130
    if isinstance(error, problems):
        say(err, f"error: {error}", style="red")
        return 2
    raise error


@app.command()
def models() -> None:
    """List the shipped models: what they are, their size and what was measured.

    Those that enlarge images come last, with the factor.
    """
    from . import weights

    table = Table("name", "model", "parameters", "metrics on the test set", title="shipped models")
    cards = [weights.card(name) for name in weights.names()]
    for upscales in (False, True):
        for card in cards:
            scale = getattr(weights.config_of(card), "scale", None)
            if (scale is not None) == upscales:
                summary = card["summary"] + (f" (enlarges by {scale})" if upscales else "")
                table.add_row(card["name"], summary, f"{card['parameters']:,}", measured(card))
        table.add_section()
    out.print(table)


def measured(card: dict[str, Any]) -> str:
    """Return a card's metrics on one line."""
    return ", ".join(f"{key} {value:.4g}" for key, value in card["metrics"].items())


@app.command()
def sample(
    name: Name,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="A .npz file, or a .png file for a contact sheet."),
    ],
    number: Annotated[
        int, typer.Option("--number", "-n", min=1, max=100_000, help="How many images.")
    ] = 64,
    seed: Annotated[
        int, typer.Option("--seed", min=0, max=LARGEST_SEED, help="Same seed, same images.")
    ] = 0,
    source: Source = None,
    sampler: Sampler = None,
    steps: Steps = None,
    force: Force = False,
) -> None:
    """Draw images from a model: a shipped one, or with --from one that you trained.

    A .npz file holds the array 'images', uint8 of shape (N, 28, 28); a .png file is a
    contact sheet, about square.
    """
    import math

    import numpy as np

    from . import metrics, show, weights

    ending = output.suffix.lower()
    if ending not in (".npz", ".png"):
        raise Problem(f"the output must end in .npz or .png, but {output.name!r} does not")
    check_writable(output, force)
    model = weights.load(name, source)
    with progress(f"sampling {number:,} images from {name}", number) as on_batch:
        images, _ = metrics.draw(
            model, number, seed=seed, name=name, sampler=sampler, steps=steps, on_batch=on_batch
        )
    if ending == ".npz":
        with output.open("wb") as file:  # under just this name, whatever its case
            np.savez_compressed(file, images=show.to_uint8(images)[..., 0])
    else:
        show.contact_sheet(images, columns=math.ceil(math.sqrt(number))).save(output)
    say(out, f"{number:,} images from {name} (seed {seed}) are in {output}")


@contextmanager
def progress(text: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show what is going on; the function yielded takes how much of ``total`` is done."""
    with err.status(escape(text)) as status:
        yield lambda done: status.update(escape(f"{text}: {done:,} of {total:,} are drawn"))


@app.command()
def evaluate(
    name: Name,
    number: Annotated[
        int, typer.Option("--number", "-n", min=100, max=12_000, help="How many samples.")
    ] = 2_000,
    seed: Annotated[
        int, typer.Option("--seed", min=0, max=LARGEST_SEED, help="Same seed, same numbers.")
    ] = 0,
    source: Source = None,
    sampler: Sampler = None,
    steps: Steps = None,
    json_file: JsonFile = None,
    force: Force = False,
) -> None:
    """Measure a model's samples beside real images: how near, how true, how complete.

    The Fréchet feature distance (lower is better), precision and recall, and the share of
    every class. They depend on the number of samples: compare only what has the same.
    """
    from . import metrics

    if json_file:
        check_writable(json_file, force)
    with progress(f"measuring {number:,} samples of {name}", number) as on_batch:
        results = metrics.evaluate_model(
            name,
            number,
            seed,
            where=source,
            sampler=sampler,
            steps=steps,
            on_batch=on_batch,
        )
    out.print(measurements(name, results))
    say(out, metrics.PROTOCOL)
    if json_file:
        about = {
            "model": name,
            "from": str(source) if source else None,
            "seed": seed,
            "sampler": sampler,
            "steps": steps,
            **results,
            "protocol": metrics.PROTOCOL,
        }
        write_json(json_file, about)


def measurements(name: str, results: dict[str, Any]) -> Table:
    """Return what was measured as a table: the samples beside as many real images."""
    table = Table(
        "measured",
        escape(name),
        "real images",
        title=escape(
            f"{results['samples']:,} samples of {name} and as many real images, "
            f"each against {results['reference']:,} test images"
        ),
    )
    table.add_row(
        "Fréchet feature distance (lower is better)",
        f"{results['frechet']:.4g}",
        f"{results['frechet_floor']:.4g}",
    )
    table.add_row("  in units of the real images' own", f"{results['frechet_ratio']:.4g}", "1")
    for label, key in (
        ("precision", "precision"),
        ("recall", "recall"),
        ("smallest share of a class", "smallest_share"),
    ):
        table.add_row(label, f"{results[key]:.1%}", f"{results[key + '_floor']:.1%}")
    table.add_section()
    for label, share in results["shares"].items():
        table.add_row(f"share of {label}", f"{share:.1%}", "")
    table.add_section()
    speed = f"{results['images_per_second']:,.1f}"
    table.add_row(f"images drawn a second ({results['threads']} threads)", speed, "")
    return table


@app.command()
def train(
    name: Annotated[str, typer.Argument(help="The recipe's name, as in 'course-lib models'.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The run's folder [default: runs/NAME]."),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="All 60,000 images instead of the 12,000 that ship.")
    ] = False,
    images: Annotated[
        Path | None,
        typer.Option(help="The folder of photographs that a model which upscales learns from."),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Training steps.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Images a step.")] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=LARGEST_SEED, help="Seed of everything random.")
    ] = None,
    save_seconds: Annotated[
        float | None, typer.Option(min=0, help="Seconds between two checkpoints.")
    ] = None,
    publish: Annotated[
        bool,
        typer.Option(
            "--publish", help="Put weights and card into the package (needs --full or --images)."
        ),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
) -> None:
    """Train a model by its recipe; write weights and a card.

    Options that are not given are the recipe's. A run is saved every two minutes and on
    Ctrl-C; the same command resumes it. On several processes or machines:
    'accelerate launch --module course_lib.cli train NAME'.
    """
    import os

    from . import weights
    from .training import RECIPES, SettingsError, recipes

    if publish and not (full or images):
        raise Problem(
            "--publish replaces a shipped model, so it needs --full, or --images for a model "
            "that upscales"
        )
    if publish and not os.access(weights.folder(), os.W_OK):
        raise Problem(f"{weights.folder()} is not writable; train without --publish")
    if name not in RECIPES:
        raise Problem(f"there is no recipe {name!r}; known: {', '.join(RECIPES)}")
    folder = output or Path("runs") / name
    try:
        card = recipes.train(
            name,
            folder,
            full=full,
            images=images,
            steps=steps,
            batch_size=batch_size,
            seed=seed,
            save_seconds=save_seconds,
            quiet=quiet,
            where=weights.folder() if publish else None,
        )
    except SettingsError as error:
        raise Problem(str(error)) from error
    if card:
        where = "the package" if publish else folder
        say(out, f"{name}: {measured(card)}; weights and card are in {where}")


if __name__ == "__main__":
    main()
