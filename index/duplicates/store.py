"""Groups of duplicates in the catalog: by which relation, within which bound."""

from __future__ import annotations

import numpy as np

from index.catalog import Catalog
from index.duplicates.embedding import near_duplicate_groups
from index.duplicates.perceptual import perceptual_groups
from index.duplicates.unions import Unions
from index.parts import Ids
from index.progress import Progress

EMBEDDING = "embedding"
PERCEPTUAL = "perceptual"

Groups = tuple[Ids, Ids]


def find_by_embedding(
    catalog: Catalog, embedder: str, cosine: float, progress: Progress | None = None
) -> Groups:
    """Find the groups of `near_duplicate_groups` and store them in the table `duplicates`."""
    groups = near_duplicate_groups(catalog, embedder, cosine, progress)
    _store(catalog, EMBEDDING, embedder, cosine, groups)
    return groups


def find_by_hash(catalog: Catalog, bits: int, progress: Progress | None = None) -> Groups:
    """Find the groups of `perceptual_groups` and store them in the table `duplicates`."""
    groups = perceptual_groups(catalog, bits, progress)
    _store(catalog, PERCEPTUAL, None, bits, groups)
    return groups


def merge_groups(*found: Groups) -> Groups:
    """Return the groups of the union of several relations, as they are returned by each.

    Groups that share an image become one, so an image is in one group at most.
    """
    ids = np.unique(np.concatenate([np.empty(0, np.int64), *(members for members, _ in found)]))
    unions = Unions(len(ids))
    for members, groups in found:
        unions.join(np.searchsorted(ids, members), np.searchsorted(ids, groups))
    return unions.groups(ids)


def _store(catalog: Catalog, kind: str, embedder: str | None, bound: float, groups: Groups) -> None:
    key = [kind, embedder, float(bound)]
    with catalog.write() as connection:
        connection.execute(
            "DELETE FROM duplicates WHERE kind = ? AND embedder IS NOT DISTINCT FROM ? "
            "AND bound = ?",
            key,
        )
        connection.register("found", {"image_id": groups[0], "group_id": groups[1]})
        connection.execute(
            "INSERT INTO duplicates SELECT ?, ?, ?, image_id, group_id FROM found", key
        )
        connection.unregister("found")
