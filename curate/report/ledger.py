"""A sample of the ledger, and the SQL that gives the same rows again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from curate.report.funnel import Reason
from curate.report.scope import ManifestFacts
from curate.tables import rows_of
from index.catalog import Catalog, literal

_METADATA = 400  # characters of what came with an image
_NAME = 200  # of its place


@dataclass(frozen=True)
class Sample:
    """Rows of one manifest that the table shows: all, or of each reason some.

    `most` is how many of each reason; None where all are shown. `condition` is SQL over
    `decisions` that is true of the sample's rows and no other.
    """

    manifest: str
    most: int | None
    rows: int
    ids: list[int]

    @property
    def condition(self) -> str:
        """SQL; the smallest ids are a sample, for an id is a hash of the content."""
        here = f"manifest = {literal(self.manifest)}"
        if self.most is None:
            return here
        return (
            f"{here} AND image_id IN (SELECT unnest(min(image_id, {self.most})) "
            f"FROM decisions WHERE {here} GROUP BY why)"
        )


@dataclass(frozen=True)
class Image:
    """What the catalog knows of an image whatever the manifest; ids are texts: JSON has doubles."""

    id: str
    uri: str
    places: int
    width: int
    height: int
    format: str
    bytes: int
    metadata: str | None


@dataclass(frozen=True)
class Entry:
    """A row of `decisions`."""

    manifest: str
    image_id: int
    selected: bool
    rank: int | None
    label: int
    score: float
    threshold: float | None
    weight: float
    why: str
    reason: str
    components: dict[str, float]


def draw_sample(
    catalog: Catalog, manifest: ManifestFacts, reasons: Sequence[Reason], most: int
) -> Sample:
    """Draw at most `most` rows of a manifest, as many of each reason where it has as many."""
    counts = [reason.images for reason in reasons]
    each = _of_each(counts, most)
    sample = Sample(manifest.name, each, min(sum(counts), most), [])
    with catalog.read() as connection:
        found = connection.execute(
            f"SELECT image_id FROM decisions WHERE {sample.condition} ORDER BY image_id"
        ).fetchall()
    ids = [image for (image,) in found]
    return Sample(manifest.name, each, len(ids), ids)


def _of_each(counts: list[int], most: int) -> int | None:
    """The largest number so that no more than `most` are drawn when each kind gives so many."""
    if sum(counts) <= most:
        return None
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        if sum(min(count, middle) for count in counts) <= most:
            low = middle
        else:
            high = middle - 1
    return max(1, low)


_IMAGES = f"""
WITH placed AS (
    SELECT image_id, min(uri) AS uri, count(*) AS places,
           left(arg_min(metadata::VARCHAR, uri), {_METADATA}) AS metadata
    FROM locations SEMI JOIN wanted USING (image_id) GROUP BY image_id
)
SELECT id::VARCHAR AS id, left(coalesce(uri, ''), {_NAME}) AS uri, coalesce(places, 0) AS places,
       width, height, format, bytes, metadata
FROM images JOIN wanted ON id = wanted.image_id LEFT JOIN placed ON placed.image_id = id
ORDER BY images.id
"""
_ENTRIES = """
SELECT manifest, image_id, selected, "rank", pseudo_label AS label, score::DOUBLE AS score,
       threshold::DOUBLE AS threshold, weight::DOUBLE AS weight, why, reason, components
FROM decisions SEMI JOIN wanted USING (image_id) WHERE manifest = ? ORDER BY image_id
"""


def read_images_of(catalog: Catalog, ids: Sequence[int]) -> list[Image]:
    """Return what is known of these images, in order of their ids; those that are gone are not."""
    return [Image(**row) for row in _read(catalog, _IMAGES, ids, [])]


def read_entries(catalog: Catalog, manifest: str, ids: Sequence[int]) -> list[Entry]:
    """Return a manifest's rows of these images, in order of their ids."""
    return [Entry(**row) for row in _read(catalog, _ENTRIES, ids, [manifest])]


def _read(
    catalog: Catalog, query: str, ids: Sequence[int], parameters: list[str]
) -> list[dict[str, Any]]:
    with catalog.read() as connection:
        connection.execute("CREATE TEMP TABLE wanted (image_id BIGINT)")
        connection.execute("INSERT INTO wanted SELECT DISTINCT unnest(?::BIGINT[])", [list(ids)])
        return list(rows_of(connection, query, parameters))
