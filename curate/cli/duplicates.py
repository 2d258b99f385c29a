"""kdcurate duplicates."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from curate.cli.arguments import Json, Workspace
from curate.cli.output import TerminalProgress, note, print_json, print_table

if TYPE_CHECKING:
    from index.catalog import Catalog
    from index.duplicates import Group, Listing


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("duplicates")(duplicates)


def duplicates(
    workspace: Workspace = Path("workspace"),
    kind: Annotated[
        str | None, typer.Option(help="exact, perceptual, or embedding; default: all of them.")
    ] = None,
    cosine: Annotated[
        float, typer.Option(help="embedding: least cosine of two images of a group.")
    ] = 0.99,
    bits: Annotated[
        int, typer.Option(help="perceptual: most bits of 64 in which two hashes differ.")
    ] = 4,
    limit: Annotated[int, typer.Option(min=1, help="Groups to show, the largest first.")] = 20,
    json: Json = False,
) -> None:
    """List groups of images that show the same thing, and store them in the table duplicates.

    An exact copy is one image at several places; its size counts the places. `kdcurate select`
    keeps one image of each other group with --perceptual and --near-duplicates. What was found at
    10 or more places is marked a placeholder: `select --max-copies 9` leaves it out.

    Example: kdcurate duplicates -w WS --kind perceptual --bits 4 --limit 10
    """
    from index.catalog import Catalog
    from index.duplicates import EMBEDDING, KINDS, check_bits, check_cosine, first_embedder
    from index.errors import UsageError, nearest

    if kind is not None and kind not in KINDS:
        raise UsageError(f"--kind is {kind!r}: {nearest(kind, KINDS)}")
    check_cosine(cosine, "--cosine")
    check_bits(bits, "--bits")
    catalog = Catalog(workspace)
    embedder = first_embedder(catalog)
    if kind == EMBEDDING and embedder is None:
        raise UsageError(f"--kind {kind} needs an index: run build-index with an embedder")
    wanted = [kind] if kind else [one for one in KINDS if embedder or one != EMBEDDING]
    found = [_find(catalog, one, cosine, bits, embedder, limit) for one in wanted]
    groups = sorted((g for one in found for g in one.largest), key=lambda group: -group.size)
    if json:
        print_json([asdict(group) for group in groups[:limit]])
    else:
        columns = ["kind", "size", "ids", "found at"]
        print_table(columns, [_row(group) for group in groups[:limit]])
    note("; ".join(map(_summary, found)))


def _find(
    catalog: Catalog, kind: str, cosine: float, bits: int, embedder: str | None, limit: int
) -> Listing:
    from index import duplicates as index

    if kind == index.EXACT:
        return index.list_exact(catalog, limit)
    if kind == index.EMBEDDING and embedder is not None:
        index.find_by_embedding(catalog, embedder, cosine, TerminalProgress())
        return index.list_stored(catalog, kind, cosine, embedder, limit)
    index.find_by_hash(catalog, bits, TerminalProgress())
    return index.list_stored(catalog, kind, bits, None, limit)


def _row(group: Group) -> list[str | int]:
    ids = list(map(str, group.ids))
    if group.kind != "exact" and len(ids) < group.size:
        ids.append("...")
    kind = f"{group.kind}, placeholder" if group.placeholder else group.kind
    return [kind, group.size, " ".join(ids), "  ".join(group.locations)]


def _summary(found: Listing) -> str:
    if found.kind == "exact":
        said = f"exact: {found.groups} images at {found.members} places"
        if found.placeholders:
            said += f", of them placeholders: {found.placeholders} (select --max-copies 9)"
        return said
    return f"{found.kind}: {found.members} images in {found.groups} groups"
