"""Format: a folder of image files, named by their ids, and metadata.jsonl beside them."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from curate.exporting.base import COLUMNS, Export
from curate.tables import connect
from index.catalog import literal
from index.errors import UsageError
from index.sources.places import is_url


def write_folder(export: Export, folder: Path) -> None:
    """Write ID.SUFFIX for each image, in a folder of its class where asked for.

    With `--link hard` or `symbolic` a file that holds one image is linked; what lies in a tar, a
    Parquet file or behind a URL is written as its original bytes. `metadata.jsonl` holds a row an
    image with its `file_name`.

    Raises:
        UsageError: the file system makes no such links.
        DataError: an image is gone or no longer what it was when it was indexed.
    """
    write_images(export, folder)
    with connect(export.scratch) as connection:
        query = f"SELECT file_name, {COLUMNS} FROM {export.table}"
        # Without `path`, or a list of images would be read from where they came from.
        columns = f"SELECT * EXCLUDE (path) FROM ({query}) ORDER BY rank"
        target = literal(folder / "metadata.jsonl")
        connection.execute(f"COPY ({columns}) TO {target} (FORMAT json)")


def write_images(export: Export, folder: Path) -> None:
    """Write or link each image as its `file_name`, in a new folder; errors as `write_folder`."""
    folder.mkdir()
    made: set[Path] = set()
    for row, data in export.contents():
        path = folder / row["file_name"]
        if path.parent not in made:  # as many as there are classes
            path.parent.mkdir(exist_ok=True)
            made.add(path.parent)
        original = row["path"]
        if export.options.link == "copy" or original is None or is_url(original):
            path.write_bytes(data)
        else:
            _link(export.options.link, original, path)


def _link(kind: str, original: str, path: Path) -> None:
    try:
        if kind == "hard":
            os.link(os.path.realpath(original), path)
        else:
            os.symlink(original, path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UsageError(
            f"cannot make a {kind} link to {original} ({error.strerror}): use --link copy"
        ) from error
