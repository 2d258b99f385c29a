"""From scores to decisions: filter, threshold, near-duplicates, class quota, budget, the reason.

Everything per image lives in a scratch DuckDB file that spills to disk, so memory does not grow
with the pool. The steps are SQL over one table, in the order in which the reasons are given.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from curate.manifest import ranked
from curate.quotas import class_quotas
from curate.strategies import Scored
from index.catalog import literal, one
from index.parts import Ids


class Ledger:
    """The decisions of one selection, while they are made."""

    def __init__(self, scratch: Path, classes: int) -> None:
        """Open a scratch database in the folder `scratch` for K classes."""
        self.scratch = scratch
        self._classes = classes
        self._connection = duckdb.connect(scratch / "ledger.duckdb")
        self._connection.execute(
            "CREATE TABLE pool (image_id BIGINT, pseudo_label SMALLINT, score FLOAT, "
            "importance FLOAT, components MAP(VARCHAR, FLOAT))"
        )
        self._connection.execute("CREATE TABLE groups (image_id BIGINT, group_id BIGINT)")
        self._connection.execute("CREATE TABLE filtered (image_id BIGINT, filter VARCHAR)")

    def close(self) -> None:
        """Let go of the scratch database."""
        self._connection.close()

    def add(
        self,
        ids: Ids,
        scored: Scored,
        components: dict[str, NDArray[np.float32]],
        importance: NDArray[np.float32] | None = None,
    ) -> None:
        """Add a batch of scored images, whose weights are by their `importance` (n,), else 1."""
        if importance is None:
            importance = np.ones(len(ids), np.float32)
        facts = {"image_id": ids, "pseudo_label": scored.pseudo_label, "score": scored.score}
        facts["importance"] = importance
        values = {f"c{i}": column for i, column in enumerate(components.values())}
        self._connection.register("batch", facts | values)
        pairs = ", ".join(f"{literal(name)}: c{i}" for i, name in enumerate(components))
        self._connection.execute(
            "INSERT INTO pool SELECT image_id, pseudo_label, score, importance, "
            f"MAP {{{pairs}}} FROM batch"
        )
        self._connection.unregister("batch")

    def add_groups(self, ids: Ids, groups: Ids) -> None:
        """Add the near-duplicate groups of two images and more."""
        self._connection.register("found", {"image_id": ids, "group_id": groups})
        self._connection.execute("INSERT INTO groups SELECT image_id, group_id FROM found")
        self._connection.unregister("found")

    def add_filtered(self, parquet: Path) -> None:
        """Rule out the images of a file, whatever their score: image_id, and why as `filter`."""
        self._connection.execute(
            f"INSERT INTO filtered SELECT image_id, filter FROM read_parquet({literal(parquet)})"
        )

    def keep_only(self, parquet: Path) -> None:
        """Forget the images whose image_id a file does not hold: they are not of this pool."""
        kept = f"SELECT image_id FROM read_parquet({literal(parquet)})"
        for table in ("pool", "groups", "filtered"):
            self._connection.execute(f"DELETE FROM {table} WHERE image_id NOT IN ({kept})")

    def class_counts(self) -> NDArray[np.int64]:
        """Count the images that no filter rules out by pseudo-label, (K,)."""
        return self._counts("pool ANTI JOIN filtered USING (image_id)")

    def decide(
        self,
        thresholds: NDArray[np.float64] | None,
        budget: int | None,
        balance: str,
        per_class: int | None,
    ) -> None:
        """Decide every image and say why.

        Args:
            thresholds: (K,) the score that an image of the class must exceed, or None.
            budget: images to take in all; None takes all that are eligible.
            balance: how the budget is shared among classes; see `class_quotas`.
            per_class: most images of a class, or None; the budget is shared among what it leaves.
        """
        self._mark_eligible(thresholds)
        available = self._counts("marked WHERE barrier IS NULL")
        if per_class is not None:
            available = np.minimum(available, per_class)
        quota = None if per_class is None else available
        if budget is not None:
            shared = class_quotas(available, budget, balance)
            quota = quota if shared is None else shared
        self._table("quotas", "quota", quota)
        limit = "NULL" if budget is None else str(int(budget))
        self._connection.execute(_DECIDE.format(budget=limit))

    def counts(self) -> tuple[int, int, int]:
        """Return the number of images in the pool, eligible, and selected."""
        row = one(
            self._connection,
            "SELECT count(*), count(*) FILTER (eligible), count(*) FILTER (selected) FROM decided",
        )
        assert row is not None
        return int(row[0]), int(row[1]), int(row[2])

    def selected(self) -> Iterator[dict[str, Any]]:
        """Yield the selected images in order of rank, as columns, a bounded number at a time."""
        return ranked(self._connection, "decided", self.counts()[2])

    def write_parquet(self) -> Path:
        """Write all decisions, without the manifest's name, and return the file."""
        path = self.scratch / "decisions.parquet"
        self._connection.execute(
            'COPY (SELECT image_id, selected, "rank", pseudo_label, weight, score, threshold, '
            f"components, reason FROM decided ORDER BY image_id) "
            f"TO {literal(path)} (FORMAT parquet)"
        )
        return path

    def _mark_eligible(self, thresholds: NDArray[np.float64] | None) -> None:
        self._table("thresholds", "threshold", thresholds)
        self._connection.execute(_MARK)

    def _table(self, name: str, column: str, values: NDArray[Any] | None) -> None:
        """Make a table of one value a class, NULL where there is none."""
        kind = "DOUBLE" if name == "thresholds" else "BIGINT"
        self._connection.execute(f"CREATE TABLE {name} (pseudo_label SMALLINT, {column} {kind})")
        rows = [
            (label, None if values is None else values[label].item())
            for label in range(self._classes)
        ]
        self._connection.executemany(f"INSERT INTO {name} VALUES (?, ?)", rows)

    def _counts(self, source: str) -> NDArray[np.int64]:
        found = self._connection.execute(
            f"SELECT pseudo_label, count(*) FROM {source} GROUP BY pseudo_label"
        ).fetchall()
        counts = np.zeros(self._classes, dtype=np.int64)
        for label, count in found:
            counts[label] = count
        return counts


