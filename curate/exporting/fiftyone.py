"""Format: what FiftyOne opens as a FiftyOneImageClassificationDataset."""

from __future__ import annotations

import json
from pathlib import Path

from curate.exporting.base import Export
from curate.exporting.folder import write_images
from curate.tables import connect, rows_of

# The id as text: FiftyOne's application shows numbers as JavaScript does, to 53 bits.
_ATTRIBUTES = (
    "rank, image_id::VARCHAR AS image_id, weight, score, uri, width, height, metadata, sha256"
)


def write_fiftyone(export: Export, folder: Path) -> None:
    """Write data/ID.SUFFIX for each image, and labels.json: pseudo-labels with all that is known.

    Raises:
        UsageError: the file system makes no such links.
        DataError: an image is gone or no longer what it was when it was indexed.
    """
    folder.mkdir()
    write_images(export, folder / "data")
    query = (
        "SELECT key, coalesce(class_name, pseudo_label::VARCHAR) AS label, "
        f"{_ATTRIBUTES} FROM {export.table} ORDER BY rank"
    )
    with (
        connect(export.scratch) as connection,
        (folder / "labels.json").open("w", encoding="utf-8") as file,
    ):
        file.write('{"labels": {')  # a line an image: never all of them in memory
        between = "\n"
        for row in rows_of(connection, query):
            key, label, metadata = row.pop("key"), row.pop("label"), row.pop("metadata")
            row["metadata"] = json.loads(metadata) if metadata else None
            entry = json.dumps({"label": label, "attributes": row}, ensure_ascii=False)
            file.write(f'{between}"{key}": {entry}')
            between = ",\n"
        file.write("\n}}\n")
