"""Cosines from the stored vectors, whatever an index rounds: of pairs that it proposed."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from index.catalog import Catalog
from index.parts import Ids, list_parts, map_rows, pick_rows, places
from index.vectors import Vectors, unit_norm

LookUp = Callable[[Ids], Vectors]
_BYTES = 32 << 20
_MAPS = 64


def pair_cosines(
    look_up: LookUp, queries: Vectors, query: NDArray[np.int64], ids: Ids
) -> NDArray[np.float32]:
    """Return the cosine of each pair of a query and an image; memory holds some 100 MB.

    Args:
        look_up: returns the unit-norm vectors (m, dim) of image ids (m,): `vectors_of` for a few,
            `StoredVectors`, which keeps in memory where each vector lies, for many.
        queries: (q, dim), unit-norm.
        query: (n,) the row of each pair's query.
        ids: (n,) the image of each pair.

    Raises:
        WorkspaceError: as `look_up`.
    """
    cosines = np.empty(len(ids), np.float32)
    step = max(1, _BYTES // (4 * queries.shape[1]))
    for start in range(0, len(ids), step):
        pairs = slice(start, start + step)
        wanted, place = np.unique(ids[pairs], return_inverse=True)
        theirs = look_up(wanted)[place]
        np.einsum("nd,nd->n", queries[query[pairs]], theirs, out=cosines[pairs])
    return cosines


class StoredVectors:
    """Looks up stored vectors where they lie, in part files mapped into memory.

    For many look-ups: memory holds 16 bytes an image, for where its vector is, and what the system
    keeps of the files as long as nothing else wants that memory.
    Each map holds its file open, so only the parts that were asked for last stay mapped.
    """

    def __init__(self, catalog: Catalog, embedder: str) -> None:
        """Map the parts of an embedder.

        Raises:
            WorkspaceError: as `read_arrays`.
        """
        with catalog.read() as connection:
            found = connection.execute(
                'SELECT image_id, part, "row" FROM vectors WHERE embedder = ? ORDER BY image_id',
                [embedder],
            ).fetchnumpy()
            parts = list_parts(connection, f"vectors/{embedder}")
        self.ids: Ids = np.asarray(found["image_id"], np.int64)
        self._part, self._row = np.asarray(found["part"]), np.asarray(found["row"])
        self._parts = {part.part: part for part in parts}
        self._mapped = lru_cache(_MAPS)(
            lambda number: map_rows(catalog.workspace, self._parts[number])
        )
        self._width = parts[0].width if parts else 0

    def __call__(self, ids: Ids) -> Vectors:
        """Return the unit-norm vectors (n, dim) of images.

        Raises:
            WorkspaceError: one has no vector, or a part is gone or not as long as recorded.
        """
        at = places(self.ids, ids)
        rows = pick_rows(self._part[at], self._row[at], self._width, self._mapped)
        return unit_norm(rows.astype(np.float32))
