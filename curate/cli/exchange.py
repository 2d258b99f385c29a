"""kdcurate manifests export and import."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from curate.cli.arguments import Json, Manifest, Workspace
from curate.cli.output import TerminalProgress, note, print_json, print_pairs
from curate.cli.select import summary


def register(manifests: typer.Typer) -> None:
    """Add the commands to those of manifests."""
    manifests.command()(export)
    manifests.command("import")(import_)


def export(
    name: Manifest,
    output: Annotated[Path, typer.Option("-o", "--output", help="File or folder to write.")],
    format: Annotated[
        str, typer.Option(help="parquet, csv, jsonl, txt, folder, webdataset, or fiftyone.")
    ] = "parquet",
    images: Annotated[
        bool,
        typer.Option(
            "--images", help="parquet: a folder of Parquet files with the images' bytes in them."
        ),
    ] = False,
    link: Annotated[
        str,
        typer.Option(
            help="folder, fiftyone: copy, hard, or symbolic; what is no file of its own is copied."
        ),
    ] = "copy",
    by_class: Annotated[
        bool, typer.Option("--by-class", help="folder: a subfolder a class, as 0003_cat.")
    ] = False,
    shard_size: Annotated[
        int, typer.Option(help="webdataset and parquet --images: images of a file.")
    ] = 10_000,
    workspace: Workspace = Path("workspace"),
    json: Json = False,
) -> None:
    """Write the selected images of a manifest for other tools, whole or not at all.

    Images are written as their original bytes. Run again after an interruption, it completes.

    Example: kdcurate manifests export first -o first.parquet -w WS
    """
    from curate.exporting import ExportOptions, export_manifest
    from index.catalog import Catalog

    options = ExportOptions(format, link, by_class, shard_size, images)
    done = export_manifest(Catalog(workspace), name, output, options, TerminalProgress())
    (print_json if json else print_pairs)(asdict(done))
    if not done.written:
        note("it is there already: nothing was written")


def import_(
    file: Annotated[
        Path, typer.Argument(help="List of images: .csv, .tsv, .jsonl, .txt, or .parquet.")
    ],
    name: Annotated[str, typer.Option(help="Of the manifest.")],
    teacher: Annotated[
        str, typer.Option(help="Key (or its beginning) of a model that has scored the pool.")
    ],
    workspace: Workspace = Path("workspace"),
    json: Json = False,
) -> None:
    """Make a manifest of a list of images, in its order.

    Columns: image_id, or uri, or path; pseudo_label and weight where there are any. A list of text
    holds an id or a path in each line. Every other image of the pool is left, and the ledger says
    so.

    Example: kdcurate manifests import list.csv --name mine --teacher resnet56-9693e1c1 -w WS
    """
    from curate.importing import import_manifest
    from index.catalog import Catalog

    manifest = import_manifest(Catalog(workspace), file, name, teacher)
    (print_json if json else print_pairs)(summary(manifest))
