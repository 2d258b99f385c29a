"""From scores to decisions: filter, threshold, near-duplicates, class quota, budget, the reason.

Everything per image lives in a scratch DuckDB that spills to disk, so memory does not grow with
the pool. What is sorted there are numbers: the words of a reason are put together as the finished
ledger is written, and so is the map of the components.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.manifest import ranked
from curate.quotas import class_quotas
from curate.strategies import Scored
from curate.tables import connect
from index.catalog import literal, one
from index.parts import Ids


class Ledger:
    """The decisions of one selection, while they are made."""

    def __init__(self, scratch: Path, classes: int) -> None:
        """Open a scratch database in the folder `scratch` for K classes."""
        self.scratch = scratch
        self._classes = classes
        self._components: list[str] = []
        self._connection = connect(scratch, _MEMORY_LIMIT)
        self._connection.execute(
            "CREATE TABLE pool (image_id BIGINT, pseudo_label SMALLINT, score FLOAT)"
        )
        self._connection.execute("CREATE TABLE groups (image_id BIGINT, group_id BIGINT)")
        self._connection.execute("CREATE TABLE filtered (image_id BIGINT, filter VARCHAR)")

    def close(self) -> None:
        """Let go of the scratch database."""
        self._connection.close()

    def add(self, ids: Ids, scored: Scored, components: dict[str, NDArray[np.float32]]) -> None:
        """Add a batch of scored images; all batches have the same components."""
        if not self._components:
            self._components = list(components)
            for column in self._columns():
                self._connection.execute(f"ALTER TABLE pool ADD COLUMN {column} FLOAT")
        facts = {"image_id": ids, "pseudo_label": scored.pseudo_label, "score": scored.score}
        values = [components[name] for name in self._components]
        facts |= dict(zip(self._columns(), values, strict=True))
        self._connection.register("batch", facts)
        self._connection.execute("INSERT INTO pool BY NAME SELECT * FROM batch")
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
        self._table("thresholds", "threshold", thresholds)
        self._connection.execute(_JUDGE)
        available = self._counts("eligible")
        if per_class is not None:
            available = np.minimum(available, per_class)
        quota = None if per_class is None else available
        if budget is not None:
            shared = class_quotas(available, budget, balance)
            quota = quota if shared is None else shared
        self._table("quotas", "quota", quota)
        self._connection.execute(_PLACE.format(place="NULL" if quota is None else _BY_CLASS))
        limit = "NULL" if budget is None else str(int(budget))
        self._connection.execute(_DECIDE.format(budget=limit, components=self._map()))

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
            f"components, reason FROM decided) TO {literal(path)} (FORMAT parquet)"
        )
        return path

    def _columns(self) -> list[str]:
        return [f"c{number}" for number in range(len(self._components))]

    def _map(self) -> str:
        """Return SQL of the components as MAP(VARCHAR, FLOAT)."""
        if not self._components:
            return "MAP([]::VARCHAR[], []::FLOAT[])"
        pairs = ", ".join(
            f"{literal(name)}: {column}"
            for name, column in zip(self._components, self._columns(), strict=True)
        )
        # Eight times as fast as a map, which looks for equal keys in each row; but the names in a
        # struct are the same where they differ in case only.
        if len({name.casefold() for name in self._components}) == len(self._components):
            return f"{{{pairs}}}::MAP(VARCHAR, FLOAT)"
        return f"MAP {{{pairs}}}"

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


# Beyond this the scratch database spills into its folder.
_MEMORY_LIMIT = "1GB"

# What rules an image out whatever its score is: `barred`. Of a group of near-duplicates the best
# that no filter and no threshold rules out stays, so a group is never lost as a whole.
_JUDGE = """
CREATE VIEW judged AS
    SELECT p.*, threshold::FLOAT AS threshold, threshold IS NULL OR score > threshold::FLOAT AS passed
    FROM pool p JOIN thresholds USING (pseudo_label);
CREATE TABLE barred AS
WITH grouped AS (
    SELECT group_id, image_id, score FROM groups JOIN judged USING (image_id)
         ANTI JOIN filtered USING (image_id) WHERE passed
), kept AS (
    SELECT group_id, first(image_id ORDER BY score DESC, image_id) AS keeper
    FROM grouped GROUP BY group_id
)
SELECT image_id, filter AS barrier FROM filtered
UNION ALL
SELECT image_id, 'near-duplicate of ' || keeper FROM grouped JOIN kept USING (group_id)
WHERE keeper <> image_id;
CREATE VIEW eligible AS
    SELECT * EXCLUDE (passed) FROM judged ANTI JOIN barred USING (image_id) WHERE passed;
"""

_BY_CLASS = "row_number() OVER (PARTITION BY pseudo_label ORDER BY score DESC, image_id)"

_PLACE = """
CREATE TABLE placed AS
    SELECT e.*, quota, {place}::BIGINT AS place FROM eligible e JOIN quotas USING (pseudo_label)
"""

# `barrier` is the first reason that rules an image out, `place` is that in its class, `overall`
# that among those whose class has room. The order by image makes the ledger the same whatever the
# order of the pool, and one image's row quick to find.
_DECIDE = """
CREATE TABLE ordered AS
SELECT * FROM (
    SELECT *, row_number() OVER (ORDER BY score DESC, image_id) AS overall, NULL AS barrier
    FROM placed WHERE quota IS NULL OR place <= quota
    UNION ALL BY NAME SELECT * FROM placed WHERE place > quota
    UNION ALL BY NAME SELECT * EXCLUDE (passed), false AS eligible
    FROM judged LEFT JOIN barred USING (image_id) WHERE barrier IS NOT NULL OR NOT passed
) ORDER BY image_id;
DROP TABLE placed;
CREATE VIEW decided AS
WITH limited AS (
    SELECT *, {budget}::BIGINT AS budget, overall <= coalesce(budget, overall) AS taken FROM ordered
)
SELECT image_id, pseudo_label, score, threshold, {components} AS components, 1.0::FLOAT AS weight,
       coalesce(eligible, true) AS eligible, coalesce(taken, false) AS selected,
       CASE WHEN taken THEN overall::INTEGER END AS "rank",
       CASE WHEN barrier IS NOT NULL THEN barrier
            WHEN NOT eligible
            THEN printf('below class threshold %.3f <= %.3f', score, threshold)
            WHEN overall IS NULL THEN printf('class quota full: place %d of %d', place, quota)
            WHEN NOT taken THEN printf('budget full: place %d of %d', overall, budget)
            WHEN threshold IS NOT NULL
            THEN printf('selected: above class threshold %.3f > %.3f', score, threshold)
            ELSE 'selected: score within the budget' END AS reason
FROM limited
"""
