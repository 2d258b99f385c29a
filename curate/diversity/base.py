"""What every way of picking diverse images works on, and how they compare two images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index.parts import Ids
from index.vectors import Vectors

# A whole number of these in every value makes products of vectors sums of whole numbers below
# 2^24, which float32 adds without rounding: the same in any order, on any number of threads. That
# holds up to 36,000 dimensions (rounding lengthens a vector by up to sqrt(D) / 8000), and moves a
# cosine by some 0.0001, which is what the stored float16 does as well.
_STEPS = 4000
# Of a product of two such vectors.
ONE = _STEPS**2
# Of a class, the best so many times its quota are candidates.
CANDIDATES_A_PICK = 4
_BLOCK = 1024


@dataclass(frozen=True)
class Candidates:
    """The images of one class among which to pick: ids (n,) ascending, and of each

    places: (n,) its place in the class by score, the smallest is the best;
    vectors: (n, D) its unit vector as whole numbers, see `whole`.
    """

    ids: Ids
    places: NDArray[np.int64]
    vectors: Vectors

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Picks:
    """Positions (k,) among the candidates in the order of picking, and what each one added (k,)."""

    taken: NDArray[np.int64]
    added: NDArray[np.float64]


@dataclass(frozen=True)
class Method:
    """A way of picking.

    `pick` takes candidates, how many to pick (at least 1, at most all), and a seed.
    `reason` is a SQL expression over the columns `pick` (from 1), `picks` (in all) and `added`.
    """

    pick: Callable[[Candidates, int, int], Picks]
    reason: str


def whole(vectors: Vectors) -> Vectors:
    """Round unit vectors (n, D) to whole numbers of 1/4000, as float32, so that sums are exact."""
    rounded: Vectors = np.rint(vectors * np.float32(_STEPS)).astype(np.float32, copy=False)
    return rounded


def nearest_taken(
    vectors: Vectors, taken: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return for each of the vectors (n, D) the nearest of those taken (n,) and the cosine (n,).

    `taken` are ascending positions; of equally near ones the first counts.
    """
    position = np.empty(len(vectors), np.int64)
    cosine = np.empty(len(vectors), np.float64)
    theirs = vectors[taken].T
    for start in range(0, len(vectors), _BLOCK):
        block = slice(start, start + _BLOCK)
        products = vectors[block] @ theirs
        best = products.argmax(axis=1)
        position[block] = taken[best]
        cosine[block] = np.take_along_axis(products, best[:, None], axis=1)[:, 0]
    return position, cosine / ONE
