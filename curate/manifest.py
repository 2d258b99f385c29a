"""Manifests: immutable selections with a content hash, and their rows in the catalog."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from curate.differences import store_decisions
from distill.selection import no_manifest
from distill.unfinished import unfinished_runs
from index import names
from index.catalog import Catalog, insert, one
from index.errors import UsageError

_FIELDS = (
    "name, content_hash, strategy, options, teacher, student, embedder, parent, seed, pool, "
    "eligible, selected, preprocessing, code_version"
)


_ROWS_AT_ONCE = 65_536
_NAMED = 8
_OF_A_ROUND = re.compile(r".*/round-[0-9]+", re.DOTALL)

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


def ranked(
    connection: duckdb.DuckDBPyConnection, decisions: str, count: int
) -> Iterator[dict[str, Any]]:
    """Yield what is hashed of a relation's `count` selected images, in order of rank, as columns.

    Args:
        decisions: SQL of a relation with the columns of the table `decisions`.
    """
    # In order, a range of ranks lies together: each query reads that alone, not all of them.
    connection.execute(
        f'CREATE OR REPLACE TEMP TABLE in_order AS SELECT image_id, "rank", pseudo_label, weight '
        f'FROM {decisions} WHERE "rank" IS NOT NULL ORDER BY "rank"'
    )
    for start in range(0, count, _ROWS_AT_ONCE):
        yield connection.execute(
            'FROM in_order WHERE "rank" > ? AND "rank" <= ? ORDER BY "rank"',
            [start, start + _ROWS_AT_ONCE],
        ).fetchnumpy()
    connection.execute("DROP TABLE in_order")


def check_name(name: str | None) -> None:
    """Refuse what is no name, and one that a round of a run could have, which that would take.

    Raises:
        UsageError: it is one.
    """
    names.check_name("--name", name)
    if name is not None and _OF_A_ROUND.fullmatch(name):
        raise UsageError(f"--name {name!r} is what a round of a run is called: choose another")


def commit_manifest(
    catalog: Catalog,
    manifest: Manifest,
    decisions: Path,
    round_facts: Mapping[str, Any] | None = None,
) -> Manifest:
    """Store a manifest with its ledger and return it, or the one of its name that decides the same.

    Args:
        decisions: Parquet file of the columns of the table `ledger` but the manifest's name.
        round_facts: the row of `rounds` of a manifest that is one, stored with it or not at all.

    Raises:
        UsageError: a manifest of this name decides differently.
    """
    with catalog.write() as connection:
        before = find_manifest(connection, manifest.name)
        if before is not None:
            if before.content_hash == manifest.content_hash:
                return before
            raise UsageError(
                f"a manifest called {manifest.name!r} exists and decides differently "
                f"({before.content_hash[:8]}, not {manifest.content_hash[:8]}): give another --name"
            )
        places = ", ".join("?" * len(manifest.row()))
        connection.execute(f"INSERT INTO manifests VALUES ({places}, now())", manifest.row())
        store_decisions(connection, manifest.name, manifest.parent, decisions)
        if round_facts is not None:
            columns = {name: [value] for name, value in round_facts.items()}
            insert(connection, "rounds", columns, replace_on=["run", "round"])
    return manifest


def delete_manifest(catalog: Catalog, name: str, *, dry_run: bool = False) -> int:
    """Delete a manifest with its ledger, in one transaction; return the number of decisions.

    Raises:
        UsageError: no manifest has this name, or runs, rounds, or other manifests refer to it.
        WorkspaceError: what an unfinished run wrote of itself is damaged.
    """
    get_manifest(catalog, name)  # where there is no catalog, writing would make one
    if dry_run:
        with catalog.read() as connection:
            return _deletable(catalog, connection, name)
    with catalog.write() as connection:
        count = _deletable(catalog, connection, name)
        for table in ("ledger", "differences", "set_shifts"):
            connection.execute(f"DELETE FROM {table} WHERE manifest = ?", [name])
        connection.execute("DELETE FROM manifests WHERE name = ?", [name])
    return count


def _deletable(catalog: Catalog, connection: duckdb.DuckDBPyConnection, name: str) -> int:
    """Count a manifest's decisions, where nothing refers to it."""
    manifest = find_manifest(connection, name)
    if manifest is None:
        raise no_manifest(connection, name)
    # Under the catalog's lock: a run that begins later finds the manifest gone, and says so.
    runs = unfinished_runs(catalog.workspace, name, manifest.content_hash)
    if runs:
        folders = _some([str(catalog.workspace / "runs" / run) for run in runs])
        raise UsageError(
            f"manifest {name!r} stays: unfinished run {_some(runs)} trains on it; finish it with "
            f"the same command, or give it up by removing {folders}"
        )
    found = connection.execute(_REFERRING, {"name": name}).fetchall()
    if found:
        named = _some([f"{kind} {one}" for kind, one in found])
        refer = "refers" if len(found) == 1 else "refer"
        raise UsageError(f"manifest {name!r} stays: {named} {refer} to it")
    row = one(connection, "SELECT count(*) FROM decisions WHERE manifest = ?", [name])
    return int(row[0]) if row else 0


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


# A round's manifest belongs to its run, and is named by it.
_REFERRING = """
SELECT 'manifest' AS kind, name FROM manifests WHERE parent = $name
UNION SELECT 'run', name FROM runs WHERE manifest = $name
UNION SELECT 'run', run FROM rounds WHERE manifest = $name
ORDER BY kind DESC, name
"""


def find_manifest(connection: duckdb.DuckDBPyConnection, name: str) -> Manifest | None:
    """Return a manifest by name, or None."""
    row = one(connection, f"SELECT {_FIELDS} FROM manifests WHERE name = ?", [name])
    return _manifest(row) if row else None


def get_manifest(catalog: Catalog, name: str) -> Manifest:
    """Return a manifest by name.

    Raises:
        UsageError: there is none; the message gives the nearest, or lists what there is.
    """
    with catalog.read() as connection:
        found = find_manifest(connection, name)
        if found is not None:
            return found
        raise no_manifest(connection, name)


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
