"""The stored vectors of an embedder, streamed part by part, sampled, or looked up by image id."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.catalog import Catalog, literal, one
from index.database import connect
from index.errors import WorkspaceError
from index.files import told_if_full
from index.parts import Ids, Part, Rows, list_parts, map_rows, pick_rows, read_live, read_part

Vectors = NDArray[np.float32]


def live_vectors(
    catalog: Catalog, embedder: str, first_part: int = 0
) -> Iterator[tuple[Ids, Vectors]]:
    """Yield per part the ids (n,) and unit-norm vectors (n, dim) that the catalog refers to."""
    for part in _parts(catalog, embedder):
        if part.part >= first_part:
            ids, rows = read_live(catalog, part)
            yield ids, _as_vectors(rows)


def live_count(catalog: Catalog, embedder: str, before_part: int | None = None) -> int:
    """Return how many images have a vector of this embedder, in all parts or in the first ones."""
    query = "SELECT count(*) FROM vectors WHERE embedder = ? AND part < coalesce(?, part + 1)"
    with catalog.read() as connection:
        row = one(connection, query, [embedder, before_part])
    return int(row[0]) if row else 0


def unit_norm(vectors: Vectors) -> Vectors:
    """Scale rows to unit length; a zero row stays zero."""
    return (vectors / _norms(vectors)).astype(np.float32, copy=False)


def sample_vectors(catalog: Catalog, embedder: str, count: int, seed: int) -> tuple[Ids, Vectors]:
    """Draw `count` of the live vectors, or all where there are fewer; memory holds twice as many.

    The ids, hashes of contents, are mixed with the seed and the smallest taken: which images are
    drawn, and their order, depends neither on the parts nor on the order of the crawl.
    """
    ids: Ids = np.empty(0, np.int64)
    keys = np.empty(0, np.uint64)
    kept: Rows | None = None  # half as wide as what is returned
    for part in _parts(catalog, embedder):
        new_ids, rows = read_live(catalog, part)
        new_keys = mixed(new_ids, seed)
        if len(keys) == count and count:
            below = new_keys < keys[-1]
            new_ids, new_keys, rows = new_ids[below], new_keys[below], rows[below]
        keys = np.concatenate([keys, new_keys])
        order = np.argsort(keys, kind="stable")[:count]
        keys = keys[order]
        ids = np.concatenate([ids, new_ids])[order]
        kept = (rows if kept is None else np.concatenate([kept, rows]))[order]
    return ids, np.empty((0, 0), np.float32) if kept is None else _as_vectors(kept)


def vectors_of(catalog: Catalog, embedder: str, ids: Ids) -> Vectors:
    """Look up unit-norm vectors (n, dim) by image id; of parts, only these rows are read.

    Memory holds one and a half times what is returned.

    Raises:
        WorkspaceError: an image has no vector of this embedder, or as `map_rows`.
    """
    with catalog.read() as connection:
        connection.register("wanted", {"image_id": ids, "place": np.arange(len(ids))})
        found = connection.execute(
            'SELECT w.place, v.part, v."row" FROM wanted w JOIN vectors v USING (image_id) '
            "WHERE v.embedder = ? ORDER BY w.place",
            [embedder],
        ).fetchnumpy()
        parts = {part.part: part for part in list_parts(connection, f"vectors/{embedder}")}
    missing = np.setdiff1d(np.arange(len(ids)), np.asarray(found["place"]))
    if len(missing):
        raise _has_no_vector(ids[missing[0]], embedder)
    width = next((part.width for part in parts.values()), 0)
    part_of, row_of = np.asarray(found["part"]), np.asarray(found["row"])
    return _as_vectors(
        pick_rows(part_of, row_of, width, lambda number: map_rows(catalog.workspace, parts[number]))
    )


def mixed(ids: Ids, seed: int) -> NDArray[np.uint64]:
    """Permute the 64-bit integers, another way for another seed (SplitMix64's finaliser)."""
    golden = 0x9E3779B97F4A7C15
    keys = ids.astype(np.uint64) ^ np.uint64((seed + 1) * golden % 2**64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        keys = (keys ^ (keys >> np.uint64(shift))) * np.uint64(factor)
    mixed: NDArray[np.uint64] = keys ^ (keys >> np.uint64(31))
    return mixed


def copy_vectors(catalog: Catalog, embedder: str, wanted: Path, target: Path) -> Rows:
    """Copy the vectors of some images into one file, in their order; memory holds one part.

    Args:
        wanted: Parquet file of image_id, each once, and its `position` from 0.
        target: file to make; beside it stands for a while where each vector is found.

    Returns:
        the file as an array (n, dim) float16, as stored, mapped into memory.

    Raises:
        WorkspaceError: an image has no vector of this embedder, or the disk is full.
    """
    places = target.with_suffix(".places.parquet")
    catalog.write_parquet(
        _PLACES.format(wanted=literal(wanted), embedder=literal(embedder)), places
    )
    parts = _parts(catalog, embedder)
    with connect() as connection:
        stored = f"FROM read_parquet({literal(places)})"
        (missing,) = one(connection, f"SELECT min(image_id) {stored} WHERE part IS NULL") or (None,)
        if missing is not None:
            raise _has_no_vector(missing, embedder)
        (count,) = one(connection, f"SELECT count(*) {stored}") or (0,)
        rows = _allocated(target, (count, parts[0].width if parts else 0))
        for part in parts:
            query = f'SELECT "row", position {stored} WHERE part = ?'
            found = connection.execute(query, [part.part]).fetchnumpy()
            if len(found["row"]):
                rows[found["position"]] = read_part(catalog.workspace, part)[1][found["row"]]
    return rows


_PLACES = """
SELECT w.image_id, w.position, v.part, v."row" FROM read_parquet({wanted}) w
LEFT JOIN (FROM vectors WHERE embedder = {embedder}) v USING (image_id) ORDER BY v.part
"""


def _allocated(path: Path, shape: tuple[int, int]) -> Rows:
    """Make a file of zeros and map it: on a full disk, a mapped file without blocks kills."""
    zeros = bytes(1 << 20)
    left = 2 * shape[0] * shape[1]
    with told_if_full(path), path.open("wb") as file:
        while left > 0:
            left -= file.write(zeros[:left])
    return np.memmap(path, np.float16, "r+", shape=shape)


def _has_no_vector(image: int, embedder: str) -> WorkspaceError:
    return WorkspaceError(
        f"image {image} has no vector of {embedder}: run build-index on its source, "
        "or take another id"
    )


def _parts(catalog: Catalog, embedder: str) -> list[Part]:
    with catalog.read() as connection:
        return list_parts(connection, f"vectors/{embedder}")


def _as_vectors(rows: Rows) -> Vectors:
    vectors = rows.astype(np.float32)
    vectors /= _norms(vectors)  # in place: a sample may be large
    return vectors


def _norms(vectors: Vectors) -> Vectors:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    found: Vectors = np.where(norms > 0, norms, np.float32(1))
    return found
