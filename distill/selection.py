"""What training reads of a manifest: the selected images and their weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index.catalog import Catalog, one
from index.errors import UsageError, nearest


@dataclass(frozen=True)
class Selection:
    """A manifest's images, by rank: ids (n,), weights (n,)."""

    manifest: str
    content_hash: str
    ids: NDArray[np.int64]
    weights: NDArray[np.float32]


def read_selection(catalog: Catalog, manifest: str) -> Selection:
    """Read the selected images of a manifest.

    Raises:
        UsageError: no manifest has this name.
    """
    with catalog.read() as connection:
        row = one(connection, "SELECT content_hash FROM manifests WHERE name = ?", [manifest])
        if row is None:
            names = [
                name for (name,) in connection.execute("SELECT name FROM manifests").fetchall()
            ]
            there = nearest(manifest, names) if names else "make one with `kdcurate select`"
            raise UsageError(f"no manifest is called {manifest!r}: {there}")
        found = connection.execute(
            "SELECT image_id, weight FROM decisions WHERE manifest = ? AND selected "
            'ORDER BY "rank"',
            [manifest],
        ).fetchnumpy()
    ids = np.asarray(found["image_id"], dtype=np.int64)
    return Selection(manifest, row[0], ids, np.asarray(found["weight"], dtype=np.float32))
