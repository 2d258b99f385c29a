"""Training: the curves of runs, and the rounds in which they selected again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from curate.report.scope import RunFacts
from curate.tables import rows_of
from index.catalog import Catalog

POINTS_A_CURVE = 160


@dataclass(frozen=True)
class Curve:
    """What one run measured under one name: steps and values, means of as many neighbours."""

    run: str
    name: str
    steps: list[int]
    values: list[float]


@dataclass(frozen=True)
class Round:
    """One re-selection; thresholds are the least, middle, and largest of the classes'."""

    round: int
    manifest: str
    epoch: int
    alpha: float
    selected: int
    entered: int
    left: int
    seconds: float
    least_threshold: float | None
    median_threshold: float | None
    most_threshold: float | None


@dataclass(frozen=True)
class Rounds:
    """The re-selections of a run, in order."""

    run: str
    rounds: list[Round]


_CURVES = f"""
WITH numbered AS (
    SELECT run, name, step, value, count(*) OVER (PARTITION BY run, name) AS total,
           row_number() OVER (PARTITION BY run, name ORDER BY step) - 1 AS n
    FROM metrics WHERE run = ? AND isfinite(value)
)
SELECT run, name, max(step) AS step, avg(value) AS value FROM numbered
GROUP BY run, name, n * {POINTS_A_CURVE} // greatest(total, {POINTS_A_CURVE}) ORDER BY name, step
"""
_ROUNDS = """
WITH by_class AS (
    SELECT manifest, pseudo_label, any_value(threshold)::DOUBLE AS threshold FROM decisions
    WHERE manifest IN (SELECT manifest FROM rounds WHERE run = $run)
    GROUP BY manifest, pseudo_label
), thresholds AS (
    SELECT manifest, min(threshold) AS least_threshold, median(threshold) AS median_threshold,
           max(threshold) AS most_threshold FROM by_class GROUP BY manifest
)
SELECT round, manifest, epoch, alpha, selected, entered, "left", seconds, least_threshold,
       median_threshold, most_threshold
FROM rounds LEFT JOIN thresholds USING (manifest) WHERE run = $run ORDER BY round
"""


def read_curves(catalog: Catalog, runs: Sequence[RunFacts]) -> list[Curve]:
    """Return every curve of the runs, thinned to what a chart can show."""
    curves = []
    with catalog.read() as connection:
        for run in runs:
            by_name: dict[str, tuple[list[int], list[float]]] = {}
            for row in rows_of(connection, _CURVES, [run.name]):
                steps, values = by_name.setdefault(row["name"], ([], []))
                steps.append(row["step"])
                values.append(row["value"])
            curves += [Curve(run.name, name, *xy) for name, xy in by_name.items()]
    return curves


def read_rounds(catalog: Catalog, runs: Sequence[RunFacts]) -> list[Rounds]:
    """Return the rounds of those runs that have any."""
    found = []
    with catalog.read() as connection:
        for run in runs:
            cursor = connection.execute(_ROUNDS, {"run": run.name})
            names = [column[0] for column in cursor.description]
            rows = [Round(**dict(zip(names, row, strict=True))) for row in cursor.fetchall()]
            if rows:
                found.append(Rounds(run.name, rows))
    return found
