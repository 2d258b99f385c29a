"""Which fitted estimates the catalog holds."""

from __future__ import annotations

from curate.fitted.registry import ESTIMATORS, fitted_on
from index.catalog import Catalog


def stored_fitted(
    catalog: Catalog, teacher: str, reference: str | None, embedder: str | None
) -> list[str]:
    """Return the fitted estimates that every image of the pool has, by the fit of today's pool.

    Those of another reference set, or by another embedder's vectors, are none of them.
    """
    with catalog.read() as connection:
        rows = connection.execute(
            "SELECT estimator, reference FROM shifts WHERE model = $teacher "
            "GROUP BY ALL HAVING count(*) = (SELECT count(*) FROM scores WHERE model = $teacher) "
            "ORDER BY estimator",
            {"teacher": teacher},
        ).fetchall()
    return [
        name
        for name, key in rows
        if name in ESTIMATORS and key is not None and key == fitted_on(name, reference, embedder)
    ]
