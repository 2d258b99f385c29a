"""Bringing the stored fitted estimates of every image up to date."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import partial

from curate.fitted.base import Fitted, Floats, Sample
from curate.fitted.registry import ESTIMATORS, fitted_on
from curate.fitted.stored import stored_fitted
from curate.logits import StoredLogits
from curate.pool import Pool
from curate.references import stored_reference
from curate.shift import store_estimate
from index.errors import UsageError
from index.parts import Ids
from index.progress import Progress, Silent
from index.vectors import live_count, sample_vectors, vectors_of

SAMPLE_IMAGES = 20_000
_SEED = 0


def update_fitted(
    pool: Pool, names: Collection[str], progress: Progress | None = None, most: int = SAMPLE_IMAGES
) -> None:
    """Compute those of the named estimates that are fitted and missing, for the whole pool.

    An estimate of other images than the pool has is of an older pool, and computed as a whole:
    what it was fitted to may be another now. `most` images of the pool are the sample of it.

    Raises:
        UsageError: there are no vectors to fit to, or no reference where one is needed.
        WorkspaceError: an image without a vector, or the file of the reference is damaged.
    """
    wanted = [name for name in ESTIMATORS if name in names]
    if not wanted:
        return
    if pool.embedder is None:
        raise UsageError(
            f"{wanted[0]} needs the vectors of an index: run build-index with an embedder"
        )
    stored = stored_fitted(pool.catalog, pool.teacher, pool.reference, pool.embedder)
    missing = [name for name in wanted if name not in stored]
    if not missing:
        return
    logits = StoredLogits(pool.catalog, pool.teacher)
    reference = stored_reference(pool.catalog, pool.reference) if pool.reference else None
    sample = _sample(pool, pool.embedder, logits, most)
    for name in missing:
        estimator = ESTIMATORS[name]
        store_estimate(
            pool.catalog,
            pool.teacher,
            name,
            _values(pool, logits, name, estimator.fit(reference, sample), progress or Silent()),
            fitted_on(name, pool.reference, pool.embedder),
        )


def _sample(pool: Pool, embedder: str, logits: StoredLogits, most: int) -> Sample:
    ids, vectors = sample_vectors(pool.catalog, embedder, most, _SEED)
    scored = logits.have(ids)  # a build may have added some since
    prompts = partial(_prompts, pool, embedder)
    return Sample(ids[scored], vectors[scored], logits.gather(ids[scored]), prompts)


def _prompts(pool: Pool, embedder: str) -> Floats:
    from curate.prompts import class_prompts  # it loads torch

    return class_prompts(pool.catalog, pool.teacher, embedder)


def _values(
    pool: Pool, logits: StoredLogits, name: str, fitted: Fitted, progress: Progress
) -> Iterator[tuple[Ids, Floats]]:
    assert pool.embedder is not None
    total = live_count(pool.catalog, pool.embedder)
    with progress.step(f"Estimating {name}", total, "images") as advance:
        for ids, rows in logits.batches():
            yield ids, fitted(vectors_of(pool.catalog, pool.embedder, ids), rows)
            advance(len(ids))
