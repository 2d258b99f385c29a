"""What the catalog holds already: ids of images and of vectors, and perhaps addresses.

DuckDB has no index on them, which would be held in memory: to look for some takes as long as the
table is. A build asks once a partition and once a commit, so it reads them once, into 12 bytes an
image, and then asks the catalog only for what is there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from index.catalog import Catalog, one
from index.parts import Ids

Hashes = NDArray[np.uint64]

_SEGMENT = 1 << 22
_AT_ONCE = 1 << 20  # rows that are read together
_BITS, _PROBES = 32, 8  # of the addresses: of 170,000 that are new, one is taken for known
_MIX = np.uint64(0x9E3779B97F4A7C15)
_WITHOUT_VECTOR = "NOT EXISTS (SELECT 1 FROM vectors v WHERE v.image_id = t.id AND v.embedder = ?)"


class IdSet:
    """A set of image ids, 8 bytes each: ascending arrays of up to four million."""

    def __init__(self) -> None:
        """Start empty."""
        self._segments: list[Ids] = []

    def __len__(self) -> int:
        """Number of ids, where none was added twice."""
        return sum(map(len, self._segments))

    def add(self, ids: Ids) -> None:
        """Add ids (n,); those that are there already do no harm."""
        self._segments.append(np.sort(ids))
        while len(self._segments) > 1 and self._last_two_are_alike():
            last, before = self._segments.pop(), self._segments.pop()
            self._segments.append(np.sort(np.concatenate([before, last]), kind="stable"))

    def holds(self, ids: Ids) -> NDArray[np.bool_]:
        """Tell of each id (n,) whether it is there."""
        held = np.zeros(len(ids), dtype=np.bool_)
        for segment in filter(len, self._segments):
            found = np.searchsorted(segment, ids).clip(max=len(segment) - 1)
            held |= segment[found] == ids
        return held

    def _last_two_are_alike(self) -> bool:
        before, last = len(self._segments[-2]), len(self._segments[-1])
        return before < 2 * last and before + last <= _SEGMENT


class HashFilter:
    """A Bloom filter: a set of hashes that now and then seems to hold one that was never added.

    Source: B. H. Bloom, "Space/time trade-offs in hash coding with allowable errors",
    Communications of the ACM 13 (7), 1970. With 32 bits a hash and 8 of them set, the chance is
    (1 - exp(-8 / 32))^8 = 6e-6; beyond `room` hashes it grows.
    """

    def __init__(self, room: int) -> None:
        """Start empty, with so much room."""
        self._bits = np.zeros(max(room, 1024) * _BITS // 8, dtype=np.uint8)

    def add(self, hashes: Hashes) -> None:
        """Add hashes (n,)."""
        for byte, bit in self._places(hashes):
            np.bitwise_or.at(self._bits, byte, bit)

    def may_hold(self, hashes: Hashes) -> NDArray[np.bool_]:
        """Tell of each hash (n,) whether it may be there; False is certain."""
        held = np.ones(len(hashes), dtype=np.bool_)
        for byte, bit in self._places(hashes):
            held &= (self._bits[byte] & bit) != 0
        return held

    def _places(self, hashes: Hashes) -> Iterator[tuple[Any, NDArray[np.uint8]]]:
        size, step = np.uint64(8 * len(self._bits)), (hashes * _MIX) >> np.uint64(7) | np.uint64(1)
        for probe in range(_PROBES):
            place = (hashes + np.uint64(probe) * step) % size
            yield place >> np.uint64(3), np.uint8(1) << (place & np.uint64(7)).astype(np.uint8)


class Known:
    """What the catalog holds at the start of a build, and what the build adds to it.

    Nobody else adds images meanwhile; what others take away is still believed to be there.
    """

    def __init__(self, catalog: Catalog, embedder: str, room: int) -> None:
        """Read the catalog, which may have no file yet.

        Args:
            catalog: where to read.
            embedder: whose vectors count.
            room: number of images that the build may add.
        """
        self.vectors = IdSet()
        self._bare = IdSet()  # images without a vector
        if not catalog.exists():
            self._places = HashFilter(room)
            return
        with catalog.read() as connection:
            for ids in _chunks(connection, "image_id", "vectors", "embedder = ?", [embedder]):
                self.vectors.add(ids)
            # Only images have vectors: where there are as many of both, no image is without.
            if _rows(connection, "images") > len(self.vectors):
                for ids in _chunks(connection, "id", "images", _WITHOUT_VECTOR, [embedder]):
                    self._bare.add(ids)
            self._places = HashFilter(room + sum(_rows(connection, table) for table in _PLACES))
            for table in _PLACES:
                for hashes in _chunks(connection, "hash(uri)", table):
                    self._places.add(hashes)

    def with_vector(self, ids: Sequence[int]) -> set[int]:
        """Return which of these images have their vector in the catalog."""
        wanted = np.asarray(ids, dtype=np.int64)
        return set(wanted[self.vectors.holds(wanted)].tolist())

    def images(self, ids: Sequence[int]) -> list[int]:
        """Return which of these images are in the catalog."""
        wanted = np.asarray(ids, dtype=np.int64)
        return list(wanted[self.vectors.holds(wanted) | self._bare.holds(wanted)].tolist())

    def places(self, connection: duckdb.DuckDBPyConnection, uris: list[str]) -> list[str]:
        """Return those of some addresses that locations or failures may hold; add all of them."""
        found = connection.execute(
            "SELECT uri, hash(uri) AS hash FROM (SELECT unnest(?::VARCHAR[]) AS uri)", [uris]
        ).fetchnumpy()
        hashes = np.asarray(found["hash"], dtype=np.uint64)
        held = self._places.may_hold(hashes)
        self._places.add(hashes)
        return list(np.asarray(found["uri"])[held])

    def add(self, images: Sequence[int], vectors: Sequence[int]) -> None:
        """Add what is committed: ids of images, and ids of those that have their vector now."""
        embedded = np.asarray(vectors, dtype=np.int64)
        self.vectors.add(embedded)
        bare = np.setdiff1d(np.asarray(images, dtype=np.int64), embedded)
        self._bare.add(bare[~self.vectors.holds(bare)])


_PLACES = ("locations", "failures")


def _chunks(
    connection: duckdb.DuckDBPyConnection,
    column: str,
    table: str,
    where: str = "true",
    parameters: Sequence[str] = (),
) -> Iterator[Any]:
    """Yield the values of a column (or expression), a million rows at a time."""
    query = f"SELECT {column} AS found FROM {table} t WHERE rowid >= ? AND rowid < ? AND {where}"
    (end,) = one(connection, f"SELECT coalesce(max(rowid) + 1, 0) FROM {table}") or (0,)
    for start in range(0, end, _AT_ONCE):
        bounds = [start, start + _AT_ONCE, *parameters]
        yield np.asarray(connection.execute(query, bounds).fetchnumpy()["found"])


def _rows(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    (count,) = one(connection, f"SELECT count(*) FROM {table}") or (0,)
    return int(count)
