"""Images that a method made, catalogued beside the crawl."""

from __future__ import annotations

from pathlib import Path

from curate.precision import AUTO, settle_precision
from curate.search import choose_embedder
from distill.networks import Network, load_embedder, register
from index.build import Summary, build_index, building
from index.catalog import Catalog
from index.duplicates import first_embedder
from index.progress import Progress
from index.sources import SourceOptions


def catalogue_images(
    catalog: Catalog,
    listing: Path,
    teacher: Network,
    *,
    device: str = "cpu",
    workers: int | None = None,
    progress: Progress | None = None,
) -> Summary:
    """Decode, embed and catalogue the images of a list, as `build-index` does those of a crawl.

    The embedder is the workspace's first, or the teacher where there is none yet.

    Raises:
        WorkspaceError: a build runs here, or the catalog is damaged.
    """
    known = first_embedder(catalog) if catalog.exists() else None
    card = choose_embedder(catalog, known)[1] if known else teacher.card
    embedder = load_embedder(card, device=device)
    options = SourceOptions()
    with building(catalog.workspace):
        _, embedder = settle_precision(catalog, card, embedder, AUTO, [str(listing)], options)
        register(catalog, embedder.key, card)
        return build_index(
            catalog.workspace,
            [str(listing)],
            embedder,
            options=options,
            workers=workers,
            progress=progress,
            lock_held=True,
        )
