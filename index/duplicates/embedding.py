"""Near-duplicates by embedding: cosine above a bound, through FAISS and union-find."""

from __future__ import annotations

import math
import re

import numpy as np

from index.catalog import Catalog, one
from index.choice import EXACT, wrapped
from index.cosines import StoredVectors, pair_cosines
from index.duplicates.unions import Unions
from index.errors import UsageError
from index.neighbours import index_facts, open_index
from index.parts import Ids, places
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

    Each image is joined with those of its 32 nearest neighbours whose cosine, by the stored
    vectors, is at least `cosine`; groups are the connected parts. The neighbours are those that the
    index sees: where it is not exact (see `recall_at_10`), some are missed, never too many joined;
    `progress` is told. Memory is some 24 bytes an image beside the index, never a square matrix.

    Returns:
        ids (n,) of the images in groups of two or more, and their group (n,): its smallest id.
    """
    index, facts = open_index(catalog, embedder), index_facts(catalog, embedder)
    if facts and wrapped(facts.factory) != EXACT:
        (progress or Silent()).say(
            f"near-duplicates are looked for among the neighbours that {facts.factory} finds "
            f"(recall@10 {facts.recall_at_10}), so some may be missed: build-index --index Flat "
            "finds them all"
        )
    slack = _rounding(facts.factory if facts else EXACT)
    stored = StoredVectors(catalog, embedder)
    unions = Unions(len(stored.ids))
    with (progress or Silent()).step("Near-duplicates", len(stored.ids), "images") as advance:
        for part_ids, part_vectors in live_vectors(catalog, embedder):
            for start in range(0, len(part_ids), _BLOCK):
                block = slice(start, start + _BLOCK)
                ids, vectors = part_ids[block], part_vectors[block]
                seen, found = index.search(vectors, min(_NEIGHBOURS, len(stored.ids)))
                likely = (found >= 0) & (found != ids[:, None]) & (seen >= cosine - slack)
                row, column = np.nonzero(likely)
                theirs = found[row, column]
                near = pair_cosines(stored, vectors, row, theirs) >= cosine
                unions.join(places(stored.ids, ids[row[near]]), places(stored.ids, theirs[near]))
                advance(len(ids))
    return unions.groups(stored.ids)


def _rounding(factory: str) -> float:
    """By how much an index may see two vectors farther from each other than they are.

    A byte a component hardly moves a cosine; what fewer bits do is not bounded here.
    """
    if "PQ" in factory or re.search("SQ(?!8|fp16|bf16)", factory):
        return math.inf
    return 0.05 if "SQ8" in factory else 0.01
