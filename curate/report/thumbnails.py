"""Thumbnails as data URIs: decoded as safely as the crawl was, and bounded in all their bytes."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from PIL import Image

from curate.report.options import THUMBNAIL_BUDGET, THUMBNAIL_SIDE
from index.catalog import Catalog
from index.contents import IMAGES_A_TASK, Location, ReadTask, read_contents, read_tasks
from index.decoding import DecodeError, View, decode
from index.errors import DataError
from index.progress import Progress
from index.workers import default_workers, ordered_map

_QUALITY = 72
_VIEW = View(THUMBNAIL_SIDE, interpolation="bicubic")
_SMALL = 32  # images of fewer pixels a side are shown as they are: the browser enlarges them


@dataclass(frozen=True)
class Thumbnails:
    """WebP data URIs by image id; `drawn` could be read, of those `over` are beyond the budget.

    `gone` can no longer be read.
    """

    uris: dict[int, str]
    drawn: frozenset[int]
    gone: int
    over: int

    def within(self, room: int) -> Thumbnails:
        """Keep the first, so many characters of data URIs at most."""
        ends = accumulate(map(len, self.uris.values()))
        kept = dict(pair for pair, end in zip(self.uris.items(), ends, strict=True) if end <= room)
        return replace(self, uris=kept, over=self.over + len(self.uris) - len(kept))


def make_thumbnails(
    catalog: Catalog,
    ids: Sequence[int],
    others: Sequence[Location],
    *,
    workers: int | None,
    progress: Progress,
    budget: int = THUMBNAIL_BUDGET,
) -> Thumbnails:
    """Draw images of the pool by id, the most important first, and then those at other places.

    An image that is gone, or no longer what it was, has no thumbnail; it ends no report.
    """
    wanted = list(dict.fromkeys([*ids, *(place.image_id for place in others)]))
    only = f"SELECT unnest({list(dict.fromkeys(ids))}::BIGINT[])"
    tasks = [*read_tasks(catalog, only), *_tasks(others)]
    workers = default_workers() if workers is None else workers
    drawn: dict[int, bytes] = {}
    with progress.step("Drawing thumbnails", len(wanted), "images") as advance:
        for found in ordered_map(_draw, tasks, workers):
            drawn.update({image: data for image, data in found if data is not None})
            advance(len(found))
    kept = list(_within(budget, wanted, drawn))
    uris = {image: _data_uri(drawn[image]) for image in kept}
    gone, over = len(wanted) - len(drawn), len(drawn) - len(kept)
    return Thumbnails(uris, frozenset(drawn), gone, over)


def _tasks(places: Sequence[Location]) -> Iterator[ReadTask]:
    for start in range(0, len(places), IMAGES_A_TASK):
        yield ReadTask(tuple(places[start : start + IMAGES_A_TASK]))


def _within(budget: int, wanted: Iterable[int], drawn: dict[int, bytes]) -> Iterator[int]:
    for image in wanted:
        if image in drawn:
            budget -= len(drawn[image])
            if budget < 0:
                return
            yield image


def _data_uri(data: bytes) -> str:
    return "data:image/webp;base64," + base64.b64encode(data).decode("ascii")


def _draw(task: ReadTask) -> list[tuple[int, bytes | None]]:
    """All of a task at once, as its container is read; one by one where that fails."""
    try:
        return [(row.image_id, _webp(data)) for row, data in read_contents(task.rows)]
    except DataError:
        return [(row.image_id, _draw_one(row)) for row in task.rows]


def _draw_one(row: Location) -> bytes | None:
    try:
        ((_, data),) = read_contents([row])
    except DataError:
        return None
    return _webp(data)


def _webp(data: bytes) -> bytes | None:
    try:
        decoded = decode(data, _VIEW)
        if max(decoded.width, decoded.height) <= _SMALL:
            decoded = decode(data, View(min(decoded.width, decoded.height)))
    except DecodeError:
        return None
    stream = io.BytesIO()
    small = len(decoded.pixels) <= _SMALL
    Image.fromarray(decoded.pixels).save(stream, "WEBP", quality=90 if small else _QUALITY)
    return stream.getvalue()
