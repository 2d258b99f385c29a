"""Pixels of catalogued images, read again from where they lie."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import duckdb
import numpy as np

from index import sources
from index.catalog import Catalog, literal
from index.decoding import DecodeError, Pixels, View, decode
from index.errors import DataError
from index.ids import content_sha256, image_id
from index.parts import Ids
from index.workers import default_workers, ordered_map

_IMAGES_A_TASK = 512
# One location an image, in the order of the containers, so that each is read front to back.
_PLAN = """
SELECT image_id, arg_min(kind, uri) AS kind, arg_min(container, uri) AS container,
       arg_min(position, uri) AS position, arg_min(length, uri) AS length
FROM locations {where} GROUP BY image_id ORDER BY container, position, image_id
"""


@dataclass(frozen=True)
class ReadTask:
    """Images that one worker reads: (id, kind, container, position, length) each."""

    rows: tuple[tuple[int, str, str, int, int], ...]

    @property
    def container(self) -> str:
        """The container of the first image, for messages."""
        return self.rows[0][2]


def read_images(
    catalog: Catalog, view: View, *, only: str = "", workers: int | None = None
) -> Iterator[tuple[Ids, Pixels]]:
    """Yield ids (n,) and pixels (n, size, size, 3) of catalogued images in a fixed order.

    Args:
        only: a SQL query that yields the image ids to read; by default all are read.

    Raises:
        DataError: an image is gone or no longer what it was when it was indexed.
    """
    workers = default_workers() if workers is None else workers
    with tempfile.TemporaryDirectory(prefix="kdcurate-") as scratch:
        plan = Path(scratch, "plan.parquet")
        where = f"WHERE image_id IN ({only})" if only else ""
        with catalog.read() as connection:
            query = _PLAN.format(where=where)
            connection.execute(f"COPY ({query}) TO {literal(plan)} (FORMAT parquet)")
        yield from ordered_map(partial(_read_task, view=view), _tasks(plan), workers)


def _tasks(plan: Path) -> Iterator[ReadTask]:
    with duckdb.connect() as connection:
        cursor = connection.execute("FROM read_parquet(?)", [str(plan)])
        while rows := cursor.fetchmany(_IMAGES_A_TASK):
            yield ReadTask(tuple(rows))


def _read_task(task: ReadTask, view: View) -> tuple[Ids, Pixels]:
    ids: list[int] = []
    pixels: list[Pixels] = []
    for kind, container, rows in _by_container(task.rows):
        places = [(row[3], row[4]) for row in rows]
        found = sources.fetch(kind, container, places)
        for row, data in zip(rows, found, strict=True):
            try:
                if image_id(content_sha256(data)) != row[0]:
                    raise DecodeError("its content changed")
                pixels.append(decode(data, view).pixels)
            except DecodeError as error:
                raise DataError(
                    f"image {row[0]} in {container} is no longer readable ({error}): "
                    "run build-index on the sources again"
                ) from None
            ids.append(row[0])
    return np.array(ids, dtype=np.int64), np.stack(pixels)


def _by_container(
    rows: Sequence[tuple[int, str, str, int, int]],
) -> Iterator[tuple[str, str, list[tuple[int, str, str, int, int]]]]:
    group: list[tuple[int, str, str, int, int]] = []
    for row in rows:
        if group and row[1:3] != group[0][1:3]:
            yield group[0][1], group[0][2], group
            group = []
        group.append(row)
    if group:
        yield group[0][1], group[0][2], group
