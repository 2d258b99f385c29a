"""Manifests: immutable selections with a content hash, and their rows in the catalog."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import duckdb
import numpy as np

from index.catalog import Catalog, one
from index.errors import UsageError

_FIELDS = (
    "name, content_hash, strategy, options, teacher, student, embedder, parent, seed, pool, "
    "eligible, selected, preprocessing, code_version"
)


# One row as it is hashed: packed, little-endian, whatever the batches.
_HASHED = np.dtype(
    [("image_id", "<i8"), ("rank", "<i4"), ("pseudo_label", "<i2"), ("weight", "<f4")]
)


@dataclass(frozen=True)
class Manifest:
    """One row of the table `manifests`."""

    name: str
    content_hash: str
    strategy: str
    options: dict[str, Any]
    teacher: str
    student: str | None
    embedder: str | None
    parent: str | None
    seed: int
    pool: int
    eligible: int
    selected: int
    preprocessing: dict[str, Any]
    code_version: str

    def row(self) -> list[Any]:
        """Return the values in the order of the table's columns."""
        values = asdict(self)
        for name in ("options", "preprocessing"):
            values[name] = json.dumps(values[name], sort_keys=True)
        return list(values.values())


def content_hash(batches: Iterator[dict[str, Any]]) -> str:
    """Hash what a manifest decides: SHA-256 of its selected rows, packed, in order of rank.

    A row is image id (int64), rank (int32), pseudo-label (int16), weight (float32), little-endian.
    Name, time, and path stay out: two workspaces with the same images and models agree.
    """
    digest = hashlib.sha256()
    for columns in batches:
        rows = np.empty(len(columns["image_id"]), _HASHED)
        for name in _HASHED.names or ():
            rows[name] = columns[name]
        digest.update(rows.tobytes())
    return digest.hexdigest()


def find_manifest(connection: duckdb.DuckDBPyConnection, name: str) -> Manifest | None:
    """Return a manifest by name, or None."""
    row = one(connection, f"SELECT {_FIELDS} FROM manifests WHERE name = ?", [name])
    return _manifest(row) if row else None


def get_manifest(catalog: Catalog, name: str) -> Manifest:
    """Return a manifest by name.

    Raises:
        UsageError: there is none; the message lists what there is.
    """
    with catalog.read() as connection:
        found = find_manifest(connection, name)
        if found is not None:
            return found
        rows = connection.execute("SELECT name FROM manifests ORDER BY created_at DESC").fetchall()
    names = ", ".join(row[0] for row in rows[:8])
    there = f"there are {names}" if names else "make one with `kdcurate select`"
    raise UsageError(f"no manifest is called {name!r}: {there}")


def list_manifests(catalog: Catalog) -> list[Manifest]:
    """Return all manifests, oldest first."""
    with catalog.read() as connection:
        rows = connection.execute(f"SELECT {_FIELDS} FROM manifests ORDER BY created_at, name")
        return [_manifest(row) for row in rows.fetchall()]


def _manifest(row: tuple[Any, ...]) -> Manifest:
    names = [name.strip() for name in _FIELDS.split(",")]
    values = dict(zip(names, row, strict=True))
    values["options"] = json.loads(values["options"])
    values["preprocessing"] = json.loads(values["preprocessing"])
    return Manifest(**values)
