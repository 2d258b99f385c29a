"""select: scores to a manifest, with a reason for every image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from curate.budget import Resolved, resolve
from curate.diversity.picking import pick_diverse
from curate.fitted.update import update_fitted
from curate.ledger import Ledger
from curate.manifest import Manifest, check_name, commit_manifest, content_hash
from curate.metadata import check_metadata
from curate.modes import kept_for
from curate.options import DOMAIN, LEAST_WEIGHT, MOST_WEIGHT, SelectOptions
from curate.pool import Pool
from curate.signals import check_needs
from curate.standing import Standing
from curate.strategies import (
    Batch,
    Scored,
    Strategy,
    check_scored,
    logits_needed,
)
from curate.strategies.base import Floats
from index import __version__
from index.errors import NothingSelectedError, UsageError
from index.files import scratch
from index.progress import Progress, Silent


def select(
    pool: Pool,
    name: str | None,
    options: SelectOptions,
    *,
    parent: str | None = None,
    progress: Progress | None = None,
    standing: Standing | None = None,
) -> Manifest:
    """Decide every image of the pool and commit the manifest with its ledger.

    Selecting again under the same name is harmless where it decides the same. What does not change
    from one round to the next is read from `standing`.

    Raises:
        UsageError: options that contradict each other, or a name that another selection has, or a
            round of a run could have.
        NothingSelectedError: no image is eligible.
    """
    check_name(name)
    with scratch(pool.catalog.workspace, "select") as folder:
        manifest, decisions = decide(pool, name, options, folder, parent, progress, standing)
        return commit_manifest(pool.catalog, manifest, decisions)


def decide(
    pool: Pool,
    name: str | None,
    options: SelectOptions,
    folder: Path,
    parent: str | None = None,
    progress: Progress | None = None,
    standing: Standing | None = None,
) -> tuple[Manifest, Path]:
    """Decide every image of the pool and commit nothing; the ledger is a Parquet file in `folder`.

    Raises:
        UsageError: options that contradict each other.
        NothingSelectedError: no image is eligible.
    """
    options.check()
    options = replace(options, reference=pool.reference)
    strategy = options.make_strategy()
    if options.budget is not None:  # without one there is nothing to share
        options = replace(options, balance=options.balance or strategy.default_balance)
    progress = progress or Silent()
    standing = standing or Standing(pool, options, folder, progress)
    weighed = bool(options.weighed_by)
    kept = kept_for(pool, standing.modes, strategy, progress, weighed=weighed)
    options = replace(options, logits=kept)
    _check(pool, strategy, options, standing)
    update_fitted(pool, options.signals, progress)
    ledger = Ledger(folder, pool.classes)
    try:
        _fill(ledger, pool, strategy, options, standing)
        ledger.mark(strategy.thresholds(ledger.class_counts()))
        budget = _compose(ledger, pool, options, standing, progress)
        total, eligible, selected = ledger.counts()
        if selected == 0:
            raise NothingSelectedError(_none_selected(options.strategy, total, ledger.barriers()))
        digest = content_hash(ledger.selected())
        manifest = Manifest(
            name=name or f"{options.strategy}-{digest[:8]}",
            content_hash=digest,
            strategy=options.strategy,
            options=options.as_json() | budget.as_json(),
            teacher=pool.teacher,
            student=pool.student,
            embedder=pool.embedder if options.reads_vectors else None,
            parent=parent,
            seed=options.seed,
            pool=total,
            eligible=eligible,
            selected=selected,
            preprocessing=pool.preprocessing,
            code_version=__version__,
        )
        return manifest, ledger.write_parquet()
    finally:
        ledger.close()


def _none_selected(strategy: str, total: int, barriers: dict[str, int]) -> str:
    """Say that nothing was selected, why, and what to do about it."""
    if not total:
        return f"{strategy} found no image: run `kdcurate build-index` on a source that has some"
    why = ", ".join(f"{count:,} {kind}" for kind, count in barriers.items())
    remedies = []
    if any(kind.startswith("filtered") for kind in barriers):
        remedies.append("loosen what filters")
    if "below class threshold" in barriers:
        remedies.append("take a --strategy without thresholds, such as msp")
    advice = f"; {' or '.join(remedies)}" if remedies else ""
    return f"{strategy} selected none of {total:,} images: 0 were eligible ({why}){advice}"


def _check(pool: Pool, strategy: Strategy, options: SelectOptions, standing: Standing) -> None:
    options.check_given(
        student=pool.student is not None,
        reference=pool.reference is not None,
        index=pool.embedder is not None,
    )
    check_needs(pool.catalog, pool.teacher, options.strategy, strategy.needs)
    filtered, decided = standing.filtered, standing.decided
    check_metadata(pool.catalog, strategy.needs, filtered=filtered, decided=decided)
    if options.reverse and strategy.thresholds(np.ones(pool.classes, np.int64)) is not None:
        raise UsageError(f"--reverse makes no sense with {options.strategy}: it has thresholds")
    _ = standing.cost  # refused before anything is read


def _compose(
    ledger: Ledger, pool: Pool, options: SelectOptions, standing: Standing, progress: Progress
) -> Resolved:
    """Decide who of the eligible is taken: budget, class quotas, diversity."""
    budget = resolve(options.budget, ledger, standing.cost)
    method, balance = options.method, options.balance or "none"
    ledger.share(budget.images, balance, options.per_class, every_class=method is not None)
    if method is not None:
        assert pool.embedder is not None
        pick_diverse(ledger, pool.catalog, pool.embedder, method, options.seed, progress)
    ledger.settle(budget.images, method.reason if method else None)
    return budget


def _fill(
    ledger: Ledger, pool: Pool, strategy: Strategy, options: SelectOptions, standing: Standing
) -> None:
    logits = logits_needed(strategy) != "none"
    batches = pool.batches(standing.known, options.signals, ledger.connection, logits=logits)
    for batch, components in batches:
        scored = strategy.score(batch)
        check_scored(options.strategy, batch.ids, scored, pool.classes)
        components |= scored.components
        if options.reverse:
            scored = Scored(-scored.score, scored.pseudo_label)
        ledger.add(batch.ids, scored, components, _importance(batch, options))
    if standing.filtered is not None:
        ledger.add_filtered(standing.filtered)
    ledger.add_groups(*standing.groups)
    if standing.decided is not None:
        ledger.keep_only(standing.decided)


def _importance(batch: Batch, options: SelectOptions) -> Floats | None:
    """The importance weight of each image (n,): its density ratio, clipped."""
    if options.weights != DOMAIN:
        return None
    weights: Floats = np.clip(batch.signals[DOMAIN], LEAST_WEIGHT, MOST_WEIGHT)
    return weights
