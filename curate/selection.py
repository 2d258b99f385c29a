"""select: scores to a manifest, with a reason for every image."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from curate.filters import Filters
from curate.fitted import fitted_names
from curate.fitted.update import update_fitted
from curate.ledger import Ledger
from curate.manifest import Manifest, commit_manifest, content_hash
from curate.pool import Pool
from curate.quotas import BALANCES
from curate.signals import check_needs, check_reference
from curate.strategies import (
    Batch,
    Rank,
    Scored,
    Settings,
    Strategy,
    check_scored,
    make_strategy,
)
from curate.strategies.base import Floats
from index import __version__
from index.catalog import literal
from index.duplicates import (
    Groups,
    check_bits,
    check_cosine,
    find_by_embedding,
    find_by_hash,
    merge_groups,
)
from index.errors import NothingSelectedError, UsageError
from index.files import scratch
from index.progress import Progress, Silent

DOMAIN = "domain"
WEIGHTS = ("none", DOMAIN)
# A few images that are far likelier in the reference than in the pool shall not be all of the loss.
LEAST_WEIGHT, MOST_WEIGHT = 0.1, 10.0


@dataclass(frozen=True)
class SelectOptions:
    """What a selection is made with; stored in the manifest as its options.

    `reference` is the key of the pool's reference set, whatever is given here.
    """

    strategy: str
    rank: str | None = None
    budget: int | None = None
    balance: str | None = None
    per_class: int | None = None
    alpha: float | None = None
    seed: int = 0
    near_duplicates: float | None = None
    perceptual: int | None = None
    reverse: bool = False
    min_size: int | None = None
    max_aspect: float | None = None
    max_pixels: int | None = None
    max_copies: int | None = None
    where: str | None = None
    reference: str | None = None
    weights: str | None = None

    @property
    def filters(self) -> Filters:
        """What an image must be like to be eligible."""
        return Filters(self.min_size, self.max_aspect, self.max_pixels, self.max_copies, self.where)

    @property
    def weighed_by(self) -> tuple[str, ...]:
        """The signals that the weights are made of."""
        return (DOMAIN,) if self.weights == DOMAIN else ()

    def check(self) -> None:
        """Check what does not depend on the pool.

        Raises:
            UsageError: a value that makes no sense; the message names the option.
        """
        self.make_strategy()
        for name in ("budget", "per_class"):
            value = getattr(self, name)
            if value is not None and value < 1:
                option = name.replace("_", "-")
                raise UsageError(f"--{option} is {value}: it must be at least 1")
        if self.balance is not None and self.balance not in BALANCES:
            raise UsageError(f"--balance is {self.balance!r}: choose one of {', '.join(BALANCES)}")
        if self.balance not in (None, "none") and self.budget is None:
            raise UsageError(f"--balance {self.balance} shares a budget: give --budget")
        if self.weights not in (None, *WEIGHTS):
            raise UsageError(f"--weights is {self.weights!r}: choose one of {', '.join(WEIGHTS)}")
        if self.near_duplicates is not None:
            check_cosine(self.near_duplicates, "--near-duplicates")
        if self.perceptual is not None:
            check_bits(self.perceptual, "--perceptual")
        self.filters.check()

    def check_reference(self, *, given: bool) -> None:
        """Check that a reference set is given where strategy or weights need one; before any work.

        Raises:
            UsageError: it is not.
        """
        check_reference(self.strategy, self.make_strategy().needs, given=given)
        check_reference(f"--weights {self.weights}", self.weighed_by, given=given)

    def make_strategy(self) -> Strategy:
        """Make the strategy: `rank` of its expression, every other of its name.

        Raises:
            UsageError: see `curate.strategies.make_strategy`, or only one half of a rank is given.
        """
        settings = Settings(self.seed, self.alpha)
        if (self.rank is not None) != (self.strategy == Rank.name):
            raise UsageError("--rank EXPRESSION is a strategy of its own: leave --strategy out")
        if self.rank is not None:
            return Rank(self.rank, settings)
        return make_strategy(self.strategy, settings)

    def as_json(self) -> dict[str, Any]:
        """Return the options that were given, for the manifest's row; an alpha of 0 is one."""
        return {
            name: value
            for name, value in vars(self).items()
            if value is not None and value is not False
        }


