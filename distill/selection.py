"""What training reads of a manifest: the selected images and their weights."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb
import numpy as np
from numpy.typing import NDArray

from index.catalog import Catalog, literal, one
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
        own = f"(FROM decisions WHERE manifest = {literal(manifest)})"
        return selected_of(connection, own, manifest, row[0])


def selected_of(
    connection: duckdb.DuckDBPyConnection, decisions: str, manifest: str, content_hash: str
) -> Selection:
    """Read the selected images of a relation with the columns of `decisions`, of one manifest."""
    found = connection.execute(
        f'SELECT image_id, weight FROM {decisions} WHERE selected ORDER BY "rank"'
    ).fetchnumpy()
    ids = np.asarray(found["image_id"], dtype=np.int64)
    return Selection(manifest, content_hash, ids, np.asarray(found["weight"], dtype=np.float32))
