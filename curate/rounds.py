"""Dynamic rounds: re-select with the student as it learns, each round a child manifest."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from curate.logits import ArrayLogits
from curate.manifest import Manifest, find_manifest, get_manifest
from curate.modes import stored_mode
from curate.networks import pool_of, score
from curate.options import SelectOptions
from curate.pool import Pool
from curate.selection import select
from curate.strategies.kd3 import alpha_at
from distill.networks import Network
from distill.run import MakeReselect, RunOptions, refuse_rounds
from distill.selection import Selection, read_selection
from distill.trainer import RoundStart
from index.catalog import Catalog, insert
from index.errors import UsageError
from index.parts import Ids
from index.progress import Progress


@dataclass
class Rounds:
    """Re-selects under the settings of a parent manifest, with alpha on the KD3 schedule.

    The pool is what the run's own teacher, whichever selected the parent, says of the images that
    the parent decided: images that came later belong to no round of this run.
    """

    catalog: Catalog
    parent: Manifest
    pool: Pool
    run: str
    progress: Progress

    def __call__(self, start: RoundStart) -> Selection:
        """Select for a round, or read its manifest back where a resumed run has selected it.

        An untrained student has no say in the first round: its BatchNorm statistics fit nothing
        yet, and in a deep network that makes logits of any size.
        """
        name = f"{self.run}/round-{start.round + 1:03d}"
        if start.resumed and self._is_selected(name):
            return read_selection(self.catalog, name)
        began = time.monotonic()
        alpha = 1.0 if start.round == 0 else alpha_at((start.epoch - 1) / start.epochs)
        manifest = select(
            replace(self.pool, **self._student(start) if start.round > 0 else {}),
            name,
            replace(SelectOptions.of(self.parent), alpha=alpha),
            parent=self.parent.name,
        )
        self._record(start, manifest, alpha, time.monotonic() - began)
        return read_selection(self.catalog, name)

    def _student(self, start: RoundStart) -> dict[str, Any]:
        assert self.pool.only is not None
        logits = ArrayLogits(self.pool.only, start.student_logits())
        return {"student": f"{self.run}@{start.round + 1}", "student_logits": logits}

    def _is_selected(self, name: str) -> bool:
        with self.catalog.read() as connection:
            return find_manifest(connection, name) is not None

    def _record(self, start: RoundStart, manifest: Manifest, alpha: float, seconds: float) -> None:
        before = self.parent.name if start.round == 0 else f"{self.run}/round-{start.round:03d}"
        now = read_selection(self.catalog, manifest.name).ids
        then = read_selection(self.catalog, before).ids
        row = {
            "run": self.run,
            "round": start.round + 1,
            "manifest": manifest.name,
            "epoch": int(start.epoch),
            "alpha": alpha,
            "selected": manifest.selected,
            "entered": len(np.setdiff1d(now, then)),
            "left": len(np.setdiff1d(then, now)),
            "seconds": seconds,
        }
        with self.catalog.write() as connection:
            columns = {name: [value] for name, value in row.items()}
            insert(connection, "rounds", columns, replace_on=["run", "round"])
        self.progress.say(
            f"round {start.round + 1}: alpha {alpha:.3f}, {manifest.selected} selected, "
            f"{row['entered']} entered, {row['left']} left"
        )


def prepare_rounds(
    catalog: Catalog, options: RunOptions, teacher: Network, progress: Progress
) -> MakeReselect:
    """Score what the teacher has not scored yet; return what `distill` makes its rounds with.

    Raises:
        UsageError: no such manifest, or one whose strategy does not listen to a student, or a
            method that is told to train on one selection.
    """
    refuse_rounds(options)  # not after hours of scoring
    assert options.manifest is not None  # methods without one take no rounds
    parent = get_manifest(catalog, options.manifest)
    check_rounds(parent)
    score(catalog, teacher, options.train.device, workers=options.workers, progress=progress)
    if stored_mode(catalog, teacher.key) == "none":
        raise UsageError(
            f"rounds mix the logits of teacher and student, and {teacher.key} was scored with "
            "--logits none: leave --rounds out, or score in a new workspace"
        )

    def make_reselect(run: str, ids: Ids) -> Rounds:
        pool = replace(
            pool_of(catalog, teacher),
            embedder=parent.embedder,
            only=ids,
            reference=parent.options.get("reference"),
        )
        return Rounds(catalog, parent, pool, run, progress)

    return make_reselect


def check_rounds(parent: Manifest) -> None:
    """Refuse rounds on a manifest whose strategy does not listen to the student.

    Raises:
        UsageError: the manifest was not selected with kd3.
    """
    if parent.strategy != "kd3":
        raise UsageError(
            f"--rounds re-selects with kd3, and manifest {parent.name!r} was selected with "
            f"{parent.strategy}: select one with --strategy kd3"
        )
