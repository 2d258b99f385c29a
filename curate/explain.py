"""What a manifest says of an image, of its reasons, and of its classes."""

from __future__ import annotations

import json
from typing import Any

from curate.manifest import get_manifest
from index.catalog import Catalog
from index.errors import UsageError

# Where an image is, or, where its sources hold it no longer, where it was.
_PLACES = """
SELECT uri, metadata FROM locations WHERE image_id = $1 UNION ALL
SELECT uri, metadata FROM former_locations WHERE image_id = $1
    AND NOT EXISTS (FROM locations WHERE image_id = $1)
ORDER BY uri LIMIT 8
"""


def explain(catalog: Catalog, manifest: str, image_id: int) -> dict[str, Any]:
    """Return an image's decision with its reason and components, and where it was found.

    `metadata` is what came with the crawl at each of the places in `found_at`, of which there are
    eight at most; an empty one where nothing came.

    Raises:
        UsageError: no such manifest, or no such image in it.
    """
    get_manifest(catalog, manifest)
    with catalog.read() as connection:
        cursor = connection.execute(
            "SELECT d.manifest, d.image_id, d.selected, d.reason, d.rank, d.pseudo_label, "
            "c.classes[d.pseudo_label + 1] AS class_name, d.score, d.threshold, d.weight, "
            "d.components FROM decisions d JOIN manifests m ON m.name = d.manifest "
            "LEFT JOIN models c ON c.key = m.teacher WHERE d.manifest = ? AND d.image_id = ?",
            [manifest, image_id],
        )
        names = [column[0] for column in cursor.description]
        rows = cursor.fetchall()
        if not rows:
            raise UsageError(
                f"no image {image_id} in {manifest!r}: take an id from the table images"
            )
        found = connection.execute(_PLACES, [image_id]).fetchall()
    decision = dict(zip(names, rows[0], strict=True))
    came_with = [json.loads(metadata or "{}") for _, metadata in found]
    return decision | {"found_at": [uri for uri, _ in found], "metadata": came_with}


def reasons(catalog: Catalog, manifest: str) -> dict[str, int]:
    """Count the decisions of a manifest by kind of reason, most frequent first."""
    with catalog.read() as connection:
        rows = connection.execute(
            "SELECT why, count(*) FROM decisions WHERE manifest = ? "
            "GROUP BY why ORDER BY 2 DESC, 1",
            [manifest],
        ).fetchall()
    return dict(rows)


def class_balance(catalog: Catalog, manifest: str) -> list[dict[str, Any]]:
    """Return per class the images of the pool and those selected."""
    with catalog.read() as connection:
        cursor = connection.execute(
            "SELECT pseudo_label, class_name, pool, selected, mean_score FROM class_balance "
            "WHERE manifest = ? ORDER BY pseudo_label",
            [manifest],
        )
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
