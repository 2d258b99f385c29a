"""Which fitted estimates the catalog holds."""

from __future__ import annotations

from curate.fitted.registry import ESTIMATORS, fitted_on
from curate.tables import WHICH_IMAGES
from index.catalog import Catalog


def stored_fitted(
    catalog: Catalog, teacher: str, reference: str | None, embedder: str | None
) -> list[str]:
    """Return the fitted estimates that every image of the pool has, and no other: of today's pool.

    Those of another reference set, or by another embedder's vectors, are none of them.
    """
    with catalog.read() as connection:
        rows = connection.execute(
            _OF_THIS_POOL,
            {"teacher": teacher},
        ).fetchall()
    return [
        name
        for name, key in rows
        if name in ESTIMATORS and key is not None and key == fitted_on(name, reference, embedder)
    ]


_OF_THIS_POOL = f"""
SELECT estimator, reference FROM shifts WHERE model = $teacher GROUP BY ALL
HAVING row({WHICH_IMAGES}) = (SELECT row({WHICH_IMAGES}) FROM scores WHERE model = $teacher)
ORDER BY estimator
"""
