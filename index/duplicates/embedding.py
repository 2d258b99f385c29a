"""Near-duplicates by embedding: cosine above a bound, through FAISS and union-find."""

from __future__ import annotations

from typing import Any

import numpy as np

from index.catalog import Catalog, one
from index.choice import EXACT, wrapped
from index.duplicates.unions import Unions
from index.errors import UsageError
from index.faissing import faiss_module
from index.neighbours import index_facts, open_index
from index.parts import Ids
from index.progress import Progress, Silent
from index.vectors import live_vectors

_NEIGHBOURS = 32
_BLOCK = 4096


def check_cosine(cosine: float, option: str) -> None:
    """Refuse what no bound of a cosine can be.

    Raises:
        UsageError: it is not above 0 and at most 1; the message names the option.
    """
    if not 0 < cosine <= 1:
        raise UsageError(f"{option} is {cosine}: a cosine above 0 and at most 1")


def first_embedder(catalog: Catalog) -> str | None:
    """Return the embedder whose index finds near-duplicates: the one that was built first."""
    with catalog.read() as connection:
        row = one(
            connection,
            "SELECT embedder FROM indexes i LEFT JOIN models m ON m.key = i.embedder "
            "ORDER BY m.added_at NULLS LAST, embedder LIMIT 1",
        )
    return row[0] if row else None


def near_duplicate_groups(
    catalog: Catalog, embedder: str, cosine: float, progress: Progress | None = None
) -> tuple[Ids, Ids]:
    """Find the images that share a group with another one.

    Each image is joined with those of its 32 nearest neighbours whose cosine is at least
    `cosine`; groups are the connected parts. Both are as the index sees them: where it is not
    exact (see `recall_at_10`), some are missed, and one that rounds vectors (SQ, PQ) rounds their
    cosines too; `progress` is told. Memory is two int64 per image beside the index, never a square
    matrix.

    Returns:
        ids (n,) of the images in groups of two or more, and their group (n,): its smallest id.
    """
    index, facts = open_index(catalog, embedder), index_facts(catalog, embedder)
    if facts and wrapped(facts.factory) != EXACT:
        (progress or Silent()).say(
            f"near-duplicates are as {facts.factory} sees them (recall@10 {facts.recall_at_10}): "
            "build-index --index Flat makes them exact"
        )
    all_ids = np.sort(_all_ids(index))
    unions = Unions(len(all_ids))
    with (progress or Silent()).step("Near-duplicates", len(all_ids), "images") as advance:
        for ids, vectors in live_vectors(catalog, embedder):
            for start in range(0, len(ids), _BLOCK):
                block = slice(start, start + _BLOCK)
                near, found = index.search(vectors[block], min(_NEIGHBOURS, len(all_ids)))
                row, column = np.nonzero((near >= cosine) & (found >= 0))
                theirs = np.searchsorted(all_ids, found[row, column])
                unions.join(np.searchsorted(all_ids, ids[block][row]), theirs)
                advance(len(ids[block]))
    return unions.groups(all_ids)


def _all_ids(index: Any) -> Ids:
    return np.array(faiss_module().vector_to_array(index.id_map), dtype=np.int64)
