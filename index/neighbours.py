"""The FAISS index over an embedder's vectors, keyed by image id."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.catalog import Catalog, insert, one
from index.errors import WorkspaceError
from index.files import atomic_path, file_sha256
from index.parts import Ids, Part, list_parts, read_part
from index.progress import Progress, Silent

FACTORY = "IDMap2,Flat"
METRIC = "cosine"


def faiss_module() -> Any:
    """Import FAISS in one place: beside torch on macOS two OpenMP runtimes clash."""
    if sys.platform == "darwin":
        os.environ.setdefault("KMP_DUPLICATE_LIB_OK", "TRUE")
    import faiss

    if sys.platform == "darwin":
        faiss.omp_set_num_threads(1)
    return faiss


def live_vectors(
    catalog: Catalog, embedder: str, first_part: int = 0
) -> Iterator[tuple[Ids, NDArray[np.float32]]]:
    """Yield per part the ids (n,) and unit-norm vectors (n, dim) that the catalog refers to."""
    with catalog.read() as connection:
        parts = list_parts(connection, f"vectors/{embedder}")
    for part in parts:
        if part.part >= first_part:
            ids, vectors = read_part(catalog.workspace, part)
            rows = _live_rows(catalog, embedder, part)
            yield ids[rows], unit_norm(vectors[rows].astype(np.float32))


def unit_norm(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale rows to unit length; a zero row stays zero."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(norms > 0, norms, 1.0)).astype(np.float32, copy=False)


def update_index(
    catalog: Catalog, embedder: str, dim: int, progress: Progress | None = None
) -> str:
    """Add what the index lacks, or build it anew where it is missing, stale, or damaged.

    Returns the index's factory string. The file is replaced only when it is whole; the parts
    remain the truth, so a damaged index costs time and never data.
    """
    faiss = faiss_module()
    path = index_path(catalog.workspace, embedder)
    with catalog.read() as connection:
        parts = list_parts(connection, f"vectors/{embedder}")
        recorded = one(
            connection, "SELECT parts, sha256 FROM indexes WHERE embedder = ?", [embedder]
        )
    whole = recorded is not None and path.is_file() and file_sha256(path) == recorded[1]
    if whole and recorded is not None and recorded[0] == len(parts):
        return FACTORY
    index = (
        faiss.read_index(str(path))
        if whole
        else faiss.index_factory(dim, FACTORY, faiss.METRIC_INNER_PRODUCT)
    )
    first = recorded[0] if whole and recorded is not None else 0
    with (progress or Silent()).step("Indexing", len(parts) - first, "parts") as advance:
        for ids, vectors in live_vectors(catalog, embedder, first):
            index.add_with_ids(vectors, ids)
            advance(1)
    _publish(catalog, embedder, index, len(parts))
    return FACTORY


def open_index(catalog: Catalog, embedder: str) -> Any:
    """Open the index after checking it against the catalog.

    Raises:
        WorkspaceError: it is missing, damaged, or older than the vectors; says which command mends.
    """
    path = index_path(catalog.workspace, embedder)
    with catalog.read() as connection:
        row = one(connection, "SELECT sha256, vectors FROM indexes WHERE embedder = ?", [embedder])
    remedy = "run the same build-index again: it rebuilds the index from the stored vectors"
    if row is None or not path.is_file():
        raise WorkspaceError(f"no FAISS index at {path}: {remedy}")
    if file_sha256(path) != row[0]:
        raise WorkspaceError(f"{path} is not the file that the catalog recorded: {remedy}")
    return faiss_module().read_index(str(path))


def index_path(workspace: Path, embedder: str) -> Path:
    """Return where the index of an embedder lies."""
    return workspace / "vectors" / embedder / "index.faiss"


def _live_rows(catalog: Catalog, embedder: str, part: Part) -> NDArray[np.int64]:
    """A part may hold vectors that nothing refers to, left by a build beside a busy catalog."""
    query = 'SELECT "row" FROM vectors WHERE embedder = ? AND part = ? ORDER BY 1'
    with catalog.read() as connection:
        found = connection.execute(query, [embedder, part.part]).fetchnumpy()
    return np.asarray(found["row"], dtype=np.int64)


def _publish(catalog: Catalog, embedder: str, index: Any, parts: int) -> None:
    path = index_path(catalog.workspace, embedder)
    with atomic_path(path) as temporary:
        # Through Python's file: FAISS's own drops an error of its last flush.
        with temporary.open("wb") as file:
            faiss = faiss_module()
            faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))
        facts = {
            "embedder": embedder,
            "factory": FACTORY,
            "vectors": index.ntotal,
            "width": index.d,
            "parts": parts,
            "sha256": file_sha256(temporary),
        }
        with catalog.write() as connection:
            columns = {name: [value] for name, value in facts.items()}
            insert(connection, "indexes", columns, replace_on=["embedder"])
        # Before the index itself: killed in between, the index does not fit and both are remade.
        with atomic_path(path.with_name("index.json")) as described:
            described.write_text(json.dumps({**facts, "metric": METRIC}, indent=2) + "\n")
