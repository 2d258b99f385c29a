"""Which images have their vector already."""

from __future__ import annotations

import duckdb

from index.catalog import MEMORY_LIMIT, Catalog, literal

_QUERY = (
    "SELECT image_id FROM vectors WHERE embedder = ? AND image_id IN (SELECT unnest(?::BIGINT[]))"
)


class KnownIds:
    """Asks the catalog, once a partition, without holding it between the questions.

    To make a DuckDB instance takes ten times as long as to attach a file to one that is there, and
    as long as to decode a hundred small images: here one instance serves a whole build.

    Args:
        catalog: may have no file yet.
        embedder: whose vectors count.
    """

    def __init__(self, catalog: Catalog, embedder: str) -> None:
        self._catalog = catalog
        self._embedder = embedder
        self._duckdb = duckdb.connect(config={"memory_limit": MEMORY_LIMIT})

    def __call__(self, ids: list[int]) -> set[int]:
        """Return which of these images have their vector.

        While a teammate writes to the catalog none is known: a vector too many is not referred
        to, an image without a vector would be a loss.
        """
        if not ids or not self._catalog.exists():
            return set()
        try:
            self._duckdb.execute(f"ATTACH {literal(self._catalog.path)} AS catalog (READ_ONLY)")
        except duckdb.IOException:
            return set()
        try:
            self._duckdb.execute("USE catalog")
            found = self._duckdb.execute(_QUERY, [self._embedder, ids]).fetchall()
        finally:
            self._duckdb.execute("USE memory")
            self._duckdb.execute("DETACH catalog")
        return {key for (key,) in found}

    def close(self) -> None:
        """Let go of the instance."""
        self._duckdb.close()
