"""What every format of an export is given: options, rows, and the bytes of the images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from curate.tables import connect, rows_of
from index.catalog import insert, literal
from index.contents import Location, read_contents
from index.errors import UsageError, nearest
from index.progress import Progress

LINKS = ("copy", "hard", "symbolic")
# What is told of an image, in the order of the columns; see `rows.py`.
COLUMNS = (
    'rank, image_id, pseudo_label, class_name, weight, score, uri, path, width, height, "format", '
    "metadata, sha256"
)
_IMAGES_AT_ONCE = 512


@dataclass(frozen=True)
class ExportOptions:
    """How to write; `shard_size` counts images, `images` puts their bytes into Parquet."""

    format: str
    link: str = "copy"
    by_class: bool = False
    shard_size: int = 10_000
    images: bool = False

    def check(self) -> None:
        """Refuse options that the format does not take.

        Raises:
            UsageError: it names the option.
        """
        if self.link not in LINKS:
            raise UsageError(f"--link is {self.link!r}: {nearest(self.link, LINKS)}")
        if self.shard_size < 1:
            raise UsageError(f"--shard-size is {self.shard_size}: it must be at least 1")
        if self.format not in ("folder", "fiftyone") and self.link != "copy":
            raise UsageError("--link is for --format folder and fiftyone")
        if self.format != "folder" and self.by_class:
            raise UsageError("--by-class is for --format folder")
        if self.images and self.format != "parquet":
            raise UsageError("--images is for --format parquet")


@dataclass(frozen=True)
class Export:
    """One export under way.

    `rows` is a Parquet file in `scratch` with the COLUMNS and the location of each of the `count`
    images, in order of rank.
    """

    options: ExportOptions
    scratch: Path
    rows: Path
    count: int
    progress: Progress

    @property
    def table(self) -> str:
        """The rows as SQL."""
        return f"read_parquet({literal(self.rows)})"

    def contents(self) -> Iterator[tuple[dict[str, Any], bytes]]:
        """Yield each row with its image's bytes, in the order in which the sources hold them.

        Raises:
            DataError: an image is gone or no longer what it was when it was indexed.
        """
        with (
            connect(self.scratch) as connection,
            self.progress.step("Reading", self.count, "images") as advance,
        ):
            query = f"FROM {self.table} ORDER BY container, position, image_id"
            found = rows_of(connection, query)
            while here := list(islice(found, _IMAGES_AT_ONCE)):
                locations = [Location(*(row[name] for name in Location._fields)) for row in here]
                for row, (_, data) in zip(here, read_contents(locations), strict=True):
                    yield row, data
                    advance(1)

    def ranked_contents(self, columns: str) -> Iterator[tuple[dict[str, Any], bytes]]:
        """Yield columns (SQL) with the images' bytes, in order of rank.

        The sources are read front to back once; until their turn the bytes wait on disk.
        """
        spool = self.scratch / "spool.bin"
        with connect(self.scratch) as connection:
            connection.execute("CREATE TABLE spooled (image_id BIGINT, start BIGINT, bytes BIGINT)")
            names = ("image_id", "start", "bytes")
            with spool.open("wb") as file:
                written = (
                    (row["image_id"], file.tell(), file.write(data))
                    for row, data in self.contents()
                )
                while batch := list(islice(written, _IMAGES_AT_ONCE)):
                    columns_of = zip(names, zip(*batch, strict=True), strict=True)
                    insert(connection, "spooled", dict(columns_of))
            with (
                spool.open("rb") as file,
                self.progress.step("Writing", self.count, "images") as advance,
            ):
                for row in rows_of(
                    connection,
                    f"SELECT {columns}, start, bytes FROM {self.table} "
                    "JOIN spooled USING (image_id) ORDER BY rank",
                ):
                    file.seek(row["start"])
                    yield row, file.read(row["bytes"])
                    advance(1)
