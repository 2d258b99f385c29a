"""What a build has computed and not yet committed, and how it gets into the catalog."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from index.catalog import Catalog, insert
from index.decoded import DecodedPartition
from index.errors import CatalogBusyError, WorkspaceError
from index.parts import Part, half, record_part
from index.progress import Progress

_MOST_WAITING = 32
_SETTLING_PATIENCE_S = 30.0


@dataclass
class Batch:
    """The facts and vectors of whole partitions, committed together or not at all."""

    partitions: list[dict[str, Any]] = field(default_factory=list)
    images: list[dict[str, Any]] = field(default_factory=list)
    locations: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)
    vector_ids: list[int] = field(default_factory=list)
    vectors: list[NDArray[np.float16]] = field(default_factory=list)
    part: Part | None = None

    @property
    def rows(self) -> int:
        """Number of vectors."""
        return len(self.vector_ids)

    @property
    def facts(self) -> int:
        """Number of locations and failures."""
        return len(self.locations) + len(self.failures)

    @property
    def ids(self) -> set[int]:
        """Ids of the images that have their vector here."""
        return set(self.vector_ids)

    def add_vectors(self, ids: list[int], vectors: NDArray[np.float32]) -> None:
        """Add embedded images; kept as float16, as they are stored."""
        self.vector_ids += ids
        self.vectors.append(half(vectors))

    def add_facts(self, decoded: DecodedPartition) -> None:
        """Add what a worker found out about a partition."""
        part = decoded.partition
        done = {"key": part.key, "container": part.container, "entries": part.count}
        self.partitions.append(done)
        self.images += decoded.images
        self.locations += decoded.locations
        self.failures += decoded.failures

    def extend(self, other: Batch) -> None:
        """Add a batch that is not written yet; an image has one vector here, the first."""
        have = self.ids
        fresh = [i for i, key in enumerate(other.vector_ids) if key not in have]
        if fresh:
            self.vector_ids += [other.vector_ids[i] for i in fresh]
            self.vectors.append(np.concatenate(other.vectors)[fresh])
        self.partitions += other.partitions
        self.images += other.images
        self.locations += other.locations
        self.failures += other.failures

    def stacked(self) -> tuple[NDArray[np.int64], NDArray[np.float16]]:
        """Return ids (n,) and vectors (n, dim), and let go of the vectors."""
        stacked = np.concatenate(self.vectors)
        self.vectors = []
        return np.array(self.vector_ids, dtype=np.int64), stacked


class PendingCommits:
    """Batches whose parts are on disk, waiting for the catalog to be free.

    A teammate's open DuckDB shell must not end a build: it goes on, and commits later; once 32
    batches wait, some 10 MB of facts each, it stops until it can.
    """

    def __init__(self, catalog: Catalog, embedder: str, progress: Progress) -> None:
        """Start with nothing pending."""
        self._catalog = catalog
        self._embedder = embedder
        self._progress = progress
        self._waiting: list[Batch] = []
        self._told = False

    @property
    def ids(self) -> set[int]:
        """Ids of the images whose vectors wait here."""
        return set().union(*(batch.ids for batch in self._waiting))

    def offer(self, batch: Batch) -> None:
        """Commit a batch now if the catalog is free, else keep it; wait if there are too many."""
        self._waiting.append(batch)
        if len(self._waiting) >= _MOST_WAITING:
            self.settle()
            return
        try:
            self._commit_all(patience_s=2.0)
        except CatalogBusyError as error:
            if not self._told:
                self._progress.say(f"{error} (the build goes on and commits when it is free)")
                self._told = True

    def settle(self) -> None:
        """Commit what waits, however long the catalog is held."""
        while self._waiting:
            try:
                self._commit_all(_SETTLING_PATIENCE_S)
            except CatalogBusyError as error:
                self._progress.say(f"waiting to commit: {error}")

    def _commit_all(self, patience_s: float) -> None:
        if not self._waiting:
            return
        with self._catalog.write(patience_s) as connection:
            for batch in self._waiting:
                _commit(connection, batch, self._embedder)
        self._waiting.clear()


def _commit(connection: duckdb.DuckDBPyConnection, batch: Batch, embedder: str) -> None:
    if batch.images:
        _refuse_collisions(connection, batch)
        _insert_new_images(connection, batch)
    _forget_transient(connection, [row["key"] for row in batch.partitions])
    for table, rows in (("locations", batch.locations), ("failures", batch.failures)):
        if rows:
            latest = {row["uri"]: row for row in rows}  # overlapping sources name a file twice
            _delete_uris(connection, list(latest))  # of files that were mended or replaced
            insert(connection, table, _columns(list(latest.values())))
    if batch.part is not None:
        record_part(connection, batch.part)
        _insert_vectors(connection, batch, batch.part.part, embedder)
    _forget_other_formats(connection, [row["key"] for row in batch.partitions], embedder)
    insert(connection, "partitions", {**_columns(batch.partitions), "embedder": embedder})


def _delete_uris(connection: duckdb.DuckDBPyConnection, uris: list[str]) -> None:
    """Images that lose their last place here stay until all is committed: a later slice of this
    very build may hold them, and count on the vectors that they have.
    """
    gone = "uri IN (SELECT unnest(?))"
    for table in ("locations", "failures"):
        connection.execute(f"DELETE FROM {table} WHERE {gone}", [uris])


def _forget_transient(connection: duckdb.DuckDBPyConnection, keys: list[str]) -> None:
    """What was read again has other failures now, and not always under the same uri."""
    connection.execute(
        "DELETE FROM failures WHERE transient AND partition IN (SELECT unnest(?))", [keys]
    )


def _forget_other_formats(
    connection: duckdb.DuckDBPyConnection, keys: list[str], embedder: str
) -> None:
    """A slice that was done with other formats has the results of these now."""
    slices = [key.partition(":")[0] for key in keys]
    connection.execute(
        "DELETE FROM partitions WHERE embedder = ? "
        "AND split_part(key, ':', 1) IN (SELECT unnest(?))",
        [embedder, slices],
    )


def _insert_new_images(connection: duckdb.DuckDBPyConnection, batch: Batch) -> None:
    connection.execute("CREATE TEMP TABLE incoming_images AS FROM images LIMIT 0")
    columns = {**_columns(batch.images), "added_at": np.datetime64(time.time_ns() // 1000, "us")}
    insert(connection, "incoming_images", columns)
    connection.execute(
        "INSERT INTO images SELECT * FROM (SELECT DISTINCT ON (id) * FROM incoming_images) i "
        "WHERE NOT EXISTS (SELECT 1 FROM images WHERE images.id = i.id)"
    )
    connection.execute("DROP TABLE incoming_images")


def _insert_vectors(
    connection: duckdb.DuckDBPyConnection, batch: Batch, number: int, embedder: str
) -> None:
    rows = {"image_id": np.array(batch.vector_ids), "row": np.arange(batch.rows, dtype=np.int32)}
    connection.register("incoming_vectors", rows)
    connection.execute(
        'INSERT INTO vectors SELECT image_id, ?, ?, "row" FROM incoming_vectors i WHERE NOT EXISTS '
        "(SELECT 1 FROM vectors v WHERE v.image_id = i.image_id AND v.embedder = ?)",
        [embedder, number, embedder],
    )
    connection.unregister("incoming_vectors")


def _refuse_collisions(connection: duckdb.DuckDBPyConnection, batch: Batch) -> None:
    """Two contents under one 63-bit id: astronomically rare by chance, so refused aloud."""
    known = {row["id"]: row["sha256"] for row in batch.images}
    stored = connection.execute(
        "SELECT id, sha256 FROM images WHERE id IN (SELECT unnest(?))", [list(known)]
    ).fetchall()
    for key, sha256 in stored:
        if bytes(sha256) != known[key]:
            uri = next(row["uri"] for row in batch.locations if row["image_id"] == key)
            raise WorkspaceError(
                f"two different images share id {key}: {bytes(sha256).hex()} and "
                f"{known[key].hex()} ({uri}); remove one from the sources"
            )


def _columns(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in rows[0]} if rows else {}
