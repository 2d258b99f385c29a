"""Which images stand for a manifest, class by class: taken, nearly taken, and left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from curate.report.options import IMAGES_A_CELL, MOST_CLASSES
from curate.report.scope import ManifestFacts
from index.catalog import Catalog

# Reasons of images that only lacked a better score: what nearly was selected.
NEARLY = (
    "class quota full",
    "budget full",
    "below class threshold",
    "less diverse",
    "no candidate for diversity",
)


@dataclass(frozen=True)
class Row:
    """Images of one class, by id: a sample of those taken and left, the best of those nearly taken.

    `original` are those that the teacher puts into this class, where there are any.
    """

    label: int
    name: str
    pool: int
    taken: int
    selected: list[int]
    nearly: list[int]
    left: list[int]
    original: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Grid:
    """The largest classes of a manifest; `more` are not shown."""

    manifest: ManifestFacts
    rows: list[Row]
    more: int


# The smallest ids are a sample: an id is a hash. One pass, and no more than a cell's images in
# memory for each class.
_PICKS = f"""
WITH near AS (
    SELECT pseudo_label, image_id, score, selected,
           NOT selected AND list_contains($nearly, why) AS is_near
    FROM decisions WHERE manifest = $manifest
)
SELECT pseudo_label AS label, count(*) AS pool, count(*) FILTER (selected) AS taken,
       min(image_id, {IMAGES_A_CELL}) FILTER (selected) AS selected,
       max((score, -image_id), {IMAGES_A_CELL}) FILTER (is_near) AS nearly,
       min(image_id, {IMAGES_A_CELL}) FILTER (NOT selected) AS "left"
FROM near GROUP BY label ORDER BY taken DESC, pool DESC, label
"""


def read_grid(catalog: Catalog, manifest: ManifestFacts) -> Grid:
    """Pick the images of each class; the classes of which most were taken come first."""
    with catalog.read() as connection:
        query = connection.execute(_PICKS, {"nearly": list(NEARLY), "manifest": manifest.name})
        names = [column[0] for column in query.description]
        found = [dict(zip(names, row, strict=True)) for row in query.fetchmany(MOST_CLASSES)]
        more = len(query.fetchall())
    rows = [_row(manifest, one) for one in found]
    return Grid(manifest, sorted(rows, key=lambda row: row.label), more)


def with_originals(grid: Grid, ids: Sequence[int], labels: Sequence[int]) -> Grid:
    """Add original images, of which the teacher says these labels."""
    by_label: dict[int, list[int]] = {}
    for image, label in zip(ids, labels, strict=True):
        by_label.setdefault(int(label), []).append(int(image))
    rows = [
        Row(**{**vars(row), "original": sorted(by_label.get(row.label, []))[:IMAGES_A_CELL]})
        for row in grid.rows
    ]
    return Grid(grid.manifest, rows, grid.more)


def images_of(grid: Grid) -> list[int]:
    """Return the ids of the pool's images in a grid."""
    return [i for row in grid.rows for cell in (row.selected, row.nearly, row.left) for i in cell]


def _row(manifest: ManifestFacts, found: dict[str, Any]) -> Row:
    return Row(
        label=found["label"],
        name=manifest.class_name(found["label"]),
        pool=found["pool"],
        taken=found["taken"],
        selected=found["selected"] or [],
        nearly=[-negative for _, negative in found["nearly"] or []],
        left=found["left"] or [],
    )
