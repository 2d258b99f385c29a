"""How scores and shift estimates are distributed, among what was taken and what was left."""

from __future__ import annotations

import math
from dataclasses import dataclass

import duckdb

from curate.report.scope import ManifestFacts
from curate.tables import one_row, rows_of
from index.catalog import Catalog, literal

BINS = 40
QUANTILE_SAMPLE = 100_000  # images


@dataclass(frozen=True)
class Threshold:
    """The score that images of one class had to exceed."""

    label: int
    name: str
    value: float


@dataclass(frozen=True)
class Distribution:
    """Images by value in equal bins from `low` to `high`; what lies beyond counts in the last.

    `thresholds` are those of the manifest's classes, for scores.
    """

    manifest: ManifestFacts
    what: str
    low: float
    high: float
    selected: list[int]
    left: list[int]
    selected_median: float | None
    left_median: float | None
    thresholds: list[Threshold]
    clipped: bool


# A single far image must not squeeze all others into one bin. Quantiles are those of the smallest
# ids, which are all or a sample: in bounded memory, and the same whatever the order of the crawl.
_RANGE = f"""
WITH every AS ({{values}}), drawn AS (FROM every ORDER BY image_id LIMIT {QUANTILE_SAMPLE})
SELECT (SELECT min(value) FROM every) AS least, (SELECT max(value) FROM every) AS most,
       quantile_cont(value, 0.005) AS low, quantile_cont(value, 0.995) AS high,
       median(value) FILTER (selected) AS selected_median,
       median(value) FILTER (NOT selected) AS left_median
FROM drawn
"""
_BINNED = f"""
SELECT greatest(0, least({BINS - 1}, floor((value - $low) / $width)::INTEGER)) AS bin,
       count(*) FILTER (selected) AS selected, count(*) FILTER (NOT selected) AS "left"
FROM ({{values}}) GROUP BY bin
"""
_THRESHOLDS = """
SELECT pseudo_label AS label, any_value(threshold)::DOUBLE AS value FROM decisions
WHERE manifest = ? AND threshold IS NOT NULL GROUP BY label ORDER BY value, label
"""
# Not by manifest_shift: its exact medians take memory that grows with the pool.
_ESTIMATORS = """
SELECT DISTINCT estimator FROM shifts WHERE model = {model} AND {own} ORDER BY estimator
"""


def score_distribution(catalog: Catalog, manifest: ManifestFacts) -> Distribution | None:
    """Bin the scores of a manifest; None where there is nothing to bin."""
    values = (
        "SELECT image_id, score::DOUBLE AS value, selected FROM decisions "
        f"WHERE manifest = {literal(manifest.name)}"
    )
    with catalog.read() as connection:
        thresholds = [
            Threshold(name=manifest.class_name(row["label"]), **row)
            for row in rows_of(connection, _THRESHOLDS, [manifest.name])
        ]
        return _binned(connection, manifest, "score", values, thresholds)


def shift_distributions(catalog: Catalog, manifest: ManifestFacts) -> list[Distribution]:
    """Bin every stored shift estimate of a manifest's images that is the manifest's own."""
    with catalog.read() as connection:
        query = _ESTIMATORS.format(model=literal(manifest.teacher), own=_own(manifest))
        names = [name for (name,) in connection.execute(query).fetchall()]
        found = [
            _binned(connection, manifest, name, _estimates(manifest, name), []) for name in names
        ]
    return [one for one in found if one is not None]


def _own(manifest: ManifestFacts) -> str:
    """SQL over `shifts`: of estimates by a reference or an embedder only the manifest's own."""
    fits = [literal(key) for key in (manifest.reference, manifest.embedder) if key is not None]
    return (
        f"(reference IS NULL OR reference IN ({', '.join(fits)}))" if fits else "reference IS NULL"
    )


def _estimates(manifest: ManifestFacts, estimator: str) -> str:
    return (
        "SELECT d.image_id, s.value::DOUBLE AS value, d.selected FROM decisions d JOIN shifts s "
        f"ON s.image_id = d.image_id AND s.model = {literal(manifest.teacher)} "
        f"AND s.estimator = {literal(estimator)} AND {_own(manifest)} "
        f"WHERE d.manifest = {literal(manifest.name)}"
    )


def _binned(
    connection: duckdb.DuckDBPyConnection,
    manifest: ManifestFacts,
    what: str,
    values: str,
    thresholds: list[Threshold],
) -> Distribution | None:
    bounds = one_row(connection, _RANGE.format(values=values))
    if bounds["least"] is None:
        return None
    low, high = _limits(bounds, [one.value for one in thresholds])
    width = (high - low) / BINS
    rows = connection.execute(
        _BINNED.format(values=values), {"low": low, "width": width}
    ).fetchall()
    selected, left = [0] * BINS, [0] * BINS
    for place, taken, other in rows:
        selected[place], left[place] = taken, other
    return Distribution(
        manifest=manifest,
        what=what,
        low=low,
        high=high,
        selected=selected,
        left=left,
        selected_median=bounds["selected_median"],
        left_median=bounds["left_median"],
        thresholds=thresholds,
        clipped=bounds["least"] < low or bounds["most"] > high,
    )


def _limits(bounds: dict[str, float], thresholds: list[float]) -> tuple[float, float]:
    """All values where they lie close together, else the middle 99 %; thresholds always."""
    low, high = bounds["least"], bounds["most"]
    middle = bounds["high"] - bounds["low"]
    if middle > 0 and high - low > 3 * middle:
        low, high = bounds["low"], bounds["high"]
    low, high = min(low, *thresholds, low), max(high, *thresholds, high)
    if not high - low > 1e-9 * max(1.0, math.fabs(low)):
        low, high = low - 0.5, high + 0.5
    return low, high
