"""kdcurate manifests list, show, explain, diff, verify, delete."""

from __future__ import annotations

import json as json_module
import sys
from collections.abc import Iterator
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from curate.cli import exchange
from curate.cli.arguments import DryRun, Json, Manifest, Workers, Workspace
from curate.cli.completion import manifest_names
from curate.cli.output import (
    TerminalProgress,
    note,
    print_csv,
    print_json,
    print_measures,
    print_pairs,
    print_table,
)

if TYPE_CHECKING:
    from curate.diff import Difference

manifests = typer.Typer(
    name="manifests", help="List, show, explain, compare, check, exchange, and delete manifests."
)


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    exchange.register(manifests)
    app.add_typer(manifests, no_args_is_help=True)


@manifests.command("list")
def list_(workspace: Workspace = Path("workspace"), json: Json = False) -> None:
    """List the manifests of a workspace.

    Example: kdcurate manifests list -w WS --json
    """
    from curate.manifest import list_manifests
    from index.catalog import Catalog

    found = list_manifests(Catalog(workspace))
    if json:
        print_json([asdict(manifest) for manifest in found])
        return
    columns = ("name", "strategy", "teacher", "pool", "eligible", "selected", "parent")
    rows = [[getattr(m, c) for c in columns] + [m.content_hash[:12]] for m in found]
    print_table((*columns, "hash"), rows)


@manifests.command()
def show(
    name: Manifest,
    workspace: Workspace = Path("workspace"),
    json: Json = False,
) -> None:
    """Show what a manifest was made with, how far it is as a set, its reasons, and its classes.

    Example: kdcurate manifests show first -w WS
    """
    from curate.explain import class_balance, reasons
    from curate.manifest import get_manifest
    from curate.measures import stored_measures
    from index.catalog import Catalog

    catalog = Catalog(workspace)
    manifest = get_manifest(catalog, name)
    why, classes = reasons(catalog, name), class_balance(catalog, name)
    measures = stored_measures(catalog, name)
    if json:
        found = {**asdict(manifest), "reasons": why, "classes": classes, "shift": measures}
        print_json(found)
        return
    print_pairs(asdict(manifest))
    print_measures(measures)
    print_table(("reason", "images"), list(why.items()))
    if classes:
        print_table(list(classes[0]), [list(row.values()) for row in classes])


@manifests.command()
def explain(
    name: Manifest,
    image: Annotated[
        str, typer.Argument(help="Its id, or where it is: a uri as the table locations has it.")
    ],
    workspace: Workspace = Path("workspace"),
    json: Json = False,
) -> None:
    """Say why an image was taken or left.

    Example: kdcurate manifests explain first crawl/shard-0.tar#000012.jpg -w WS
    """
    from curate.explain import explain as explain_image
    from index.catalog import Catalog

    found: dict[str, Any] = explain_image(Catalog(workspace), name, image)
    if json:
        print_json(found)
        return
    components = found.pop("components")
    print_pairs(found | components)


@manifests.command()
def diff(
    first: Annotated[
        str,
        typer.Argument(help="Name of the manifest to compare with.", autocompletion=manifest_names),
    ],
    second: Annotated[
        str, typer.Argument(help="Name of the other manifest.", autocompletion=manifest_names)
    ],
    images: Annotated[
        bool,
        typer.Option("--images", help="Print the images that differ, as CSV or a JSON a line."),
    ] = False,
    workspace: Workspace = Path("workspace"),
    json: Json = False,
) -> None:
    """Say what another manifest selects differently: what entered, left, and stayed, and why.

    Example: kdcurate manifests diff first second -w WS
    """
    from curate.diff import compare, difference, differing_images
    from index.catalog import Catalog

    catalog = Catalog(workspace)
    if images:
        with compare(catalog, first, second) as compared:
            _print_rows(differing_images(compared), json)
        return
    found = difference(catalog, first, second)
    if json:
        print_json(asdict(found))
    else:
        _print_difference(found)


def _print_difference(found: Difference) -> None:
    counts = ("same_hash", "entered", "left", "stayed", "relabelled", "reweighted", "reranked")
    print_pairs({name: getattr(found, name) for name in counts})
    if found.settings:
        rows = [[name, *pair] for name, pair in found.settings.items()]
        print_table(("setting", found.first, found.second), rows)
    for table in (found.reasons, found.classes):
        if table:
            print_table(list(table[0]), [list(row.values()) for row in table])


def _print_rows(rows: Iterator[dict[str, Any]], json: bool) -> None:
    if json:
        sys.stdout.writelines(json_module.dumps(row) + "\n" for row in rows)
    elif first := next(rows, None):
        print_csv(list(first), ([list(row.values())] for row in chain([first], rows)))


@manifests.command()
def verify(
    name: Manifest,
    files: Annotated[
        bool, typer.Option("--files", help="Read the selected images and check their hashes.")
    ] = False,
    workspace: Workspace = Path("workspace"),
    workers: Workers = None,
    json: Json = False,
) -> None:
    """Derive a manifest again from the stored scores, and say what is not as it was.

    Exit code 0: all is as it was; 1: something is not.

    Example: kdcurate manifests verify first --files -w WS
    """
    from curate.verifying import verify_manifest
    from index.catalog import Catalog

    found = verify_manifest(
        Catalog(workspace), name, files=files, workers=workers, progress=TerminalProgress()
    )
    facts = {key: value for key, value in asdict(found).items() if not isinstance(value, list)}
    if json:
        print_json(asdict(found))
    else:
        print_pairs(facts)
        for problem in found.problems:
            note(f"problem: {problem}")
    if not found.is_whole:
        raise typer.Exit(1)


@manifests.command()
def delete(
    name: Manifest,
    workspace: Workspace = Path("workspace"),
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Delete a manifest with its decisions; one that runs or manifests refer to stays.

    Example: kdcurate manifests delete first --dry-run -w WS
    """
    from curate.manifest import delete_manifest
    from index.catalog import Catalog

    count = delete_manifest(Catalog(workspace), name, dry_run=dry_run)
    found = {"manifest": name, "decisions": count, "deleted": not dry_run}
    (print_json if json else print_pairs)(found)
