"""What a manifest says of an image, of its reasons, and of its classes."""

from __future__ import annotations

import json
import shlex
from typing import Any

import duckdb

from curate.manifest import find_manifest, get_manifest
from index.catalog import Catalog, one
from index.errors import UsageError

_LARGEST_ID = 2**63 - 1

# Where an image is, or, where its sources hold it no longer, where it was.
_PLACES = """
SELECT uri, metadata FROM locations WHERE image_id = $1 UNION ALL
SELECT uri, metadata FROM former_locations WHERE image_id = $1
    AND NOT EXISTS (FROM locations WHERE image_id = $1)
ORDER BY uri LIMIT 8
"""

# Images that are or were at a uri: first what the manifest decides, for a file may have changed.
_AT = """
SELECT image_id FROM (
    SELECT image_id, false AS gone FROM locations WHERE uri = $1 UNION ALL
    SELECT image_id, true FROM former_locations WHERE uri = $1)
ORDER BY image_id IN (SELECT image_id FROM decisions WHERE manifest = $2) DESC,
    gone, image_id LIMIT 1
"""


def explain(catalog: Catalog, manifest: str, image: int | str) -> dict[str, Any]:
    """Return an image's decision with its reason and components, and where it was found.

    `image` is its id, or a uri as the table `locations` has it.

    `metadata` is what came with the crawl at each of the places in `found_at`, of which there are
    eight at most; an empty one where nothing came.

    Raises:
        UsageError: no such manifest, no such image in it, or the two in the wrong order.
    """
    with catalog.read() as connection:
        _refuse_swapped(connection, manifest, str(image))
    get_manifest(catalog, manifest)
    with catalog.read() as connection:
        image_id = _image_id(connection, catalog, manifest, str(image))
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


def _refuse_swapped(connection: duckdb.DuckDBPyConnection, manifest: str, image: str) -> None:
    if find_manifest(connection, image) and not find_manifest(connection, manifest):
        right = shlex.join(["kdcurate", "manifests", "explain", image, manifest])
        raise UsageError(f"the manifest comes first: {right}")


def _image_id(
    connection: duckdb.DuckDBPyConnection, catalog: Catalog, manifest: str, image: str
) -> int:
    """Return the id that was given, or of the image at the uri that was given."""
    if image.isascii() and image.isdigit() and int(image[:20]) <= _LARGEST_ID:
        return int(image)
    row = one(connection, _AT, [image, manifest])
    if row is not None:
        return int(row[0])
    failed = one(connection, "SELECT reason FROM failures WHERE uri = ?", [image])
    if failed is not None:
        raise UsageError(f"no manifest decides {image}: it could not be read ({failed[0]})")
    near = one(
        connection,
        "SELECT uri FROM locations WHERE ends_with(uri, ?) ORDER BY length(uri), uri LIMIT 1",
        [image],
    )
    if near is not None:
        raise UsageError(f"no image is at {image!r}: did you mean {near[0]}?")
    where = shlex.quote(str(catalog.workspace))
    query = "SELECT image_id, uri FROM locations WHERE uri LIKE '%PART-OF-ITS-NAME%'"
    raise UsageError(f'no image is at {image!r}; find it: kdcurate sql -w {where} "{query}"')


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
