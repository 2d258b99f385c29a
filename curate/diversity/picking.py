"""From the eligible images of each class to picks: candidates out of the ledger, picks back in."""

from __future__ import annotations

import duckdb
import numpy as np

from curate.diversity.base import (
    CANDIDATES_A_PICK,
    Candidates,
    Method,
    Picks,
    nearest_taken,
    whole,
)
from curate.ledger import Ledger
from index.catalog import Catalog, insert, literal
from index.progress import Progress
from index.vectors import copy_vectors, unit_norm

# So many candidates at once: their vectors are in memory, and k-centre compares each with a
# quarter of them.
AT_ONCE = 20_000


def pick_diverse(
    ledger: Ledger,
    catalog: Catalog,
    embedder: str,
    method: Method,
    seed: int,
    progress: Progress,
    at_once: int = AT_ONCE,
) -> None:
    """Pick within the quotas of a ledger, and leave the picks in its table `picks`.

    Candidates are the eligible images of a class up to the place of 4 times its quota. A class
    that has no more than its quota has none: all of it is taken. More than 20,000 are dealt out by
    their places, like cards, into groups of that size at most, each with its part of the quota;
    images of different groups are not compared. The vectors of all candidates pass through a file
    beside the ledger (2 bytes a value), so memory holds one group whatever the pool.

    Raises:
        WorkspaceError: a candidate has no vector of this embedder.
    """
    connection = ledger.connection
    connection.execute(_CANDIDATES.format(at_once=at_once))
    connection.execute(_PICKS)
    groups = connection.execute(_GROUPS).fetchall()
    if not groups:
        return
    wanted = ledger.scratch / "candidates.parquet"
    connection.execute(f"COPY candidates TO {literal(wanted)} (FORMAT parquet)")
    vectors = copy_vectors(catalog, embedder, wanted, ledger.scratch / "candidates.f16")
    with progress.step("Picking", sum(picks for *_, picks in groups), "images") as advance:
        for first, count, picks in groups:
            rows = connection.execute(_GROUP, [first, first + count]).fetchnumpy()
            theirs = whole(unit_norm(vectors[first : first + count].astype(np.float32)))
            candidates = Candidates(np.asarray(rows["image_id"]), rows["place"], theirs)
            _store(connection, candidates, method.pick(candidates, picks, seed))
            advance(picks)


def _store(connection: duckdb.DuckDBPyConnection, candidates: Candidates, picks: Picks) -> None:
    """Add a row for each candidate: when it was picked, or what is nearest to it of the picks."""
    pick = np.zeros(len(candidates), np.int64)
    pick[picks.taken] = np.arange(1, len(picks.taken) + 1)
    added = np.zeros(len(candidates))
    added[picks.taken] = picks.added
    nearest, cosine = nearest_taken(candidates.vectors, np.sort(picks.taken))
    columns = {
        "image_id": candidates.ids,
        "pick": pick,
        "picks": np.full(len(candidates), len(picks.taken)),
        "added": added,
        "nearest": candidates.ids[nearest],
        "cosine": cosine,
    }
    insert(connection, "picks", columns)


_CANDIDATES = f"""
CREATE TABLE candidates AS
WITH placed AS (
    SELECT image_id, pseudo_label, count(*) OVER (PARTITION BY pseudo_label) AS available,
           row_number() OVER (PARTITION BY pseudo_label ORDER BY score DESC, image_id) AS place
    FROM marked WHERE barrier IS NULL
), best AS (
    SELECT p.*, quota, least(available, {CANDIDATES_A_PICK} * quota) AS there,
           (there + {{at_once}} - 1) // {{at_once}} AS groups, (place - 1) % groups AS dealt
    FROM placed p JOIN quotas USING (pseudo_label)
    WHERE available > quota AND place <= {CANDIDATES_A_PICK} * quota
)
SELECT image_id, place, pseudo_label, dealt,
       quota // groups + (dealt < quota % groups)::BIGINT AS picks,
       row_number() OVER (ORDER BY pseudo_label, dealt, image_id) - 1 AS position
FROM best ORDER BY position
"""

_GROUPS = """
SELECT min(position), count(*), any_value(picks) FROM candidates
GROUP BY pseudo_label, dealt ORDER BY 1
"""

_GROUP = """
SELECT image_id, place FROM candidates WHERE position >= ? AND position < ? ORDER BY position
"""

_PICKS = """
CREATE TABLE picks (
    image_id BIGINT, pick BIGINT, picks BIGINT, added DOUBLE, nearest BIGINT, cosine DOUBLE)
"""
