"""build-index: sources in, catalog and vectors out, again and again from where it stopped."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from index.catalog import Catalog, one
from index.choice import AUTO, IndexSettings, asked_factory
from index.commit import Batch, PendingCommits
from index.decoding import Decoder
from index.embedder import Embedder
from index.engines import Engine, Job, LocalEngine
from index.files import locked, remove_leftovers, scratch
from index.known import Known
from index.listing import Listing, list_sources
from index.neighbours import IndexFacts, update_index
from index.parts import move_part, next_number, write_part
from index.progress import Progress, Silent
from index.quarantine import IMAGE_LIMIT_S, Quarantine
from index.sources import SourceOptions
from index.vanished import forget_vanished

ROWS_A_PART = 8192


@dataclass(frozen=True)
class Summary:
    """What is in the workspace after a build, and what this build added."""

    images: int
    new: int
    duplicates: int
    failed: int
    transient: int
    vectors: int
    index: str
    index_reason: str
    index_mb: float
    recall_at_10: float | None
    query_ms: float | None
    images_per_s: float | None


def building(workspace: Path) -> AbstractContextManager[None]:
    """Be the only build of a workspace, whatever it is that must not change meanwhile.

    Raises:
        WorkspaceError: another build runs here.
    """
    return locked(workspace / ".build.lock", f"another build-index works in {workspace}")


def build_index(
    workspace: Path,
    source_names: Sequence[str],
    embedder: Embedder,
    *,
    options: SourceOptions | None = None,
    workers: int | None = None,
    rows_a_part: int = ROWS_A_PART,
    progress: Progress | None = None,
    decoder: type[Decoder] = Decoder,
    image_limit_s: float = IMAGE_LIMIT_S,
    settings: IndexSettings | None = None,
    engine: Engine | None = None,
    lock_held: bool = False,
) -> Summary:
    """Decode, embed, catalogue, and index every image of the sources that is not yet done.

    An image that crashes its decoder, or keeps it longer than `image_limit_s` seconds, ends as a
    failure; with `workers` 0 there is no process that could be lost in place of this one.

    The work is done by `engine`, on this machine by default. Memory is bounded by `rows_a_part`
    vectors and a few partitions of pixels. What a killed run had committed stays; the rest is done
    by the next. Which FAISS index: `settings`, or those of the last build. `lock_held`: the caller
    is `building` already.

    Raises:
        UsageError: FAISS knows no such index, or none fits the memory budget.
        DataError: a source that cannot be read at all.
        NothingSelectedError: the sources hold no file that could be an image.
        WorkspaceError: another build runs here, the disk is full, or the catalog is damaged.
    """
    progress = progress or Silent()
    engine = engine or LocalEngine()
    catalog = Catalog(workspace)
    options = options or SourceOptions()
    quarantine = Quarantine(decoder(embedder.view, options.formats), image_limit_s)
    if settings and settings.index != AUTO:
        asked_factory(settings.index, embedder.dim)  # refused before any work
    with (
        nullcontext() if lock_held else building(workspace),
        scratch(workspace, "build") as folder,
    ):
        todo = list_sources(catalog, source_names, embedder.key, folder, options, progress)
        before = _latest(catalog)
        remove_leftovers(workspace / "vectors" / embedder.key)
        rate = _embed(catalog, todo, embedder, engine, quarantine, workers, rows_a_part, progress)
        gone = forget_vanished(catalog, todo.listed)
        if gone:
            progress.say(f"{gone} images are in no source any more: forgotten")
        facts = update_index(catalog, embedder.key, embedder.dim, progress, settings)
        return _summary(catalog, before, facts, rate)


def _embed(
    catalog: Catalog,
    todo: Listing,
    embedder: Embedder,
    engine: Engine,
    quarantine: Quarantine,
    workers: int | None,
    rows_a_part: int,
    progress: Progress,
) -> float | None:
    """Return how many entries a second that were, or None for nothing to do."""
    began = time.monotonic()
    if not len(todo):
        return None
    committed = Known(catalog, embedder.key, todo.images)
    pending = PendingCommits(catalog, embedder.key, progress, committed)
    number = _next_part(catalog, embedder.key)

    def known(ids: list[int]) -> set[int]:
        return committed.with_vector(ids) | pending.ids

    with progress.step("Embedding", todo.images, "images") as advance:
        job = Job(catalog.workspace, embedder, quarantine, workers, rows_a_part, known, advance)
        with closing(engine(todo, job)) as batches:
            for batch in batches:
                number = _flush(catalog.workspace, embedder.key, number, batch, pending)
        pending.settle()
    return round(todo.images / (time.monotonic() - began), 1) if todo.images else None


def _flush(
    workspace: Path, embedder: str, number: int, batch: Batch, pending: PendingCommits
) -> int:
    store = f"vectors/{embedder}"
    if batch.part is not None:  # a worker wrote it, and could not know its number
        batch.part = move_part(workspace, batch.part, store, number)
    elif batch.rows:
        batch.part = write_part(workspace, store, number, *batch.stacked())
    number += batch.part is not None
    pending.offer(batch)
    return number


def _next_part(catalog: Catalog, embedder: str) -> int:
    if not catalog.exists():
        return 0
    with catalog.read() as connection:
        return next_number(connection, f"vectors/{embedder}")


def _latest(catalog: Catalog) -> Any:
    """When the last image was added so far."""
    if not catalog.exists():
        return None
    with catalog.read() as connection:
        row = one(connection, "SELECT max(added_at) FROM images")
    return row[0] if row else None


def _summary(catalog: Catalog, before: Any, facts: IndexFacts, rate: float | None) -> Summary:
    with catalog.read() as connection:
        images = _count(connection, "SELECT count(*) FROM images")
        added = one(
            connection,
            "SELECT count(*) FROM images WHERE added_at > coalesce(?, '-infinity'::TIMESTAMPTZ)",
            [before],
        )
        return Summary(
            images=images,
            new=int(added[0]) if added else 0,
            duplicates=_count(connection, "SELECT count(*) FROM locations") - images,
            failed=_count(connection, "SELECT count(*) FROM failures"),
            transient=_count(connection, "SELECT count(*) FROM failures WHERE transient"),
            vectors=facts.vectors,
            index=facts.factory,
            index_reason=facts.reason,
            index_mb=facts.memory_mb,
            recall_at_10=facts.recall_at_10,
            query_ms=facts.query_ms,
            images_per_s=rate,
        )


def _count(connection: Any, query: str) -> int:
    row = one(connection, query)
    return int(row[0]) if row else 0
