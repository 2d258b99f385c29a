"""select: scores to a manifest, with a reason for every image."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from curate.filters import Filters
from curate.ledger import Ledger
from curate.logits import Logits, StoredLogits
from curate.manifest import Manifest, commit_manifest, content_hash
from curate.quotas import BALANCES
from curate.shift import BN_SHIFT
from curate.strategies import Batch, Scored, Settings, Strategy, make_strategy
from curate.strategies.base import Floats, softmax
from index import __version__
from index.catalog import Catalog, literal
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
from index.parts import Ids
from index.progress import Progress, Silent


@dataclass(frozen=True)
class SelectOptions:
    """What a selection is made with; stored in the manifest as its options."""

    strategy: str
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

    @property
    def filters(self) -> Filters:
        """What an image must be like to be eligible."""
        return Filters(self.min_size, self.max_aspect, self.max_pixels, self.max_copies, self.where)

    def check(self) -> None:
        """Check what does not depend on the pool.

        Raises:
            UsageError: a value that makes no sense; the message names the option.
        """
        make_strategy(self.strategy, Settings(self.seed, self.alpha))
        for name in ("budget", "per_class"):
            value = getattr(self, name)
            if value is not None and value < 1:
                option = name.replace("_", "-")
                raise UsageError(f"--{option} is {value}: it must be at least 1")
        if self.balance is not None and self.balance not in BALANCES:
            raise UsageError(f"--balance is {self.balance!r}: choose one of {', '.join(BALANCES)}")
        if self.balance not in (None, "none") and self.budget is None:
            raise UsageError(f"--balance {self.balance} shares a budget: give --budget")
        if self.near_duplicates is not None:
            check_cosine(self.near_duplicates, "--near-duplicates")
        if self.perceptual is not None:
            check_bits(self.perceptual, "--perceptual")
        self.filters.check()

    def as_json(self) -> dict[str, Any]:
        """Return the options that were given, for the manifest's row; an alpha of 0 is one."""
        return {
            name: value
            for name, value in vars(self).items()
            if value is not None and value is not False
        }


@dataclass(frozen=True)
class Pool:
    """What a selection reads: the pool as teacher, student, and embedder see it.

    `student_logits` overrides the stored logits of `student`: a round's student is scored in
    memory. `only` (ascending ids) leaves out what else is in the workspace, `decided_by` what a
    manifest did not decide. Nothing that came with the crawl is here, so no selection can read it.
    """

    catalog: Catalog
    teacher: str
    classes: int
    preprocessing: dict[str, Any]
    student: str | None = None
    student_logits: Logits | None = None
    embedder: str | None = None
    only: Ids | None = None
    decided_by: str | None = None


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
    strategy = make_strategy(options.strategy, Settings(options.seed, options.alpha))
    if options.budget is not None:  # without one there is nothing to share
        options = replace(options, balance=options.balance or strategy.default_balance)
    _check(pool, strategy, options)
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
            embedder=pool.embedder if options.near_duplicates else None,
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
        raise UsageError(
            f"{options.strategy} needs a student here: give --student CARD, or --alpha 1"
        )
    if options.reverse and strategy.thresholds(np.ones(pool.classes, np.int64)) is not None:
        raise UsageError(f"--reverse makes no sense with {options.strategy}: it has thresholds")
    if options.near_duplicates is not None and pool.embedder is None:
        raise UsageError("--near-duplicates needs an index: run build-index with an embedder")


def _fill(
    ledger: Ledger, pool: Pool, strategy: Strategy, options: SelectOptions, progress: Progress
) -> None:
    student = pool.student_logits
    if student is None and pool.student is not None:
        student = StoredLogits(pool.catalog, pool.student)
    for ids, teacher in StoredLogits(pool.catalog, pool.teacher).batches():
        if pool.only is not None:
            here = np.isin(ids, pool.only)
            ids, teacher = ids[here], teacher[here]
        batch = Batch(ids, teacher, student.gather(ids) if student else None)
        scored = strategy.score(batch)
        if options.reverse:
            scored = Scored(-scored.score, scored.pseudo_label, scored.components)
        ledger.add(ids, scored, scored.components | _components(pool, batch))
    if options.filters.any:
        filtered = ledger.scratch / "filtered.parquet"
        options.filters.write_parquet(pool.catalog, filtered)
        ledger.add_filtered(filtered)
    ledger.add_groups(*_groups(pool, options, progress))
    if pool.decided_by is not None:
        ledger.keep_only(_write_decided(pool.catalog, pool.decided_by, ledger.scratch))


def _write_decided(catalog: Catalog, manifest: str, folder: Path) -> Path:
    path = folder / "decided.parquet"
    query = f"SELECT image_id FROM decisions WHERE manifest = {literal(manifest)}"
    with catalog.read() as connection:
        connection.execute(f"COPY ({query}) TO {literal(path)} (FORMAT parquet)")
    return path


def _groups(pool: Pool, options: SelectOptions, progress: Progress) -> Groups:
    """Find the groups of which one image stays: the union of both relations."""
    found = []
    if options.near_duplicates is not None and pool.embedder is not None:
        cosine = options.near_duplicates
        found.append(find_by_embedding(pool.catalog, pool.embedder, cosine, progress))
    if options.perceptual is not None:
        found.append(find_by_hash(pool.catalog, options.perceptual, progress))
    return merge_groups(*found)


def _components(pool: Pool, batch: Batch) -> dict[str, Floats]:
    """What the ledger says of an image whatever the strategy: confidence, agreement, shift."""
    teacher = softmax(batch.teacher)
    components = {"teacher_confidence": teacher.max(axis=1)}
    if batch.student is not None:
        student = softmax(batch.student)
        components["student_confidence"] = student.max(axis=1)
        components["agreement"] = agreement(teacher, student)
    shift = _stored_shift(pool, batch.ids)
    if shift is not None:
        components[BN_SHIFT] = shift
    return components


def agreement(teacher: Floats, student: Floats) -> Floats:
    """Return 1 - JS(p_t, p_s) / ln 2 per image: 1 where both say the same, 0 where disjoint."""
    middle: Floats = (teacher + student) / np.float32(2)
    divergence = (_kl(teacher, middle) + _kl(student, middle)) / 2
    agreed: Floats = (1.0 - divergence / np.log(2.0)).astype(np.float32)
    return agreed


def _kl(p: Floats, q: Floats) -> Floats:
    tiny = np.finfo(np.float32).tiny
    total: Floats = (p * (np.log(np.maximum(p, tiny)) - np.log(np.maximum(q, tiny)))).sum(axis=1)
    return total


def _stored_shift(pool: Pool, ids: Ids) -> Floats | None:
    with pool.catalog.read() as connection:
        connection.register("wanted", {"image_id": ids, "place": np.arange(len(ids))})
        found = connection.execute(
            "SELECT s.value FROM wanted w JOIN shifts s USING (image_id) "
            "WHERE s.model = ? AND s.estimator = ? ORDER BY w.place",
            [pool.teacher, BN_SHIFT],
        ).fetchnumpy()
    value = np.asarray(found["value"], dtype=np.float32)
    return value if len(value) == len(ids) else None
