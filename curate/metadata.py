"""Numbers that came with the crawl, such as a CLIP similarity: `metadata.NAME` in `--rank`."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from curate.places import FIRST_PLACES
from index.catalog import Catalog, literal, one
from index.errors import UsageError

PREFIX = "metadata."


def is_metadata(signal: str) -> bool:
    """Tell whether a signal is a number that came with the crawl."""
    return signal.startswith(PREFIX)


def key_of(signal: str) -> str:
    """Return the key of `locations.metadata` that holds a signal."""
    return signal.removeprefix(PREFIX)


def number_of(metadata: str, key: str) -> str:
    """Return SQL of the finite DOUBLE in a column of JSON, else NULL; the key comes by parameter.

    Args:
        metadata: SQL of the column.
        key: name of the parameter that is bound to the key.
    """
    number = f"try_cast({metadata}->>${key} AS DOUBLE)"
    return f"CASE WHEN isfinite({number}) THEN {number} END"


def check_metadata(
    catalog: Catalog,
    signals: Collection[str],
    *,
    filtered: Path | None = None,
    decided: Path | None = None,
) -> None:
    """Check that every image that can be selected has the numbers that a rank names.

    `filtered` is a file of the images that filters rule out, `decided` of those that are decided,
    where these are not all: see `curate.standing`.

    Raises:
        UsageError: some image has none, or no finite number; the message says how many, and how to
            leave them out.
    """
    for signal in sorted(filter(is_metadata, signals)):
        key = key_of(signal)
        query = _LACKING.format(
            number=number_of("f.metadata", "1"),
            places=FIRST_PLACES,
            filtered=f"ANTI JOIN {_rows(filtered)} x ON x.image_id = i.id" if filtered else "",
            decided=f"SEMI JOIN {_rows(decided)} d ON d.image_id = i.id" if decided else "",
        )
        with catalog.read() as connection:
            lacking, absent, image = one(connection, query, [key]) or (0, 0, None)
        if lacking:
            raise UsageError(_refusal(key, lacking, absent, image))


def _rows(file: Path) -> str:
    return f"(SELECT image_id FROM read_parquet({literal(file)}))"


def _refusal(key: str, lacking: int, absent: int, image: int) -> str:
    """Name what leaves out all that lack it: a value that is there, but is no number, is not NULL.

    The key is a name of the expression, so there is no quote in it.
    """
    condition = f"metadata->>'{key}' IS NOT NULL"
    if absent < lacking:
        condition = f"isfinite(try_cast(metadata->>'{key}' AS DOUBLE))"
    images = "1 image has" if lacking == 1 else f"{lacking:,} images have"
    return (
        f"--rank: {images} no finite number as {PREFIX}{key}, image {image} among them: "
        f'--where "{condition}" leaves them out'
    )


_LACKING = """
WITH found AS (
    SELECT i.id, {number} AS number, f.metadata->>$1 IS NULL AS absent
    FROM images i LEFT JOIN {places} f ON f.image_id = i.id {filtered} {decided}
)
SELECT count(*), count(*) FILTER (absent), min(id) FROM found WHERE number IS NULL
"""
