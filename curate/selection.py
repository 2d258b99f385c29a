"""select: scores to a manifest, with a reason for every image."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from curate.budget import Resolved, check_budget, cost_of, resolve
from curate.diversity import METHODS, NONE, Method
from curate.diversity.picking import pick_diverse
from curate.filters import Filters
from curate.ledger import Ledger
from curate.manifest import Manifest, commit_manifest, content_hash
from curate.modes import kept_for
from curate.pool import Pool
from curate.quotas import BALANCES
from curate.shift import stored_estimates
from curate.signals import check_needs
from curate.strategies import (
    Rank,
    Scored,
    Settings,
    Strategy,
    check_scored,
    logits_needed,
    make_strategy,
)
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


@dataclass(frozen=True)
class SelectOptions:
    """What a selection is made with; stored in the manifest as its options.

    `logits` is how those that it reads are kept, where that is less than all of them: it follows
    from the pool, whatever is given here.
    """

    strategy: str
    rank: str | None = None
    budget: int | str | None = None
    balance: str | None = None
    diversity: str | None = None
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
    logits: str | None = None

    @property
    def filters(self) -> Filters:
        """What an image must be like to be eligible."""
        return Filters(self.min_size, self.max_aspect, self.max_pixels, self.max_copies, self.where)

    def check(self) -> None:
        """Check what does not depend on the pool.

        Raises:
            UsageError: a value that makes no sense; the message names the option.
        """
        self.make_strategy()
        if self.budget is not None:
            check_budget(self.budget)
        if self.per_class is not None and self.per_class < 1:
            raise UsageError(f"--per-class is {self.per_class}: it must be at least 1")
        self._check_composition()
        if self.near_duplicates is not None:
            check_cosine(self.near_duplicates, "--near-duplicates")
        if self.perceptual is not None:
            check_bits(self.perceptual, "--perceptual")
        self.filters.check()

    def _check_composition(self) -> None:
        if self.balance is not None and self.balance not in BALANCES:
            raise UsageError(f"--balance is {self.balance!r}: choose one of {', '.join(BALANCES)}")
        if self.balance not in (None, "none") and self.budget is None:
            raise UsageError(f"--balance {self.balance} shares a budget: give --budget")
        if self.diversity not in (None, NONE, *METHODS):
            choices = ", ".join((NONE, *METHODS))
            raise UsageError(f"--diversity is {self.diversity!r}: choose one of {choices}")
        if self.method is not None and self.budget is None and self.per_class is None:
            raise UsageError(
                f"--diversity {self.diversity} picks some of each class: say how many, with "
                "--budget or --per-class"
            )

    @property
    def method(self) -> Method | None:
        """How diverse images are picked; None where the best scores are taken."""
        return METHODS.get(self.diversity or NONE)

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

    @property
    def compares_vectors(self) -> bool:
        """Tell whether the decisions depend on the vectors of an embedder."""
        return self.near_duplicates is not None or self.method is not None

    @classmethod
    def of(cls, manifest: Manifest) -> SelectOptions:
        """Return the options that a manifest was selected with, as they were given."""
        known = {one.name for one in fields(cls)}
        return cls(**{name: value for name, value in manifest.options.items() if name in known})

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
    strategy = options.make_strategy()
    if options.budget is not None:  # without one there is nothing to share
        options = replace(options, balance=options.balance or strategy.default_balance)
    options = replace(options, logits=kept_for(pool, strategy, progress or Silent()))
    _check(pool, strategy, options)
    ledger = Ledger(folder, pool.classes)
    try:
        _fill(ledger, pool, strategy, options, progress or Silent())
        ledger.mark(strategy.thresholds(ledger.class_counts()))
        budget = _compose(ledger, pool, options, progress or Silent())
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
            options=options.as_json() | budget.as_json(),
            teacher=pool.teacher,
            student=pool.student,
            embedder=pool.embedder if options.compares_vectors else None,
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
    check_needs(pool.catalog, pool.teacher, options.strategy, strategy.needs)
    if options.reverse and strategy.thresholds(np.ones(pool.classes, np.int64)) is not None:
        raise UsageError(f"--reverse makes no sense with {options.strategy}: it has thresholds")
    if options.near_duplicates is not None and pool.embedder is None:
        raise UsageError("--near-duplicates needs an index: run build-index with an embedder")
    if options.method is not None and pool.embedder is None:
        raise UsageError(
            f"--diversity {options.diversity} needs an index: run build-index with an embedder"
        )
    _cost(pool, options)


def _cost(pool: Pool, options: SelectOptions) -> str | None:
    stored = stored_estimates(pool.catalog, pool.teacher)
    return cost_of(options.budget, pool.teacher, stored)


def _compose(ledger: Ledger, pool: Pool, options: SelectOptions, progress: Progress) -> Resolved:
    """Decide who of the eligible is taken: budget, class quotas, diversity."""
    budget = resolve(options.budget, ledger, _cost(pool, options))
    method, balance = options.method, options.balance or "none"
    ledger.share(budget.images, balance, options.per_class, every_class=method is not None)
    if method is not None:
        assert pool.embedder is not None
        pick_diverse(ledger, pool.catalog, pool.embedder, method, options.seed, progress)
    ledger.settle(budget.images, method.reason if method else None)
    return budget


def _fill(
    ledger: Ledger, pool: Pool, strategy: Strategy, options: SelectOptions, progress: Progress
) -> None:
    for batch, components in pool.batches(
        strategy.needs, ledger.scratch, logits=logits_needed(strategy) != "none"
    ):
        scored = strategy.score(batch)
        check_scored(options.strategy, batch.ids, scored, pool.classes)
        components |= scored.components
        if options.reverse:
            scored = Scored(-scored.score, scored.pseudo_label)
        ledger.add(batch.ids, scored, components)
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


def _groups(pool: Pool, options: SelectOptions, progress: Progress) -> Groups:
    """Find the groups of which one image stays: the union of both relations."""
    found = []
    if options.near_duplicates is not None and pool.embedder is not None:
        cosine = options.near_duplicates
        found.append(find_by_embedding(pool.catalog, pool.embedder, cosine, progress))
    if options.perceptual is not None:
        found.append(find_by_hash(pool.catalog, options.perceptual, progress))
    return merge_groups(*found)
