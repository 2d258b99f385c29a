"""The catalog's list of networks, and how they embed."""

from __future__ import annotations

from collections.abc import Sequence

from index.catalog import Catalog, one


def register_model(
    catalog: Catalog, key: str, architecture: str, card_json: str, classes: Sequence[str] | None
) -> None:
    """Record a network once under its key; once more where now its classes have names."""
    known = "SELECT count(*) FROM models WHERE key = ? AND (classes IS NOT NULL OR ?)"
    if catalog.exists():
        with catalog.read() as connection:
            if one(connection, known, [key, not classes]) != (0,):
                return
    with catalog.write() as connection:
        if classes:
            connection.execute("DELETE FROM models WHERE key = ? AND classes IS NULL", [key])
        connection.execute(
            "INSERT INTO models SELECT ?, ?, ?, ?, now() "
            "WHERE NOT EXISTS (SELECT 1 FROM models WHERE key = ?)",
            [key, architecture, card_json, list(classes) if classes else None, key],
        )


def record_precision(
    catalog: Catalog, model: str, precision: str, cosine: float | None, gain: float | None
) -> None:
    """Record in which precision an embedder makes its vectors, and what speaks for it.

    What stands there is replaced: to be called only while there is no vector of it.
    """
    facts = {"model": model, "precision": precision, "cosine": cosine, "gain": gain}
    with catalog.write() as connection:
        connection.execute("DELETE FROM embedders WHERE model = ?", [model])
        connection.execute(
            "INSERT INTO embedders VALUES ($model, $precision, $cosine, $gain)", facts
        )


def recorded_precision(catalog: Catalog, model: str) -> str | None:
    """Return in which precision an embedder's vectors are; None where it has none yet."""
    if not catalog.exists():
        return None
    with catalog.read() as connection:
        found = one(connection, "SELECT precision FROM embedders WHERE model = ?", [model])
    return found[0] if found else None
