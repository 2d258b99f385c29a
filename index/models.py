"""The catalog's list of networks."""

from __future__ import annotations

from collections.abc import Sequence

from index.catalog import Catalog, one


def register_model(
    catalog: Catalog, key: str, architecture: str, card_json: str, classes: Sequence[str] | None
) -> None:
    """Record a network once under its key."""
    known = "SELECT count(*) FROM models WHERE key = ?"
    if catalog.exists():
        with catalog.read() as connection:
            if one(connection, known, [key]) != (0,):
                return
    with catalog.write() as connection:
        connection.execute(
            "INSERT INTO models SELECT ?, ?, ?, ?, now() "
            "WHERE NOT EXISTS (SELECT 1 FROM models WHERE key = ?)",
            [key, architecture, card_json, list(classes) if classes else None, key],
        )
