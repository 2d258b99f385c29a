"""kdcurate export."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from curate.cli.arguments import Json, Seed, Workers, Workspace
from curate.cli.output import note, print_json, print_pairs

if TYPE_CHECKING:
    from distill.exporting import Exported

TO_HELP = "safetensors, torchscript, torch-export, or onnx; default: by the suffix of FILE."


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("export")(export)


def export(
    network: Annotated[str, typer.Argument(help="Card (.toml) or spec; a student.toml too.")],
    file: Annotated[Path, typer.Argument(help="Ends in .safetensors, .pt, .pt2 or .onnx.")],
    to: Annotated[str | None, typer.Option(metavar="FORMAT", help=TO_HELP)] = None,
    form: Annotated[
        str,
        typer.Option(
            "--input",
            help="What the file takes: normalised (as the card says), unit (0..1), uint8 (0..255); "
            "with unit and uint8 the normalisation is in the file.",
        ),
    ] = "normalised",
    data: Annotated[
        str | None,
        typer.Option(help="Images to check it on: any source. Default: of the workspace."),
    ] = None,
    images: Annotated[int, typer.Option(min=2, help="Check on so many.")] = 64,
    tolerance: Annotated[
        float,
        typer.Option(
            help="Most that a logit may differ, as a share of the largest one, if that is above 1."
        ),
    ] = 1e-3,
    workspace: Workspace = Path("workspace"),
    seed: Seed = 0,
    workers: Workers = None,
    json: Json = False,
) -> None:
    """Write a network to a file that other programs run, checked on real images.

    Example: kdcurate export WS/runs/RUN/student.toml student.onnx --input uint8 -w WS
    """
    from curate.sampling import sample_catalog, sample_source
    from distill.exporting import check_export, export_network
    from distill.networks import load_network
    from index.catalog import Catalog
    from index.errors import UsageError

    format = to or format_of(file)
    check_export(format, file, form, tolerance)
    catalog = Catalog(workspace)
    if data is None and not catalog.exists():
        raise UsageError(
            f"an export is checked on real images, and there is no catalog at {catalog.path}: "
            "give --data SOURCE, or -w WORKSPACE"
        )
    loaded = load_network(network)
    view = loaded.card.input.view()
    pixels = (
        sample_source(data, view, images)
        if data is not None
        else sample_catalog(catalog, view, images, seed=seed, workers=workers)
    )
    found = export_network(loaded, format, file, pixels, form=form, tolerance=tolerance)
    _print(found, json)


def format_of(file: Path) -> str:
    """Return the format whose suffix a file has.

    Raises:
        UsageError: none has it.
    """
    from distill.exporting import FORMATS
    from index.errors import UsageError

    for name, format in FORMATS.items():
        if file.suffix == format.suffix:
            return name
    suffixes = ", ".join(f"{format.suffix} ({name})" for name, format in FORMATS.items())
    raise UsageError(f"{file}: its suffix names no format: {suffixes}")


def _print(found: Exported, json: bool) -> None:
    if json:
        print_json(asdict(found))
        return
    print_pairs(asdict(found))
    note(f"wrote {found.path}, which agrees with the network on {found.images} images")
