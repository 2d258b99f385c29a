"""The largest groups of duplicates, with where their images were found."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from index.catalog import Catalog, one
from index.duplicates.store import EMBEDDING, PERCEPTUAL

EXACT = "exact"
KINDS = (EXACT, PERCEPTUAL, EMBEDDING)
_IDS = 8
_LOCATIONS = 3


@dataclass(frozen=True)
class Group:
    """Images that show the same thing.

    `size` counts places for exact copies, which share one id, and images otherwise; `ids` are
    its 8 smallest, `locations` the first 3 in the order of their names. It is a `placeholder` where
    one of its images stands in the view placeholders, such as a server's "image unavailable".
    """

    kind: str
    bound: float | None
    size: int
    ids: list[int]
    locations: list[str]
    placeholder: bool = False


@dataclass(frozen=True)
class Listing:
    """The largest groups of one kind, how many there are in all, and their sizes summed.

    Of exact copies, also how many of the groups are placeholders.
    """

    kind: str
    largest: list[Group]
    groups: int
    members: int
    placeholders: int = 0


def list_exact(catalog: Catalog, limit: int) -> Listing:
    """List the contents that were found at more than one place, the most copied first."""
    with catalog.read() as connection:
        total = one(connection, f"SELECT count(*), sum(size)::BIGINT FROM ({_EXACT})")
        rows = connection.execute(
            f"SELECT size, [image_id], locations, image_id IN {_PLACEHOLDERS} FROM ({_EXACT}) "
            "ORDER BY size DESC, image_id LIMIT ?",
            [limit],
        ).fetchall()
        (placeholders,) = one(connection, f"SELECT count(*) FROM {_PLACEHOLDERS}") or (0,)
    return replace(_listing(EXACT, None, rows, total), placeholders=placeholders)


def list_stored(
    catalog: Catalog, kind: str, bound: float, embedder: str | None, limit: int
) -> Listing:
    """List the groups that were stored last for a relation, the largest first."""
    key = [kind, float(bound), embedder]
    with catalog.read() as connection:
        total = one(
            connection,
            f"SELECT count(DISTINCT group_id), count(*) FROM duplicates WHERE {_SAME}",
            key,
        )
        rows = connection.execute(_STORED, [*key, limit]).fetchall()
    return _listing(kind, bound, rows, total)


def _listing(
    kind: str,
    bound: float | None,
    rows: list[tuple[Any, ...]],
    total: tuple[Any, ...] | None,
) -> Listing:
    groups, members = total or (0, 0)
    return Listing(kind, [Group(kind, bound, *row) for row in rows], groups, members or 0)


_PLACEHOLDERS = "(SELECT image_id FROM placeholders)"
_SAME = "kind = ? AND bound = ? AND embedder IS NOT DISTINCT FROM ?"
_EXACT = f"""
    SELECT image_id, count(*) AS size, min(uri, {_LOCATIONS}) AS locations
    FROM locations GROUP BY image_id HAVING count(*) > 1
"""
_STORED = f"""
WITH members AS (SELECT group_id, image_id FROM duplicates WHERE {_SAME}),
shown AS (
    SELECT group_id, count(*) AS size, min(image_id, {_IDS}) AS ids
    FROM members GROUP BY group_id ORDER BY size DESC, group_id LIMIT ?
), places AS (
    SELECT group_id, min(uri, {_LOCATIONS}) AS locations
    FROM shown JOIN members USING (group_id) JOIN locations USING (image_id) GROUP BY group_id
), unavailable AS (
    SELECT group_id FROM members WHERE image_id IN {_PLACEHOLDERS}
)
SELECT size, ids, coalesce(locations, []), group_id IN (FROM unavailable)
FROM shown LEFT JOIN places USING (group_id)
ORDER BY size DESC, group_id
"""
