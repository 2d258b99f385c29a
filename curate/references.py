"""Reference sets: images that stand for what the teacher was trained on, beside the pool."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.catalog import Catalog, insert, one
from index.errors import WorkspaceError
from index.files import atomic_path, file_sha256
from index.parts import Ids, Rows
from index.vectors import unit_norm

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Reference:
    """A reference set: ids (r,) ascending, unit-norm vectors (r, D), the teacher's logits (r, K).

    The vectors are the pool's embedder's. `key` is the same for the same images and networks.
    """

    key: str
    ids: Ids
    vectors: Floats
    logits: Floats
    sources: list[str]

    @property
    def labels(self) -> NDArray[np.int64]:
        """The teacher's pseudo-labels (r,): labels of its own are never asked for."""
        labels: NDArray[np.int64] = self.logits.argmax(axis=1)
        return labels


def reference_key(ids: Ids, embedder: str, teacher: str) -> str:
    """Return the key of a reference set of ids (r,), in any order, as these networks see it."""
    digest = hashlib.sha256(np.sort(ids).astype("<i8").tobytes())
    digest.update(f"{embedder}\n{teacher}".encode())
    return digest.hexdigest()[:16]


def stored_reference(catalog: Catalog, key: str) -> Reference:
    """Read a reference set back.

    Raises:
        WorkspaceError: the catalog knows none of this key, or its file is not what was written.
    """
    row = _row(catalog, "key = ?", [key])
    if row is None:
        raise WorkspaceError(
            f"{catalog.path} knows no reference set {key}: give select its --reference again"
        )
    path, sources = catalog.workspace / row["file"], json.loads(row["sources"])
    if not _is_whole(path, row["sha256"]):
        again = " ".join(f"--reference {source}" for source in sources)
        raise WorkspaceError(
            f"{path} is missing or damaged: select with {again} makes it again from the images"
        )
    with np.load(path, allow_pickle=False) as arrays:
        ids, vectors, logits = (arrays[name] for name in ("ids", "vectors", "logits"))
    widened = vectors.astype(np.float32)
    return Reference(key, ids, unit_norm(widened), logits.astype(np.float32), sources)


def store_reference(
    catalog: Catalog,
    sources: Sequence[str],
    listing: str | None,
    networks: tuple[str, str],
    ids: Ids,
    vectors: Rows,
    logits: Rows,
) -> Reference:
    """Store what (embedder, teacher) make of images with ascending ids, and read it back."""
    embedder, teacher = networks
    key = reference_key(ids, embedder, teacher)
    file = f"references/{key}.npz"
    with atomic_path(catalog.workspace / file) as temporary, temporary.open("wb") as stream:
        np.savez(stream, ids=ids, vectors=vectors, logits=logits)
    row = {
        "key": key,
        "sources": json.dumps(list(sources)),
        "listing": listing,
        "embedder": embedder,
        "teacher": teacher,
        "images": len(ids),
        "file": file,
        "sha256": file_sha256(catalog.workspace / file),
    }
    with catalog.write() as connection:
        now = one(connection, "SELECT now()")
        columns = {name: [value] for name, value in row.items()} | {"created_at": list(now or ())}
        insert(connection, "reference_sets", columns, replace_on=["key"])
    return stored_reference(catalog, key)


def relist_reference(
    catalog: Catalog, key: str, sources: Sequence[str], listing: str | None
) -> None:
    """Remember that the images of a stored set lie in these sources too."""
    with catalog.write() as connection:
        connection.execute(
            "UPDATE reference_sets SET sources = ?, listing = ? WHERE key = ?",
            [json.dumps(list(sources)), listing, key],
        )


def known_reference(
    catalog: Catalog, networks: tuple[str, str], *, key: str = "", listing: str = ""
) -> Reference | None:
    """Return the set of this key, or read from sources of this listing, if its file is whole."""
    row = _row(
        catalog,
        "embedder = ? AND teacher = ? AND (key = ? OR listing = ?)",
        [*networks, key, listing],
    )
    if row is None or not _is_whole(catalog.workspace / row["file"], row["sha256"]):
        return None
    return stored_reference(catalog, row["key"])


def _is_whole(path: Path, sha256: str) -> bool:
    return path.is_file() and file_sha256(path) == sha256


def _row(catalog: Catalog, where: str, parameters: list[str]) -> dict[str, Any] | None:
    names = ("key", "sources", "file", "sha256")
    query = f"SELECT {', '.join(names)} FROM reference_sets WHERE {where} LIMIT 1"
    with catalog.read() as connection:
        row = one(connection, query, parameters)
    return dict(zip(names, row, strict=True)) if row else None
