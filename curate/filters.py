"""Filters: images that a person rules out before any score counts, and why in words."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import duckdb

from curate.predicate import count_matching, matching
from curate.query import sandbox
from index.catalog import Catalog, literal
from index.errors import UsageError


@dataclass(frozen=True)
class Filters:
    """What an image must be like to be eligible; None asks for nothing.

    A filtered image decoded well and has its score; it is a decision, not a failure. It counts
    for no class share and no threshold: those describe the pool that is there to choose from.
    """

    min_size: int | None = None
    max_aspect: float | None = None
    max_pixels: int | None = None
    max_copies: int | None = None
    where: str | None = None

    def check(self) -> None:
        """Check that every filter leaves something that an image can be.

        Raises:
            UsageError: a value that makes no sense; the message names the option.
        """
        units = {"min_size": "pixel", "max_pixels": "pixel", "max_copies": "place"}
        for name, unit in units.items():
            value = getattr(self, name)
            if value is not None and value < 1:
                option = name.replace("_", "-")
                raise UsageError(f"--{option} is {value}: it must be at least 1 {unit}")
        if self.max_aspect is not None and not 1 <= self.max_aspect < math.inf:
            raise UsageError(
                f"--max-aspect is {self.max_aspect}: longer side over shorter side, at least 1"
            )

    @property
    def any(self) -> bool:
        """Tell whether there is a filter at all."""
        return any(value is not None for value in vars(self).values())

    def count_matching(self, catalog: Catalog, timeout_s: float | None = None) -> int | None:
        """Evaluate `where` on the whole catalog; None where it was not given.

        Raises:
            UsageError: see `curate.predicate.matching`, or a value of an image does not fit it.
            QueryLimitError: it takes longer than `timeout_s`, or more memory than it may.
        """
        if self.where is None:
            return None
        with self._sandbox(catalog, timeout_s=timeout_s) as connection:
            return count_matching(connection, self.where)

    def write_parquet(self, catalog: Catalog, path: Path) -> None:
        """Write the filtered images of the catalog: image_id, and the reason as `filter`.

        Raises:
            UsageError, QueryLimitError: as `count_matching`.
        """
        limits = {name: _number(getattr(self, name)) for name in _LIMITS}
        with self._sandbox(catalog, path) as connection:
            unwanted = _NONE
            if self.where is not None:
                unwanted = _UNWANTED.format(matching=matching(connection, self.where))
            query = _FILTERED.format(**limits, unwanted=unwanted)
            connection.execute(f"COPY ({query}) TO {literal(path)} (FORMAT parquet)")

    def _sandbox(
        self, catalog: Catalog, output: Path | None = None, timeout_s: float | None = None
    ) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        what = "the filters" if self.where is None else f"--where {self.where!r}"
        return sandbox(catalog, output, timeout_s, what=what, option="--where-timeout")


def _number(value: float | None) -> str:
    return "NULL" if value is None else str(value)


_LIMITS = ("min_size", "max_aspect", "max_pixels", "max_copies")
_NONE = "SELECT NULL::BIGINT AS image_id, true AS unwanted WHERE false"
# What a predicate says NULL of, it is not true of.
_UNWANTED = """
    SELECT i.id AS image_id, true AS unwanted FROM images i ANTI JOIN ({matching}) m
    ON m.image_id = i.id
"""


# A comparison with NULL is no reason: a filter that was not given rules nothing out. Locations are
# different uris, so their number is that of the places: what a server answers in place of a
# picture that is gone has hundreds.
_FILTERED = """
WITH limits AS (
    SELECT {min_size}::BIGINT AS min_size, {max_aspect}::DOUBLE AS max_aspect,
           {max_pixels}::BIGINT AS max_pixels, {max_copies}::BIGINT AS max_copies
), copied AS (
    SELECT image_id, count(*) AS places FROM locations GROUP BY image_id
    HAVING count(*) > (SELECT max_copies FROM limits)
), sizes AS (
    SELECT id AS image_id, least(width, height) AS shorter, width::BIGINT * height AS pixels,
           greatest(width, height) / least(width, height) AS aspect
    FROM images
), unwanted AS ({unwanted}), judged AS (
    SELECT image_id, CASE
        WHEN places IS NOT NULL THEN printf('placeholder: found at %d places', places)
        WHEN shorter < min_size THEN printf('filtered: shorter side %d < %d', shorter, min_size)
        WHEN aspect > max_aspect THEN printf('filtered: aspect %g > %g', aspect, max_aspect)
        WHEN pixels > max_pixels THEN printf('filtered: %d pixels > %d', pixels, max_pixels)
        WHEN unwanted THEN 'filtered: --where' END AS filter
    FROM sizes LEFT JOIN copied USING (image_id) LEFT JOIN unwanted USING (image_id)
         CROSS JOIN limits
)
SELECT image_id, filter FROM judged WHERE filter IS NOT NULL
"""
