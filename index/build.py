"""build-index: sources in, catalog and vectors out, again and again from where it stopped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from index import sources
from index.catalog import Catalog, one
from index.choice import AUTO, IndexSettings, asked_factory
from index.commit import Batch, PendingCommits
from index.decoded import DecodedPartition, decode_partition
from index.decoding import Decoder
from index.embedder import Embedder
from index.errors import CatalogBusyError, NothingSelectedError
from index.files import locked, remove_leftovers
from index.neighbours import IndexFacts, update_index
from index.parts import next_number, write_part
from index.progress import Progress, Silent
from index.quarantine import IMAGE_LIMIT_S, Quarantine
from index.sources import Partition, SourceOptions
from index.vanished import forget_vanished
from index.workers import default_workers, ordered_map

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
) -> Summary:
    """Decode, embed, catalogue, and index every image of the sources that is not yet done.

    An image that crashes its decoder, or keeps it longer than `image_limit_s` seconds, ends as a
    failure; with `workers` 0 there is no process that could be lost in place of this one.

    Memory is bounded by `rows_a_part` vectors and a few partitions of pixels. What a killed run
    had committed stays; the rest is done by the next. Which FAISS index: `settings`, or those of
    the last build.

    Raises:
        UsageError: FAISS knows no such index, or none fits the memory budget.
        DataError: a source that cannot be read at all.
        WorkspaceError: another build runs here, the disk is full, or the catalog is damaged.
    """
    progress = progress or Silent()
    workers = default_workers() if workers is None else workers
    catalog = Catalog(workspace)
    options = options or SourceOptions()
    quarantine = Quarantine(decoder(embedder.view, options.formats), image_limit_s)
    if settings and settings.index != AUTO:
        asked_factory(settings.index, embedder.dim)  # refused before any work
    lock = workspace / ".build.lock"
    with locked(lock, f"another build-index works in {workspace}"):
        listed = listed_partitions(source_names, options)
        todo = todo_partitions(catalog, listed, embedder.key)
        before = _latest(catalog)
        remove_leftovers(workspace / "vectors" / embedder.key)
        _embed(catalog, todo, embedder, quarantine, workers, rows_a_part, progress)
        gone = forget_vanished(catalog, listed.values())
        if gone:
            progress.say(f"{gone} images are in no source any more: forgotten")
        facts = update_index(catalog, embedder.key, embedder.dim, progress, settings)
        return _summary(catalog, before, facts)


def listed_partitions(
    source_names: Sequence[str], options: SourceOptions | None = None
) -> dict[str, Partition]:
    """List the partitions of the sources by their keys; a source may be named twice.

    Raises:
        NothingSelectedError: the sources hold no file that could be an image.
    """
    listed = {part.key: part for part in sources.partitions(source_names, options)}
    if not listed:
        raise NothingSelectedError(f"no images in {', '.join(source_names)}: nothing to build")
    return listed


def todo_partitions(
    catalog: Catalog, listed: Mapping[str, Partition], embedder: str
) -> list[Partition]:
    """Return the listed partitions that this embedder has not done yet, or not to the end.

    One that holds a failure that may pass, such as a server's that was overloaded, is to be read
    again.
    """
    done: set[str] = set()
    if catalog.exists():
        query = (
            "SELECT key FROM partitions WHERE embedder = ? "
            "AND key NOT IN (SELECT partition FROM failures WHERE transient)"
        )
        with catalog.read() as connection:
            done = {key for (key,) in connection.execute(query, [embedder]).fetchall()}
    return [part for key, part in listed.items() if key not in done]


def _embed(
    catalog: Catalog,
    todo: list[Partition],
    embedder: Embedder,
    quarantine: Quarantine,
    workers: int,
    rows_a_part: int,
    progress: Progress,
) -> None:
    pending = PendingCommits(catalog, embedder.key, progress)
    batch = Batch()
    decode_one = partial(decode_partition, decoder=quarantine.decoder)
    total = sum(part.count for part in todo)
    number = _next_part(catalog, embedder.key)
    with progress.step("Embedding", total, "images") as advance:
        for decoded in ordered_map(decode_one, todo, min(workers, len(todo)), quarantine):
            fresh = _fresh(catalog, embedder.key, decoded, batch.ids | pending.ids)
            if fresh:
                ids = [decoded.images[i]["id"] for i in fresh]
                batch.add_vectors(ids, embedder(decoded.pixels[fresh]))
            batch.add_facts(decoded)
            advance(decoded.partition.count)
            if batch.rows >= rows_a_part or batch.facts >= 4 * rows_a_part:
                number = _flush(catalog.workspace, embedder.key, number, batch, pending)
                batch = Batch()
        if batch.facts or batch.partitions:
            _flush(catalog.workspace, embedder.key, number, batch, pending)
        pending.settle()


def _flush(
    workspace: Path, embedder: str, number: int, batch: Batch, pending: PendingCommits
) -> int:
    if batch.rows:
        ids, vectors = batch.stacked()
        batch.part = write_part(workspace, f"vectors/{embedder}", number, ids, vectors)
        number += 1
    pending.offer(batch)
    return number


def _fresh(
    catalog: Catalog, embedder: str, decoded: DecodedPartition, underway: set[int]
) -> list[int]:
    """Return the positions of the images that have no vector yet.

    While a teammate writes to the catalog, every image counts as fresh: a vector too many is
    not referred to, an image without a vector would be a loss.
    """
    ids = [row["id"] for row in decoded.images]
    known: set[int] = set()
    if ids and catalog.exists():
        query = "SELECT image_id FROM vectors WHERE embedder = ? AND image_id IN (SELECT unnest(?))"
        try:
            with catalog.read(patience_s=0.2) as connection:
                rows = connection.execute(query, [embedder, ids]).fetchall()
            known = {key for (key,) in rows}
        except CatalogBusyError:
            known = set()
    return [i for i, key in enumerate(ids) if key not in known and key not in underway]


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


def _summary(catalog: Catalog, before: Any, facts: IndexFacts) -> Summary:
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
        )


def _count(connection: Any, query: str) -> int:
    row = one(connection, query)
    return int(row[0]) if row else 0
