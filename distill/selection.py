"""What training reads of a manifest: the selected images and their weights."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

import duckdb
import numpy as np
from numpy.typing import NDArray

from index.catalog import Catalog, literal, one
from index.errors import UsageError

# Rounds leave a manifest each: a line has no room for all.
_NAMED = 8


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
            raise no_manifest(connection, manifest)
        own = f"(FROM decisions WHERE manifest = {literal(manifest)})"
        return selected_of(connection, own, manifest, row[0])


def no_manifest(connection: duckdb.DuckDBPyConnection, name: str) -> UsageError:
    """Return the error that no manifest has this name: it gives the nearest, else the latest."""
    query = "SELECT name FROM manifests ORDER BY created_at DESC"
    names = [known for (known,) in connection.execute(query).fetchall()]
    near = difflib.get_close_matches(name, names, n=1)
    there = f"did you mean {near[0]}?" if near else f"there are {', '.join(names[:_NAMED])}"
    return UsageError(
        f"no manifest is called {name!r}: {there if names else 'make one with `kdcurate select`'}"
    )


def selected_of(
    connection: duckdb.DuckDBPyConnection, decisions: str, manifest: str, content_hash: str
) -> Selection:
    """Read the selected images of a relation with the columns of `decisions`, of one manifest."""
    found = connection.execute(
        f'SELECT image_id, weight FROM {decisions} WHERE selected ORDER BY "rank"'
    ).fetchnumpy()
    ids = np.asarray(found["image_id"], dtype=np.int64)
    return Selection(manifest, content_hash, ids, np.asarray(found["weight"], dtype=np.float32))
