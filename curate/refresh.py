"""Which images a round asks the student about again; of the others it takes what was said last."""

from __future__ import annotations

import duckdb
import numpy as np
from numpy.typing import NDArray

from distill.freshness import Places, RecentLogits

# Passes for each image trained on. A trained one costs a teacher's pass and a student's forth and
# back, five times a pass and more, so this is a twenty-fifth of the training at most.
SHARE = 0.2


def due(recent: RecentLogits, distance: NDArray[np.float32]) -> Places:
    """Choose what to ask about: a `SHARE` of the images trained on since the last round.

    One half are those not heard of for longest, so that none is forgotten; the other are the
    nearest to being decided otherwise. Ties go to the nearer image, then to the smaller id.

    Args:
        recent: what is known of N images, by ascending id.
        distance: (N,) of the score to what its class has to reach; infinite where no score
            changes the decision.

    Returns:
        Places, ascending, at most as many as there are finite distances.
    """
    open_, budget = np.isfinite(distance), int(SHARE * recent.trained)
    oldest = _first(np.lexsort((distance, recent.steps)), open_, budget - budget // 2)
    left = open_ & (recent.steps < recent.now)
    left[oldest] = False
    nearest = _first(np.argsort(distance, kind="stable"), left, budget // 2)
    return np.sort(np.concatenate([oldest, nearest]))


def _first(order: Places, among: NDArray[np.bool_], count: int) -> Places:
    return order[among[order]][:count]


def distances(connection: duckdb.DuckDBPyConnection, decisions: str) -> NDArray[np.float32]:
    """How far each image was from being decided otherwise, (N,) by ascending id.

    That is from its score to the least that was selected of its class, or where none was, to its
    threshold. It is infinite for what a filter rules out.

    Args:
        decisions: SQL of a relation with the columns of `decisions` but `why`, of one manifest.
    """
    found = connection.execute(_DISTANCES.format(decisions=decisions)).fetchnumpy()
    return np.asarray(found["distance"], dtype=np.float32)


_DISTANCES = """
WITH own AS (SELECT image_id, pseudo_label, selected, score, threshold, reason FROM {decisions}),
bars AS (
    SELECT pseudo_label, coalesce(min(score) FILTER (selected), min(threshold), 0) AS bar
    FROM own GROUP BY pseudo_label
)
SELECT CASE WHEN starts_with(reason, 'filtered:') OR starts_with(reason, 'placeholder:')
            THEN 'inf'::FLOAT ELSE abs(score - bar) END AS distance
FROM own JOIN bars USING (pseudo_label) ORDER BY image_id
"""
