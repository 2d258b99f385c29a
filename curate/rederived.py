"""How a stored ledger differs from the one that its scores and options make again."""

from __future__ import annotations

from pathlib import Path

from curate.fitted import BY_POOL, fitted_names
from curate.shift import ESTIMATES, PER_LAYER
from curate.tables import connect, one_row
from index.catalog import literal


def count_differences(stored: Path, derived: Path, *, has_grown: bool) -> dict[str, int]:
    """Count the images that two ledgers of one manifest decide or explain otherwise, by what.

    Estimates that a ledger holds beside its score come and go with what was computed last: one
    that only one of the two knows is no difference.

    Args:
        stored, derived: Parquet files of the columns of `decisions`.
        has_grown: the pool has images that the stored one did not know; what is relative to the
            pool is others then, and not compared.
    """
    relative = sorted({*PER_LAYER, *BY_POOL}) if has_grown else []
    query = _DIFFERENCES.format(
        stored=literal(stored),
        derived=literal(derived),
        same_score=_is_near("s.score", "d.score"),
        same_threshold=_is_near("s.threshold", "d.threshold"),
        same_component=_is_near("entry.value", "d.components[entry.key]"),
        optional=_words([*ESTIMATES, *fitted_names()]),
        relative=_words(relative),
    )
    with connect(stored.parent) as connection:
        counts = one_row(connection, query)
    return {what: count for what, count in counts.items() if count}


def _is_near(first: str, second: str) -> str:
    """SQL: values are alike, or nearly; NULL and NaN are like themselves.

    They are floats of exponentials, which another processor may round another way.
    """
    near = f"abs({first} - {second}) <= 1e-5 * greatest(1, least(abs({first}), abs({second})))"
    return f"({first} IS NOT DISTINCT FROM {second} OR coalesce({near}, false))"


def _words(names: list[str]) -> str:
    return f"[{', '.join(map(literal, names))}]::VARCHAR[]"


# All rows of a ledger have the same components: a row that lacks one, or has one more, was changed.
_DIFFERENCES = """
WITH usual AS (
    SELECT mode(list_sort(map_keys(components))) AS names FROM read_parquet({stored})
), pairs AS (
    SELECT s.image_id IS NULL OR d.image_id IS NULL AS alone,
           s.selected AS s1, d.selected AS d1, s."rank" AS s2, d."rank" AS d2,
           s.pseudo_label AS s3, d.pseudo_label AS d3, s.weight AS s4, d.weight AS d4,
           s.reason AS s5, d.reason AS d5,
           {same_score} AS same_score, {same_threshold} AS same_threshold,
           list_sort(map_keys(s.components)) = usual.names
           AND len(list_filter(map_entries(s.components), lambda entry: NOT (
               {same_component} AND map_contains(d.components, entry.key)
               OR list_contains({relative}, entry.key)
               OR list_contains({optional}, entry.key)
                  AND NOT map_contains(d.components, entry.key)))) = 0
           AND len(list_filter(map_keys(d.components), lambda name:
               NOT map_contains(s.components, name)
               AND NOT list_contains({optional}, name))) = 0 AS same_components
    FROM read_parquet({stored}) s FULL JOIN read_parquet({derived}) d USING (image_id), usual
)
SELECT count(*) FILTER (alone) AS "presence",
       count(*) FILTER (s1 <> d1) AS "selection",
       count(*) FILTER (NOT alone AND s2 IS DISTINCT FROM d2) AS "rank",
       count(*) FILTER (s3 <> d3) AS "pseudo-label", count(*) FILTER (s4 <> d4) AS "weight",
       count(*) FILTER (s5 <> d5) AS "reason",
       count(*) FILTER (NOT alone AND NOT same_score) AS "score",
       count(*) FILTER (NOT alone AND NOT same_threshold) AS "threshold",
       count(*) FILTER (NOT alone AND NOT same_components) AS "components"
FROM pairs
"""