# `barrier` is the first reason that rules an image out, NULL for the eligible. Of a group of
# near-duplicates the best that no filter and no threshold rules out stays, so a group is never
# lost as a whole.
_MARK = """
CREATE TABLE marked AS
WITH judged AS (
    SELECT p.*, t.threshold::FLOAT AS threshold, coalesce(g.group_id, p.image_id) AS group_id,
           f.filter, f.filter IS NULL AND (t.threshold IS NULL OR p.score > t.threshold) AS passed
    FROM pool p JOIN thresholds t USING (pseudo_label) LEFT JOIN groups g USING (image_id)
         LEFT JOIN filtered f USING (image_id)
), kept AS (
    SELECT group_id, first(image_id ORDER BY score DESC, image_id) AS keeper
    FROM judged WHERE passed GROUP BY group_id
)
SELECT j.* EXCLUDE (passed, group_id, filter),
       CASE WHEN filter IS NOT NULL THEN filter
            WHEN NOT passed THEN printf('below class threshold %.3f <= %.3f', score, threshold)
            WHEN keeper <> image_id THEN 'near-duplicate of ' || keeper END AS barrier
FROM judged j LEFT JOIN kept USING (group_id)
"""

# Weights have a mean of 1 over what is selected. Sums of integers do not depend on their order.
_DECIDE = """
CREATE TABLE decided AS
WITH in_class AS (
    SELECT m.*, q.quota, row_number() OVER (
        PARTITION BY m.pseudo_label, m.barrier IS NULL ORDER BY m.score DESC, m.image_id) AS place
    FROM marked m JOIN quotas q USING (pseudo_label)
), limited AS (
    SELECT *, barrier IS NULL AND (quota IS NULL OR place <= quota) AS within_quota FROM in_class
), ranked AS (
    SELECT *, row_number() OVER (
        PARTITION BY within_quota ORDER BY score DESC, image_id) AS overall,
        {budget}::BIGINT AS budget
    FROM limited
), judged AS MATERIALIZED (
    SELECT *, within_quota AND (budget IS NULL OR overall <= budget) AS taken FROM ranked
), usual AS (
    SELECT avg((importance * 1048576)::BIGINT) / 1048576 AS mean_importance FROM judged WHERE taken
)
SELECT image_id, pseudo_label, score, threshold, components,
       (importance / mean_importance)::FLOAT AS weight,
       barrier IS NULL AS eligible,
       taken AS selected, CASE WHEN taken THEN overall::INTEGER END AS "rank",
       CASE WHEN barrier IS NOT NULL THEN barrier
            WHEN NOT within_quota THEN printf('class quota full: place %d of %d', place, quota)
            WHEN budget IS NOT NULL AND overall > budget
            THEN printf('budget full: place %d of %d', overall, budget)
            WHEN threshold IS NOT NULL
            THEN printf('selected: above class threshold %.3f > %.3f', score, threshold)
            ELSE 'selected: score within the budget' END AS reason
FROM judged, usual
"""
