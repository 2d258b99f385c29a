"""Groups of images that show the same thing, as the catalog has them."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

from curate.report.options import IMAGES_A_GROUP, MOST_GROUPS
from curate.tables import rows_of
from index.catalog import Catalog


@dataclass(frozen=True)
class Group:
    """One group: `shown` are its smallest ids."""

    kind: str
    bound: float
    size: int
    shown: list[int]


@dataclass(frozen=True)
class Groups:
    """All groups found within one bound, of which the largest are listed."""

    kind: str
    bound: float
    groups: int
    images: int
    largest: list[Group]

    @property
    def relation(self) -> str:
        """What two images of a group have in common, in words."""
        if self.kind == "perceptual":
            return f"hashes that differ in {self.bound:g} bits of 64 at most"
        return f"vectors whose cosine is {self.bound:g} at least"


_GROUPS = """
SELECT kind, bound, count(DISTINCT group_id) AS groups, count(*) AS images
FROM duplicates GROUP BY kind, bound ORDER BY kind, bound
"""
# The sizes of all groups, and only then the members of a few.
_LARGEST = f"""
WITH largest AS (
    SELECT embedder, group_id, count(*) AS size FROM duplicates
    WHERE kind = $kind AND bound = $bound GROUP BY embedder, group_id
    ORDER BY size DESC, group_id LIMIT {MOST_GROUPS}
)
SELECT kind, bound, any_value(size) AS size, min(image_id, {IMAGES_A_GROUP}) AS shown
FROM duplicates d JOIN largest l
     ON l.group_id = d.group_id AND l.embedder IS NOT DISTINCT FROM d.embedder
WHERE kind = $kind AND bound = $bound GROUP BY kind, bound, d.embedder, d.group_id
ORDER BY size DESC, d.group_id
"""


def read_groups(catalog: Catalog) -> list[Groups]:
    """Return the groups by kind and bound; none where nobody looked for any, or none were found."""
    with catalog.read() as connection:
        kinds = list(rows_of(connection, _GROUPS))
        return [
            Groups(
                **kind,
                largest=_largest(connection, kind["kind"], kind["bound"]),
            )
            for kind in kinds
        ]


def _largest(connection: duckdb.DuckDBPyConnection, kind: str, bound: float) -> list[Group]:
    found = connection.execute(_LARGEST, {"kind": kind, "bound": bound})
    names = [column[0] for column in found.description]
    return [Group(**dict(zip(names, row, strict=True))) for row in found.fetchall()]
