"""From scores to decisions: filter, threshold, near-duplicates, class quota, budget, the reason.

Diversity, where it is asked for, stands between quota and budget: `curate.diversity` reads the
candidates from the ledger's database and leaves its picks there.

Everything per image lives in a scratch DuckDB that spills to disk, so memory does not grow with
the pool. What is sorted there are numbers: the words of a reason are put together as the finished
ledger is written, and so is the map of the components.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from curate.ledger_steps import (
    BEST,
    BY_IMPORTANCE,
    BY_PICKS,
    BY_SCORE,
    DECIDE,
    MARK,
    PLACE_IN_CLASS,
)
from curate.manifest import ranked
from curate.quotas import class_quotas
from curate.strategies import Scored
from curate.tables import connect
from index.catalog import insert, literal, one
from index.parts import Ids

# Beyond this the scratch database spills into its folder.
_MEMORY_LIMIT = "1GB"


class Ledger:
    """The decisions of one selection, while they are made."""

    def __init__(self, scratch: Path, classes: int) -> None:
        """Open a scratch database in the folder `scratch` for K classes."""
        self.scratch = scratch
        self._classes = classes
        self._components: list[str] = []
        self._has_quotas = self._is_weighed = False
        self._connection = connect(scratch, _MEMORY_LIMIT)
        self._connection.execute(
            "CREATE TABLE pool (image_id BIGINT, pseudo_label SMALLINT, score FLOAT)"
        )
        self._connection.execute("CREATE TABLE groups (image_id BIGINT, group_id BIGINT)")
        self._connection.execute("CREATE TABLE filtered (image_id BIGINT, filter VARCHAR)")

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """The scratch database: with a view `marked` after `mark`, a table `quotas` after `share`.

        Of `marked`, `barrier` is NULL for the eligible.
        """
        return self._connection

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
        """Add a batch of scored images, whose weights are by their `importance` (n,), else 1.

        All batches have the same components, and all or none an importance.
        """
        if not self._components:
            self._components = list(components)
            for column in self._columns():
                self._connection.execute(f"ALTER TABLE pool ADD COLUMN {column} FLOAT")
        if importance is not None and not self._is_weighed:
            self._is_weighed = True
            self._connection.execute("ALTER TABLE pool ADD COLUMN importance FLOAT")
        facts = {"image_id": ids, "pseudo_label": scored.pseudo_label, "score": scored.score}
        facts |= {"importance": importance} if importance is not None else {}
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

    def pool_size(self) -> int:
        """Count all images, whether a filter rules them out or not."""
        return int(self._counts("pool").sum())

    def decide(
        self,
        thresholds: NDArray[np.float64] | None,
        budget: int | None,
        balance: str,
        per_class: int | None,
    ) -> None:
        """Decide every image and say why, by score alone: the steps below in one.

        Args:
            thresholds: (K,) the score that an image of the class must exceed, or None.
            budget: images to take in all; None takes all that are eligible.
            balance: how the budget is shared among classes; see `class_quotas`.
            per_class: most images of a class, or None; the budget is shared among what it leaves.
        """
        self.mark(thresholds)
        self.share(budget, balance, per_class)
        self.settle(budget)

    def mark(self, thresholds: NDArray[np.float64] | None) -> None:
        """Find out who is eligible: above the threshold (K,) of its class, best of its group."""
        self._table("thresholds", "threshold", thresholds)
        self._connection.execute(MARK.format(components=self._map()))

    def share(
        self, budget: int | None, balance: str, per_class: int | None, *, every_class: bool = False
    ) -> None:
        """Give each class its quota; arguments as of `decide`.

        Args:
            every_class: where the budget goes to the best of all classes, make what each class
                has among these its quota.
        """
        available = self._counts("marked WHERE barrier IS NULL")
        if per_class is not None:
            available = np.minimum(available, per_class)
        quota = None if per_class is None else available
        if budget is not None:
            shared = class_quotas(available, budget, balance)
            quota = quota if shared is None else shared
            if shared is None and every_class:
                most = "NULL" if per_class is None else int(per_class)
                quota = self._counts(BEST.format(per_class=most, budget=int(budget)))
        self._has_quotas = quota is not None
        self._table("quotas", "quota", quota)

    def settle(self, budget: int | None, picked: str | None = None) -> None:
        """Decide within quotas and budget.

        Args:
            budget: images to take in all, or None.
            picked: where `curate.diversity` left its picks, the SQL of what one of them adds.
        """
        parts = BY_SCORE
        if picked is not None:
            parts = BY_PICKS | {"picked": f" WHEN pick > 0 THEN {picked}"}
        place = PLACE_IN_CLASS if self._has_quotas else "NULL"
        limit = "NULL" if budget is None else str(int(budget))
        parts = parts | {"weight": BY_IMPORTANCE if self._is_weighed else "1.0"}
        query = DECIDE.format(place=place, budget=limit, components=self._map(), **parts)
        self._connection.execute(query)

    def counts(self) -> tuple[int, int, int]:
        """Return the number of images in the pool, eligible, and selected."""
        row = one(
            self._connection,
            "SELECT count(*), count(*) FILTER (eligible), count(*) FILTER (selected) FROM decided",
        )
        assert row is not None
        return int(row[0]), int(row[1]), int(row[2])

    def barriers(self) -> dict[str, int]:
        """Count the images that are not eligible by the kind of what bars them, most first."""
        found = self._connection.execute(
            "SELECT regexp_extract(barrier, '^[^0-9]*[^0-9 ]'), count(*) FROM marked "
            "WHERE barrier IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1"
        )
        return dict(found.fetchall())

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
        if values is None:
            self._connection.execute(
                f"INSERT INTO {name} FROM (SELECT range, NULL FROM range(?))", [self._classes]
            )
        else:
            columns = {"pseudo_label": np.arange(self._classes), column: values}
            insert(self._connection, name, columns)

    def _counts(self, source: str) -> NDArray[np.int64]:
        found = self._connection.execute(
            f"SELECT pseudo_label, count(*) FROM {source} GROUP BY pseudo_label"
        ).fetchall()
        counts = np.zeros(self._classes, dtype=np.int64)
        for label, count in found:
            counts[label] = count
        return counts
