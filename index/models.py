"""The catalog's list of networks, and how they embed."""

from __future__ import annotations

from collections.abc import Sequence

from index.catalog import Catalog, one


def register_model(
    catalog: Catalog, key: str, architecture: str, card_json: str, classes: Sequence[str] | None
) -> None:
    """Record a network under its key, and the names of its classes as they were last given.

    An estimate by other names (`clip_text`) is forgotten with them.
    """
    names = list(classes) if classes else None
    known = "SELECT count(*) FROM models WHERE key = ? AND (? IS NULL OR classes = ?)"
    if catalog.exists():
        with catalog.read() as connection:
            if one(connection, known, [key, names, names]) != (0,):
                return
    with catalog.write() as connection:
        connection.execute(
            "UPDATE models SET classes = ?, card = ? WHERE key = ?", [names, card_json, key]
        )
        connection.execute("DELETE FROM shifts WHERE model = ? AND estimator = 'clip_text'", [key])
        connection.execute(
            "INSERT INTO models SELECT ?, ?, ?, ?, now() "
            "WHERE NOT EXISTS (SELECT 1 FROM models WHERE key = ?)",
            [key, architecture, card_json, names, key],
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
