"""Groups of images that show the same thing, as the catalog has them."""

from __future__ import annotations

from dataclasses import dataclass

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
_LARGEST = f"""
SELECT kind, bound, count(*) AS size, min(image_id, {IMAGES_A_GROUP}) AS shown
FROM duplicates WHERE kind = ? AND bound = ? GROUP BY kind, embedder, bound, group_id
ORDER BY size DESC, group_id LIMIT {MOST_GROUPS}
"""


def read_groups(catalog: Catalog) -> list[Groups]:
    """Return the groups by kind and bound; none where nobody looked for any, or none were found."""
    with catalog.read() as connection:
        kinds = list(rows_of(connection, _GROUPS))
        return [
            Groups(
                **kind,
                largest=[
                    Group(**row)
                    for row in rows_of(connection, _LARGEST, [kind["kind"], kind["bound"]])
                ],
            )
            for kind in kinds
        ]
