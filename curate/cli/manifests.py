"""kdcurate manifests list, show, explain."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from curate.cli.arguments import Json, Workspace
from curate.cli.output import print_json, print_pairs, print_table

manifests = typer.Typer(name="manifests", help="List, show, and explain manifests.")


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
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
    name: Annotated[str, typer.Argument(help="Name of the manifest.")],
    workspace: Workspace = Path("workspace"),
    json: Json = False,
) -> None:
    """Show what a manifest was made with, its reasons, and its classes.

    Example: kdcurate manifests show first -w WS
    """
    from curate.explain import class_balance, reasons
    from curate.manifest import get_manifest
    from index.catalog import Catalog

    catalog = Catalog(workspace)
    manifest = get_manifest(catalog, name)
    why, classes = reasons(catalog, name), class_balance(catalog, name)
    if json:
        print_json({**asdict(manifest), "reasons": why, "classes": classes})
        return
    print_pairs(asdict(manifest))
    print_table(("reason", "images"), list(why.items()))
    if classes:
        print_table(list(classes[0]), [list(row.values()) for row in classes])


@manifests.command()
def explain(
    name: Annotated[str, typer.Argument(help="Name of the manifest.")],
    image: Annotated[int, typer.Argument(help="Image id.")],
    workspace: Workspace = Path("workspace"),
    json: Json = False,
) -> None:
    """Say why an image was taken or left.

    Example: kdcurate manifests explain first 812398123 -w WS
    """
    from curate.explain import explain as explain_image
    from index.catalog import Catalog

    found: dict[str, Any] = explain_image(Catalog(workspace), name, image)
    if json:
        print_json(found)
        return
    components = found.pop("components")
    print_pairs(found | components)
