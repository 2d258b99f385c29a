"""The bytes of catalogued images as they lie in their sources, checked against their hash."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from index import sources
from index.catalog import Catalog
from index.database import connect
from index.errors import DataError
from index.ids import content_sha256, image_id
from index.workers import default_workers, ordered_map

IMAGES_A_TASK = 512
# One location an image, in the order of the containers, so that each is read front to back.
_PLAN = """
SELECT image_id, arg_min(kind, uri) AS kind, arg_min(container, uri) AS container,
       arg_min(position, uri) AS position, arg_min(length, uri) AS length
FROM locations {where} GROUP BY image_id ORDER BY container, position, image_id
"""
_MENDED_BY = "run build-index on the sources again"


class Location(NamedTuple):
    """Where an image is read: the source's kind, the container, position and length in it."""

    image_id: int
    kind: str
    container: str
    position: int
    length: int


@dataclass(frozen=True)
class ReadTask:
    """Images that one worker reads."""

    rows: tuple[Location, ...]

    @property
    def container(self) -> str:
        """The container of the first image, for messages."""
        return self.rows[0].container


def read_tasks(catalog: Catalog, only: str = "") -> Iterator[ReadTask]:
    """Yield the images that the SQL query `only` names, or all, in the order of their containers.

    The catalog is open for the first only: the plan waits in a temporary file.
    """
    with tempfile.TemporaryDirectory(prefix="kdcurate-") as scratch:
        plan = Path(scratch, "plan.parquet")
        where = f"WHERE image_id IN ({only})" if only else ""
        catalog.write_parquet(_PLAN.format(where=where), plan)
        with connect() as connection:
            cursor = connection.execute("FROM read_parquet(?)", [str(plan)])
            while rows := cursor.fetchmany(IMAGES_A_TASK):
                yield ReadTask(tuple(map(Location._make, rows)))


def read_contents(rows: Sequence[Location]) -> Iterator[tuple[Location, bytes]]:
    """Yield each image with its bytes, in the order given.

    Raises:
        DataError: an image is gone or no longer what it was when it was indexed.
    """
    for (kind, container), group in groupby(rows, key=lambda row: row[1:3]):
        here = list(group)
        found = sources.fetch(kind, container, [(row.position, row.length) for row in here])
        for row, data in zip(here, found, strict=True):
            if image_id(content_sha256(data)) != row.image_id:
                raise unreadable(row, "its content changed")
            yield row, data


def unreadable(row: Location, reason: object) -> DataError:
    """Return the error to raise where an image's bytes are not what they were."""
    return DataError(
        f"image {row.image_id} in {row.container} is no longer readable ({reason}): {_MENDED_BY}"
    )


def damaged_contents(
    catalog: Catalog, only: str = "", *, workers: int | None = None
) -> Iterator[tuple[int, list[str]]]:
    """Read images again and yield how many were read, and what is wrong with some of them."""
    workers = default_workers() if workers is None else workers
    yield from ordered_map(_damaged, read_tasks(catalog, only), workers)


def _damaged(task: ReadTask) -> tuple[int, list[str]]:
    return len(task.rows), [problem for row in task.rows if (problem := _problem(row))]


def _problem(row: Location) -> str | None:
    """One image at a time: one that is gone says nothing of the next in its container."""
    try:
        for _ in read_contents([row]):
            pass
    except DataError as error:
        said = str(error)
        return said if str(row.image_id) in said else f"image {row.image_id}: {said}"
    return None
