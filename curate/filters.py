"""Filters: images that a person rules out before any score counts, and why in words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.catalog import Catalog
from index.errors import UsageError
from index.parts import Ids


@dataclass(frozen=True)
class Filters:
    """What an image must be like to be eligible; None asks for nothing.

    A filtered image decoded well and has its score; it is a decision, not a failure. It counts
    for no class share and no threshold: those describe the pool that is there to choose from.
    """

    min_size: int | None = None
    max_aspect: float | None = None
    max_pixels: int | None = None

    def check(self) -> None:
        """Check that every filter leaves something that an image can be.

        Raises:
            UsageError: a value that makes no sense; the message names the option.
        """
        for name in ("min_size", "max_pixels"):
            value = getattr(self, name)
            if value is not None and value < 1:
                option = name.replace("_", "-")
                raise UsageError(f"--{option} is {value}: it must be at least 1 pixel")
        if self.max_aspect is not None and not 1 <= self.max_aspect < math.inf:
            raise UsageError(
                f"--max-aspect is {self.max_aspect}: longer side over shorter side, at least 1"
            )

    @property
    def any(self) -> bool:
        """Tell whether there is a filter at all."""
        return any(value is not None for value in vars(self).values())

    def find(self, catalog: Catalog, ids: Ids) -> tuple[Ids, NDArray[Any]]:
        """Return the ids among `ids` (n,) that are filtered (m,), and their reasons (m,)."""
        with catalog.read() as connection:
            connection.register("wanted", {"id": np.asarray(ids)})
            found = connection.execute(_FILTERED, vars(self)).fetchnumpy()
        return np.asarray(found["id"], dtype=np.int64), np.asarray(found["reason"], dtype=object)


# A comparison with NULL is no reason: a filter that was not given rules nothing out.
_FILTERED = """
SELECT id, CASE
    WHEN least(width, height) < $min_size::BIGINT
    THEN printf('filtered: shorter side %d < %d', least(width, height), $min_size::BIGINT)
    WHEN greatest(width, height) / least(width, height) > $max_aspect::DOUBLE
    THEN printf('filtered: aspect %g > %g',
                greatest(width, height) / least(width, height), $max_aspect::DOUBLE)
    WHEN width::BIGINT * height > $max_pixels::BIGINT
    THEN printf('filtered: %d pixels > %d', width::BIGINT * height, $max_pixels::BIGINT)
    END AS reason
FROM wanted JOIN images USING (id) WHERE reason IS NOT NULL ORDER BY id
"""
