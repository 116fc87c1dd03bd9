"""``course-lib evaluate-latent``: what the codes of the latent upscaler can tell."""

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from .cli_common import Force, Images, JsonFile, check_writable, err, out, say, write_json


def evaluate_latent(
    images: Images,
    json_file: JsonFile = None,
    record: Annotated[
        str | None, typer.Option(help="Write the mean into the model's card, under this name.")
    ] = None,
    force: Force = False,
) -> None:
    """Measure the latent upscaler's autoencoder: encode originals, decode, compare.

    The PSNR in RGB is a ceiling: the upscaler can draw nothing that its decoder cannot paint.
    """
    from . import metrics, upscaling, weights
    from .metrics import super_resolution

    if json_file:
        check_writable(json_file, force)
    upscaler = upscaling.load("latent")
    with err.status("measuring"):
        rows = metrics.reconstruction(upscaler, super_resolution.originals(images))
    mean = sum(rows.values()) / len(rows)
    table = Table("image", "PSNR-RGB of the reconstruction, dB", title=escape(str(images)))
    for name, value in rows.items():
        table.add_row(escape(name), f"{value:.2f}")
    table.add_section()
    table.add_row("mean", f"{mean:.2f}")
    out.print(table)
    if json_file:
        write_json(json_file, {"folder": str(images), "mean": mean, "images": rows})
    if record is not None:
        details = weights.card("latent")["details"]
        known = details.get("reconstruction", {}) | {record: mean}
        weights.amend("latent", details | {"reconstruction": known})
        say(out, f"the mean is in the card of latent, under {record}")
