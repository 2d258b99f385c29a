"""kdcurate report."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from curate.cli.arguments import Device, Json, Seed, Workers, Workspace, pick_device
from curate.cli.output import TerminalProgress, print_json, print_pairs


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("report")(report)


def report(
    output: Annotated[Path, typer.Option("-o", "--output", help="HTML file to write.")] = Path(
        "report.html"
    ),
    manifest: Annotated[
        list[str] | None, typer.Option(help="To report on; repeatable; default: the newest six.")
    ] = None,
    run: Annotated[
        list[str] | None,
        typer.Option(help="Finished run; repeatable; default: the newest eight."),
    ] = None,
    reference: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SOURCE",
            help="Original images, to show beside the others: as build-index takes them; "
            "repeatable.",
        ),
    ] = None,
    figures: Annotated[
        Path | None, typer.Option(help="Folder for the plots as PNG (needs matplotlib).")
    ] = None,
    workspace: Workspace = Path("workspace"),
    seed: Seed = 0,
    device: Device = "auto",
    workers: Workers = None,
    json: Json = False,
) -> None:
    """Write one HTML file that shows what was taken and left, and why, and what students learned.

    Images by class, the ledger with filters, scores and shift, t-SNE maps, near-duplicates, methods
    and rounds. It needs no network, holds samples of at most 3,000 rows, and stays below 15 MB.

    Example: kdcurate report -w WS --manifest first -o report.html --figures figures
    """
    from curate.report import ReportOptions, make_report
    from index.catalog import Catalog

    options = ReportOptions(
        output=output,
        manifests=manifest or [],
        runs=run or [],
        reference=reference or [],
        figures=figures,
        seed=seed,
        device=pick_device(device),
        workers=workers,
    )
    made = make_report(Catalog(workspace), options, TerminalProgress())
    (print_json if json else print_pairs)(asdict(made))
