"""Files, members and rows that a source no longer holds, and the images that go with them."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

import duckdb

from index.catalog import Catalog

_STALE = """
CREATE TEMP TABLE stale AS
SELECT DISTINCT key FROM partitions p WHERE container IN (SELECT container FROM listed)
AND NOT EXISTS (SELECT 1 FROM listed l WHERE split_part(l.key, ':', 1) = split_part(p.key, ':', 1))
"""
_UNDECIDED = "image_id NOT IN (SELECT image_id FROM decisions WHERE selected)"
# What is told of an image beside its row in `images`. Decisions stay: a manifest is immutable.
_TABLES_OF_IMAGES = ("vectors", "scores", "duplicates")


def forget_vanished(catalog: Catalog, listed: Path) -> int:
    """Forget what partitions of the same containers held that are not listed in `listed`.

    That is a file of JSON lines, with `key` and `container` of each partition that there is.

    To be called when everything that is listed is committed, so that what only moved to another
    partition has its new place already. An image whose last place is gone, with a partition or
    because its file holds another now, is forgotten with all that was said of it, except by
    manifests. A container that is not listed at all (a shard that a
    glob no longer finds) is left alone: it may only be out of reach.

    Returns:
        The number of images forgotten.
    """
    with catalog.read() as connection:
        if not (
            _find_stale(connection, listed) or _orphans(connection) or _has_undecided(connection)
        ):
            return 0
    with catalog.write() as connection:
        _find_stale(connection, listed)
        remember_places(connection, "partition IN (FROM stale)")
        for table in ("locations", "failures"):
            connection.execute(f"DELETE FROM {table} WHERE partition IN (FROM stale)")
        connection.execute("DELETE FROM partitions WHERE key IN (FROM stale)")
        connection.execute("DROP TABLE stale")
        if _has_former(connection):
            connection.execute(f"DELETE FROM former_locations WHERE {_UNDECIDED}")
        return _forget_orphans(connection)


def remember_places(
    connection: duckdb.DuckDBPyConnection, gone: str, parameters: Sequence[object] = ()
) -> None:
    """Keep what came with the images at places that are about to be deleted.

    A manifest stays when its sources change, and so must what is known of its images. Which ones
    those are is asked once, when all is committed: it takes a look at every decision.

    Args:
        gone: an SQL condition on `locations`, with its `parameters`.
    """
    connection.execute(
        f"CREATE TEMP TABLE leaving AS SELECT image_id, uri, metadata FROM locations WHERE {gone}",
        list(parameters),
    )
    connection.execute(  # what is told of a place is the last that was known
        "DELETE FROM former_locations f USING leaving l "
        "WHERE f.image_id = l.image_id AND f.uri = l.uri"
    )
    connection.execute("INSERT INTO former_locations FROM leaving")
    connection.execute("DROP TABLE leaving")


def _has_undecided(connection: duckdb.DuckDBPyConnection) -> bool:
    # Where there is none, every decision would be read for nothing.
    return _has_former(connection) and _has_former(connection, f"WHERE {_UNDECIDED}")


def _has_former(connection: duckdb.DuckDBPyConnection, which: str = "") -> bool:
    return bool(connection.execute(f"FROM former_locations {which} LIMIT 1").fetchall())


def _orphans(connection: duckdb.DuckDBPyConnection) -> int:
    """Find the images that no location holds any more, as a table `orphans`; count them."""
    connection.execute(
        "CREATE TEMP TABLE orphans AS SELECT id AS image_id FROM images "
        "WHERE NOT EXISTS (SELECT 1 FROM locations l WHERE l.image_id = images.id)"
    )
    (count,) = connection.execute("SELECT count(*) FROM orphans").fetchall()[0]
    return int(count)


def _forget_orphans(connection: duckdb.DuckDBPyConnection) -> int:
    if count := _orphans(connection):
        connection.execute("DELETE FROM images WHERE id IN (FROM orphans)")
        for table in _TABLES_OF_IMAGES:
            connection.execute(f"DELETE FROM {table} WHERE image_id IN (FROM orphans)")
        connection.execute("DELETE FROM shifts")  # z-scored over a pool that is another now
    connection.execute("DROP TABLE orphans")
    return count


def _find_stale(connection: duckdb.DuckDBPyConnection, listed: Path) -> bool:
    connection.execute(
        "CREATE TEMP TABLE listed AS FROM read_json(?, format = 'newline_delimited', "
        "columns = {key: 'VARCHAR', container: 'VARCHAR'})",
        [glob.escape(str(listed))],
    )
    connection.execute(_STALE)
    connection.execute("DROP TABLE listed")
    (count,) = connection.execute("SELECT count(*) FROM stale").fetchall()[0]
    return bool(count)
