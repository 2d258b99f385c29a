"""Dynamic rounds: re-select with the student as it learns, each round a child manifest."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np

from curate.logits import ArrayLogits
from curate.manifest import Manifest, get_manifest
from curate.networks import score
from curate.selection import Pool, SelectOptions, select
from curate.strategies.kd3 import alpha_at
from distill.networks import Network
from distill.run import MakeReselect, RunOptions
from distill.selection import Selection, read_selection
from distill.trainer import RoundStart
from index.catalog import Catalog, insert
from index.errors import UsageError
from index.parts import Ids
from index.progress import Progress


@dataclass
class Rounds:
    """Re-selects under the settings of a parent manifest, with alpha on the KD3 schedule.

    The logits that are mixed are those of the run's own `teacher`, whichever selected the parent.
    """

    catalog: Catalog
    parent: Manifest
    teacher: str
    classes: int
    run: str
    ids: Ids
    progress: Progress

    def __call__(self, start: RoundStart) -> Selection:
        """Select for a round, or read its manifest back where a run resumes inside it."""
        name = f"{self.run}/round-{start.round + 1:03d}"
        if start.underway:
            return read_selection(self.catalog, name)
        began = time.monotonic()
        alpha = alpha_at((start.epoch - 1) / start.epochs)
        manifest = select(
            Pool(
                catalog=self.catalog,
                teacher=self.teacher,
                classes=self.classes,
                preprocessing=self.parent.preprocessing,
                student=f"{self.run}@{start.round + 1}",
                student_logits=ArrayLogits(self.ids, start.student_logits()),
                embedder=self.parent.embedder,
            ),
            name,
            replace(SelectOptions(**self.parent.options), alpha=alpha),
            parent=self.parent.name,
        )
        self._record(start, manifest, alpha, time.monotonic() - began)
        return read_selection(self.catalog, name)

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
        UsageError: no such manifest, or one whose strategy does not listen to a student.
    """
    parent = get_manifest(catalog, options.manifest)
    check_rounds(parent)
    score(catalog, teacher, options.train.device, workers=options.workers, progress=progress)

    def make_reselect(run: str, ids: Ids) -> Rounds:
        return Rounds(catalog, parent, teacher.key, teacher.num_classes, run, ids, progress)

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
