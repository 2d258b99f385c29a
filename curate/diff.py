"""What another manifest decides differently: who entered, left, and stayed, and why."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.manifest import Manifest, get_manifest
from curate.tables import connect, one_row, rows_of
from index.catalog import Catalog, literal
from index.files import scratch

# Beside what the decisions say themselves: with what they were made.
_SETTINGS = (
    *("strategy", "teacher", "student", "embedder", "parent", "seed", "preprocessing"),
    *("code_version", "pool", "eligible", "selected"),
)


@dataclass(frozen=True)
class Difference:
    """Images selected by a first and a second manifest, compared.

    `settings` maps what they were made with, where it differs, to both values. Of the images that
    stayed, some have another pseudo-label, weight or rank.
    """

    first: str
    second: str
    same_hash: bool
    settings: dict[str, tuple[Any, Any]]
    entered: int
    left: int
    stayed: int
    relabelled: int
    reweighted: int
    reranked: int
    reasons: list[dict[str, Any]]
    classes: list[dict[str, Any]]


@contextmanager
def compare(catalog: Catalog, first: str, second: str) -> Iterator[Path]:
    """Yield a Parquet file of all images that either manifest selects, while it is needed.

    Each row has its `change`: entered, left, relabelled, reweighted, reranked, or unchanged. The
    join is DuckDB's, so memory does not grow with the manifests.

    Raises:
        UsageError: no manifest has one of these names.
    """
    for name in (first, second):
        get_manifest(catalog, name)
    with scratch(catalog.workspace, "diff") as folder:
        compared = folder / "compared.parquet"
        query = _COMPARED.format(first=literal(first), second=literal(second))
        catalog.write_parquet(query, compared)
        yield compared


def difference(catalog: Catalog, first: str, second: str) -> Difference:
    """Count what differs between two manifests.

    Raises:
        UsageError: no manifest has one of these names.
    """
    before, after = get_manifest(catalog, first), get_manifest(catalog, second)
    with compare(catalog, first, second) as compared, connect(compared.parent) as connection:
        connection.execute(f"CREATE VIEW compared AS FROM read_parquet({literal(compared)})")
        counts = one_row(connection, _COUNTS)
        reasons = list(rows_of(connection, _REASONS))
        classes = list(rows_of(connection, _CLASSES))
    return Difference(
        first,
        second,
        before.content_hash == after.content_hash,
        _settings(before, after),
        **counts,
        reasons=reasons,
        classes=classes,
    )


def differing_images(compared: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of `compare` that differ, a bounded number in memory."""
    with connect(compared.parent) as connection:
        yield from rows_of(connection, _IMAGES.format(compared=literal(compared)))


def _settings(before: Manifest, after: Manifest) -> dict[str, tuple[Any, Any]]:
    pairs = {name: (getattr(before, name), getattr(after, name)) for name in _SETTINGS}
    for name in sorted(before.options.keys() | after.options.keys()):
        pairs[f"options.{name}"] = (before.options.get(name), after.options.get(name))
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


_DECIDED = """
SELECT d.image_id, d.selected, d."rank", d.pseudo_label, d.weight, d.reason, d.why,
       md.classes[d.pseudo_label + 1] AS class_name
FROM decisions d JOIN manifests m ON m.name = d.manifest LEFT JOIN models md ON md.key = m.teacher
WHERE d.manifest = {name}
"""
_COMPARED = f"""
WITH a AS ({_DECIDED.format(name="{first}")}), b AS ({_DECIDED.format(name="{second}")}),
both_sides AS (
    SELECT image_id, coalesce(a.selected, false) AS was_in, coalesce(b.selected, false) AS is_in,
           a."rank" AS first_rank, b."rank" AS second_rank,
           a.pseudo_label AS first_label, b.pseudo_label AS second_label,
           a.class_name AS first_class, b.class_name AS second_class,
           a.weight AS first_weight, b.weight AS second_weight,
           coalesce(a.reason, 'not in its pool') AS first_reason,
           coalesce(b.reason, 'not in its pool') AS second_reason,
           coalesce(a.why, 'not in its pool') AS first_why,
           coalesce(b.why, 'not in its pool') AS second_why
    FROM a FULL JOIN b USING (image_id) WHERE a.selected OR b.selected
)
SELECT *, CASE WHEN NOT was_in THEN 'entered' WHEN NOT is_in THEN 'left'
               WHEN first_label <> second_label THEN 'relabelled'
               WHEN first_weight <> second_weight THEN 'reweighted'
               WHEN first_rank <> second_rank THEN 'reranked' ELSE 'unchanged' END AS change
FROM both_sides
"""
_COUNTS = """
SELECT count(*) FILTER (change = 'entered') AS entered, count(*) FILTER (change = 'left') AS "left",
       count(*) FILTER (was_in AND is_in) AS stayed,
       count(*) FILTER (was_in AND is_in AND first_label <> second_label) AS relabelled,
       count(*) FILTER (was_in AND is_in AND first_weight <> second_weight) AS reweighted,
       count(*) FILTER (was_in AND is_in AND first_rank <> second_rank) AS reranked
FROM compared
"""
# Of what entered, why it was not in before; of what left, why it is not any more.
_REASONS = """
SELECT change, CASE change WHEN 'entered' THEN first_why ELSE second_why END AS why,
       count(*) AS images
FROM compared WHERE was_in <> is_in GROUP BY ALL ORDER BY change, images DESC, why
"""
_CLASSES = """
SELECT coalesce(second_label, first_label) AS pseudo_label,
       coalesce(second_class, first_class) AS class_name,
       count(*) FILTER (change = 'entered') AS entered, count(*) FILTER (change = 'left') AS "left",
       count(*) FILTER (was_in AND is_in) AS stayed,
       count(*) FILTER (change = 'relabelled') AS relabelled
FROM (SELECT * REPLACE (CASE WHEN is_in THEN second_label END AS second_label,
                        CASE WHEN is_in THEN second_class END AS second_class) FROM compared)
GROUP BY ALL ORDER BY pseudo_label, class_name
"""
_IMAGES = """
SELECT image_id, change, first_rank, second_rank, first_label, second_label, first_class,
       second_class, first_weight, second_weight, first_reason, second_reason
FROM read_parquet({compared}) WHERE change <> 'unchanged'
ORDER BY change, coalesce(second_rank, first_rank), image_id
"""
