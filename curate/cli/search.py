"""kdcurate search."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from curate.cli.arguments import Device, Json, Seed, Workspace, pick_device
from curate.cli.output import print_json, print_table


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(search)


def search(
    workspace: Workspace = Path("workspace"),
    image: Annotated[Path | None, typer.Option(help="An image file.")] = None,
    id: Annotated[int | None, typer.Option("--id", help="Id of a catalogued image.")] = None,
    text: Annotated[str | None, typer.Option(help="Words; needs an open_clip embedder.")] = None,
    like: Annotated[
        str | None,
        typer.Option(
            help="A manifest: what looks like its selected images, by their mean vector, or by "
            "one k-means centre for every 256 of them (at most 16). They themselves are left out."
        ),
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many images.")] = 10,
    embedder: Annotated[
        str | None, typer.Option(help="Key (or its beginning) where the workspace has several.")
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Find the images nearest to an image, a text, or what a manifest selected.

    The cosines are exact: the index proposes candidates, the stored vectors order them.

    Example: kdcurate search -w WS --text "a red bicycle" -k 20
    """
    import numpy as np

    from curate.search import choose_embedder, image_query, manifest_query, text_query
    from curate.search import search as find
    from distill.networks import load_embedder
    from index.catalog import Catalog
    from index.errors import UsageError
    from index.vectors import vectors_of

    if sum(given is not None for given in (image, id, text, like)) != 1:
        raise UsageError("give one of --image FILE, --id N, --text WORDS, --like MANIFEST")
    catalog = Catalog(workspace)
    key, card = choose_embedder(catalog, embedder)
    without = None
    if like is not None:
        queries, without = manifest_query(catalog, key, like, seed)
    elif id is not None:
        queries = vectors_of(catalog, key, np.array([id], dtype=np.int64))
    elif text is not None:
        queries = text_query(card, text, pick_device(device))
    else:
        assert image is not None
        queries = image_query(load_embedder(card, device=pick_device(device)), image)
    hits = find(catalog, key, queries, k, without=without)
    if json:
        print_json([asdict(hit) for hit in hits])
        return
    columns = ("rank", "image_id", "cosine", "uri")
    print_table(columns, [[getattr(hit, name) for name in columns] for hit in hits])
