"""What an estimator is: fitted once, then a value for each image from its vector and logits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from curate.references import Reference
from index.errors import UsageError
from index.parts import Ids

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
_ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class Sample:
    """Images of the pool: ids (m,), unit-norm vectors (m, D), the teacher's logits (m, K).

    The same images in the same order, whatever the order of the crawl. `prompts` embeds the names
    of the classes, (K, D) unit-norm, where the embedder reads text; see `curate.prompts`.
    """

    ids: Ids
    vectors: Floats
    logits: Floats
    prompts: Callable[[], Floats] | None = None


class Fitted(Protocol):
    """An estimate, ready for any image."""

    def __call__(self, vectors: Floats, logits: Floats) -> Floats:
        """Return a value (n,) for unit-norm vectors (n, D) and the teacher's logits (n, K).

        Computed in float64 and rounded once, so that no value depends on those beside it.
        """
        ...


Fit = Callable[[Reference | None, Sample], Fitted]


@dataclass(frozen=True)
class Estimator:
    """A line of the registry: how an estimate is fitted, and whether to a reference set."""

    fit: Fit
    needs_reference: bool


def from_reference(fit: Callable[[Reference, Sample], Fitted]) -> Estimator:
    """Return the estimator of what is fitted to a reference set, beside a sample of the pool."""

    def checked(reference: Reference | None, sample: Sample) -> Fitted:
        if reference is None:
            raise UsageError("this estimate needs a reference set: give --reference SOURCE")
        return fit(reference, sample)

    return Estimator(checked, needs_reference=True)


def from_pool(fit: Callable[[Sample], Fitted]) -> Estimator:
    """Return the estimator of what is fitted to a sample of the pool alone."""
    return Estimator(lambda _, sample: fit(sample), needs_reference=False)


def in_blocks(
    vectors: Floats, compute: Callable[[Doubles], Doubles], rows: int = _ROWS_AT_ONCE
) -> Floats:
    """Apply `compute`, (b, D) float64 to (b,), to vectors (n, D) a bounded number at a time."""
    found = np.empty(len(vectors), np.float32)
    for block in blocks(len(vectors), rows):
        found[block] = compute(vectors[block].astype(np.float64))
    return found


def blocks(count: int, rows: int = _ROWS_AT_ONCE) -> Iterator[slice]:
    """Yield the slices that cut `count` rows into blocks."""
    for start in range(0, count, rows):
        yield slice(start, min(start + rows, count))


def squared_distances(one: Doubles, other: Doubles) -> Doubles:
    """Return |a - b|^2 (n, m) of rows a (n, D) and b (m, D); never below 0."""
    lengths = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1)
    found: Doubles = np.maximum(lengths - 2 * (one @ other.T), 0)
    return found
