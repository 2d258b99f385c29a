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
from index.known import Known
from index.parts import Part, half, record_part
from index.progress import Progress
from index.vanished import remember_places

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

    def __init__(self, catalog: Catalog, embedder: str, progress: Progress, known: Known) -> None:
        """Start with nothing pending; `known` is told of all that is committed."""
        self._catalog = catalog
        self._embedder = embedder
        self._known = known
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
                _commit(connection, batch, self._embedder, self._known)
        self._waiting.clear()


def _commit(
    connection: duckdb.DuckDBPyConnection, batch: Batch, embedder: str, known: Known
) -> None:
    """In a time that does not grow with the catalog, but for what it holds already."""
    if batch.images:
        stored = _stored(connection, known.images([row["id"] for row in batch.images]))
        _refuse_collisions(stored, batch)
        _insert_new_images(connection, stored, batch)
    _forget_transient(connection, [row["key"] for row in batch.partitions])
    for table, rows in (("locations", batch.locations), ("failures", batch.failures)):
        if rows:
            latest = {row["uri"]: row for row in rows}  # overlapping sources name a file twice
            _replace_uris(connection, latest, known.places(connection, list(latest)))
            insert(connection, table, _columns(list(latest.values())))
    if batch.part is not None:
        record_part(connection, batch.part)
        _insert_vectors(connection, batch, batch.part.part, embedder, known)
    # The batches of a transaction know one another; one that fails ends the build and all this.
    known.add([row["id"] for row in batch.images], batch.vector_ids)
    _forget_other_formats(connection, [row["key"] for row in batch.partitions], embedder)
    insert(connection, "partitions", {**_columns(batch.partitions), "embedder": embedder})


# Places, of the uris $1, that another image of $2 at the same position comes to, or none (NULL).
_LOSING_THEIR_IMAGE = """
EXISTS (
    FROM (SELECT unnest($1::VARCHAR[]) AS uri, unnest($2::BIGINT[]) AS image_id) AS now
    WHERE now.uri = locations.uri AND now.image_id IS DISTINCT FROM locations.image_id
)
"""


def _replace_uris(
    connection: duckdb.DuckDBPyConnection, latest: dict[str, dict[str, Any]], held: list[str]
) -> None:
    """Make room for what is known of some files now, of which the catalog may hold `held`.

    Images that lose their last place here stay until all is committed: a later slice of this
    very build may hold them, and count on the vectors that they have. A file that could be read
    before and cannot for the moment keeps its place, and with it its image's scores.
    """
    if not held:
        return
    gone = "uri IN (SELECT unnest(?::VARCHAR[]))"
    connection.execute(f"DELETE FROM failures WHERE {gone}", [held])
    passing = {uri: latest[uri]["partition"] for uri in held if latest[uri].get("transient")}
    replaced = [uri for uri in held if uri not in passing]
    now = [latest[uri].get("image_id") for uri in replaced]  # a failure has none
    remember_places(connection, _LOSING_THEIR_IMAGE, [replaced, now])
    connection.execute(f"DELETE FROM locations WHERE {gone}", [replaced])
    if passing:
        connection.execute(
            "UPDATE locations SET partition = now.partition FROM "
            "(SELECT unnest(?::VARCHAR[]) AS uri, unnest(?::VARCHAR[]) AS partition) AS now "
            "WHERE locations.uri = now.uri",
            [list(passing), list(passing.values())],
        )


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


def _stored(connection: duckdb.DuckDBPyConnection, ids: list[int]) -> dict[int, bytes]:
    """Return the SHA-256 of those images that are there."""
    if not ids:
        return {}
    found = connection.execute(
        "SELECT id, sha256 FROM images WHERE id IN (SELECT unnest(?::BIGINT[]))", [ids]
    )
    return {key: bytes(sha256) for key, sha256 in found.fetchall()}


def _insert_new_images(
    connection: duckdb.DuckDBPyConnection, stored: dict[int, bytes], batch: Batch
) -> None:
    new = {row["id"]: row for row in batch.images if row["id"] not in stored}
    if new:
        now = np.datetime64(time.time_ns() // 1000, "us")
        insert(connection, "images", {**_columns(list(new.values())), "added_at": now})


def _insert_vectors(
    connection: duckdb.DuckDBPyConnection, batch: Batch, number: int, embedder: str, known: Known
) -> None:
    """Those of images that have one already stay in the part, and nothing refers to them."""
    have = known.with_vector(batch.vector_ids)
    rows = [row for row, key in enumerate(batch.vector_ids) if key not in have]
    ids = [batch.vector_ids[row] for row in rows]
    if rows:
        columns = {"image_id": ids, "embedder": embedder, "part": number, "row": rows}
        insert(connection, "vectors", columns)


def _refuse_collisions(stored: dict[int, bytes], batch: Batch) -> None:
    """Two contents under one 63-bit id: astronomically rare by chance, so refused aloud."""
    seen = dict(stored)
    for row in batch.images:
        key, sha256 = row["id"], row["sha256"]
        if seen.setdefault(key, sha256) != sha256:
            uri = next(row["uri"] for row in batch.locations if row["image_id"] == key)
            raise WorkspaceError(
                f"two different images share id {key}: {seen[key].hex()} and "
                f"{sha256.hex()} ({uri}); remove one from the sources"
            )


def _columns(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in rows[0]} if rows else {}
