"""Near-duplicate groups: embedding cosine above a bound, through FAISS and union-find."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from index.catalog import Catalog
from index.choice import EXACT
from index.faissing import faiss_module
from index.neighbours import index_facts, open_index
from index.parts import Ids
from index.progress import Progress, Silent
from index.vectors import live_vectors

_NEIGHBOURS = 32
_BLOCK = 4096


def near_duplicate_groups(
    catalog: Catalog, embedder: str, cosine: float, progress: Progress | None = None
) -> tuple[Ids, Ids]:
    """Find the images that share a group with another one.

    Each image is joined with those of its 32 nearest neighbours whose cosine is at least
    `cosine`; groups are the connected parts. Both are as the index sees them: where it is not
    exact (see `recall_at_10`), some are missed, and one that rounds vectors (SQ, PQ) rounds their
    cosines too; `progress` is told. Memory is two int64 per image beside the index,
    never a square matrix.

    Returns:
        ids (n,) of the images in groups of two or more, and their group (n,): its smallest id.
    """
    index, facts = open_index(catalog, embedder), index_facts(catalog, embedder)
    if facts and facts.factory != EXACT:
        (progress or Silent()).say(
            f"near-duplicates are as {facts.factory} sees them (recall@10 {facts.recall_at_10}): "
            "build-index --index Flat makes them exact"
        )
    all_ids = np.sort(_all_ids(index))
    parent = np.arange(len(all_ids))
    with (progress or Silent()).step("Near-duplicates", len(all_ids), "images") as advance:
        for ids, vectors in live_vectors(catalog, embedder):
            for start in range(0, len(ids), _BLOCK):
                block = slice(start, start + _BLOCK)
                near, found = index.search(vectors[block], min(_NEIGHBOURS, len(all_ids)))
                _join(parent, all_ids, ids[block], np.where(near >= cosine, found, -1))
                advance(len(ids[block]))
    root = _roots(parent)
    shared = np.bincount(root, minlength=len(root))[root] > 1
    # Roots are the smallest position of a group, and positions are sorted by id.
    return all_ids[shared], all_ids[root[shared]]


def _all_ids(index: object) -> Ids:
    return np.array(faiss_module().vector_to_array(index.id_map), dtype=np.int64)  # type: ignore[attr-defined]


def _join(parent: NDArray[np.int64], all_ids: Ids, ids: Ids, found: NDArray[np.int64]) -> None:
    row, column = np.nonzero((found >= 0) & (found != ids[:, None]))
    ours = np.searchsorted(all_ids, ids[row])
    theirs = np.searchsorted(all_ids, found[row, column])
    for a, b in zip(ours.tolist(), theirs.tolist(), strict=True):
        low, high = sorted((_find(parent, a), _find(parent, b)))
        parent[high] = low


def _find(parent: NDArray[np.int64], node: int) -> int:
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = int(parent[node])
    return node


def _roots(parent: NDArray[np.int64]) -> NDArray[np.int64]:
    while True:
        shorter = parent[parent]
        if np.array_equal(shorter, parent):
            return parent
        parent = shorter