def select(
    pool: Pool,
    name: str | None,
    options: SelectOptions,
    *,
    parent: str | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """Decide every image of the pool and commit the manifest with its ledger.

    Selecting again under the same name is harmless where it decides the same.

    Raises:
        UsageError: options that contradict each other, or a name that another selection has.
        NothingSelectedError: no image is eligible.
    """
    with scratch(pool.catalog.workspace, "select") as folder:
        manifest, decisions = decide(pool, name, options, folder, parent, progress)
        return commit_manifest(pool.catalog, manifest, decisions)


def decide(
    pool: Pool,
    name: str | None,
    options: SelectOptions,
    folder: Path,
    parent: str | None = None,
    progress: Progress | None = None,
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
    _check(pool, strategy, options)
    update_fitted(pool, _needs(strategy, options), progress)
    ledger = Ledger(folder, pool.classes)
    try:
        _fill(ledger, pool, strategy, options, progress or Silent())
        ledger.decide(
            strategy.thresholds(ledger.class_counts()),
            options.budget,
            options.balance or "none",
            options.per_class,
        )
        total, eligible, selected = ledger.counts()
        if selected == 0:
            raise NothingSelectedError(
                f"{options.strategy} selected none of {total} images: {eligible} were eligible"
            )
        digest = content_hash(ledger.selected())
        manifest = Manifest(
            name=name or f"{options.strategy}-{digest[:8]}",
            content_hash=digest,
            strategy=options.strategy,
            options=options.as_json(),
            teacher=pool.teacher,
            student=pool.student,
            embedder=pool.embedder if _reads_vectors(strategy, options) else None,
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


def _check(pool: Pool, strategy: Strategy, options: SelectOptions) -> None:
    if strategy.needs_student and pool.student is None:
        otherwise = ", or --alpha 1" if hasattr(strategy, "alpha") else ""
        raise UsageError(f"{options.strategy} needs a student: give --student CARD{otherwise}")
    options.check_reference(given=pool.reference is not None)
    check_needs(pool.catalog, pool.teacher, options.strategy, strategy.needs)
    if options.reverse and strategy.thresholds(np.ones(pool.classes, np.int64)) is not None:
        raise UsageError(f"--reverse makes no sense with {options.strategy}: it has thresholds")
    if options.near_duplicates is not None and pool.embedder is None:
        raise UsageError("--near-duplicates needs an index: run build-index with an embedder")


def _needs(strategy: Strategy, options: SelectOptions) -> set[str]:
    return {*strategy.needs, *options.weighed_by}


def _reads_vectors(strategy: Strategy, options: SelectOptions) -> bool:
    fitted = _needs(strategy, options).intersection(fitted_names())
    return bool(options.near_duplicates or fitted)


def _fill(
    ledger: Ledger, pool: Pool, strategy: Strategy, options: SelectOptions, progress: Progress
) -> None:
    for batch, components in pool.batches(_needs(strategy, options)):
        scored = strategy.score(batch)
        check_scored(options.strategy, batch.ids, scored, pool.classes)
        components |= scored.components
        if options.reverse:
            scored = Scored(-scored.score, scored.pseudo_label)
        ledger.add(batch.ids, scored, components, _importance(batch, options))
    if options.filters.any:
        filtered = ledger.scratch / "filtered.parquet"
        options.filters.write_parquet(pool.catalog, filtered)
        ledger.add_filtered(filtered)
    ledger.add_groups(*_groups(pool, options, progress))
    if pool.decided_by is not None:
        decided = ledger.scratch / "decided.parquet"
        query = f"SELECT image_id FROM decisions WHERE manifest = {literal(pool.decided_by)}"
        pool.catalog.write_parquet(query, decided)
        ledger.keep_only(decided)


def _importance(batch: Batch, options: SelectOptions) -> Floats | None:
    """The importance weight of each image (n,): its density ratio, clipped."""
    if options.weights != DOMAIN:
        return None
    weights: Floats = np.clip(batch.signals[DOMAIN], LEAST_WEIGHT, MOST_WEIGHT)
    return weights


def _groups(pool: Pool, options: SelectOptions, progress: Progress) -> Groups:
    """Find the groups of which one image stays: the union of both relations."""
    found = []
    if options.near_duplicates is not None and pool.embedder is not None:
        cosine = options.near_duplicates
        found.append(find_by_embedding(pool.catalog, pool.embedder, cosine, progress))
    if options.perceptual is not None:
        found.append(find_by_hash(pool.catalog, options.perceptual, progress))
    return merge_groups(*found)
