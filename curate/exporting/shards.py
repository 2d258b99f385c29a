"""Format: Parquet files with the images in them, each of a size that fits into memory."""

from __future__ import annotations

import json
from pathlib import Path

from curate.exporting.base import COLUMNS, Export
from curate.tables import connect
from index.catalog import insert, literal

_MOST_BYTES = 64 * 1024 * 1024
# By which Hugging Face's `datasets` opens the column as images.
_FEATURES = json.dumps({"info": {"features": {"image": {"_type": "Image"}}}})


def write_parquet_shards(export: Export, folder: Path) -> None:
    """Write part-00000.parquet, ... in order of rank: a row an image, `image.bytes` its file.

    A part holds at most `shard_size` images, and 64 MB of them: DuckDB holds a part in memory.

    Raises:
        DataError: an image is gone or no longer what it was when it was indexed.
    """
    folder.mkdir()
    part: dict[int, bytes] = {}
    number = held = 0
    for row, data in export.ranked_contents("rank"):
        if part and (len(part) == export.options.shard_size or held + len(data) > _MOST_BYTES):
            _write(export, part, folder / f"part-{number:05d}.parquet")
            number, held, part = number + 1, 0, {}
        part[row["rank"]] = data
        held += len(data)
    _write(export, part, folder / f"part-{number:05d}.parquet")


def _write(export: Export, part: dict[int, bytes], path: Path) -> None:
    with connect(export.scratch) as connection:
        connection.execute("CREATE TABLE part (rank INTEGER, image BLOB)")
        insert(connection, "part", {"rank": list(part), "image": list(part.values())})
        # CASE: a struct that may be NULL, as `datasets` declares images; without, the two differ.
        image = "CASE WHEN image IS NOT NULL THEN {'bytes': image, 'path': key || suffix} END"
        query = (
            f"SELECT {COLUMNS}, {image} AS image FROM {export.table} JOIN part USING (rank) "
            f"WHERE rank BETWEEN {min(part)} AND {max(part)} ORDER BY rank"
        )
        form = f"FORMAT parquet, KV_METADATA {{huggingface: {literal(_FEATURES)}}}"
        connection.execute(f"COPY ({query}) TO {literal(path)} ({form})")
