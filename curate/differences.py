"""How decisions are stored: whole, or of a round what differs from the manifest that it goes by."""

from __future__ import annotations

import glob
from pathlib import Path

import duckdb

from curate.tables import WHICH_IMAGES


def store_decisions(
    connection: duckdb.DuckDBPyConnection, manifest: str, parent: str | None, decisions: Path
) -> None:
    """Store a manifest's decisions.

    As a difference to the parent where both decide the same images, the parent's are whole, and
    every component that it knows is known here: then the view `decisions` puts rows and components
    together again as they were. All rows of a ledger have the same components.

    Args:
        decisions: Parquet file of the columns of the table `ledger` but the manifest's name.
    """
    given = {"name": manifest, "file": glob.escape(str(decisions))}
    if parent is not None and _fits(connection, parent, given["file"]):
        connection.execute(_STORE_DIFFERENCE, {**given, "parent": parent})
        connection.execute("INSERT INTO differences VALUES (?, ?)", [manifest, parent])
    else:
        connection.execute("INSERT INTO ledger SELECT $name, * FROM read_parquet($file)", given)


def _fits(connection: duckdb.DuckDBPyConnection, parent: str, file: str) -> bool:
    found = connection.execute(_FITS, {"parent": parent, "file": file}).fetchall()
    return found == [(True,)]


_FITS = f"""
WITH own AS (FROM read_parquet($file)), base AS (FROM ledger WHERE manifest = $parent)
SELECT (SELECT row({WHICH_IMAGES}) FROM own) = (SELECT row({WHICH_IMAGES}) FROM base)
       AND list_has_all((SELECT map_keys(components) FROM own LIMIT 1),
                        (SELECT map_keys(components) FROM base LIMIT 1))
       AND NOT EXISTS (FROM differences WHERE manifest = $parent)
"""
# NULL and NaN are like themselves here.
_STORE_DIFFERENCE = """
INSERT INTO ledger BY NAME
SELECT $name AS manifest, o.* REPLACE (
    map_from_entries(list_filter(map_entries(o.components), lambda entry:
        b.components[entry.key] IS DISTINCT FROM entry.value)) AS components)
FROM read_parquet($file) o JOIN ledger b ON b.manifest = $parent AND b.image_id = o.image_id
WHERE row(o.selected, o."rank", o.pseudo_label, o.weight, o.score, o.threshold, o.reason,
          o.components)
      IS DISTINCT FROM row(b.selected, b."rank", b.pseudo_label, b.weight, b.score, b.threshold,
          b.reason, b.components)
ORDER BY o.image_id
"""
