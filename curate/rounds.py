"""Dynamic rounds: re-select with the student as it learns, each round a child manifest."""

from __future__ import annotations

import time
import weakref
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from curate.logits import ArrayLogits, StoredLogits
from curate.manifest import Manifest, commit_manifest, find_manifest, get_manifest
from curate.modes import stored_mode
from curate.networks import pool_of, score
from curate.options import SelectOptions
from curate.pool import Pool
from curate.refresh import distances, due
from curate.selection import decide
from curate.standing import Standing
from curate.strategies.kd3 import alpha_at
from curate.tables import connect
from distill.checks import refuse_rounds
from distill.freshness import NEVER, RecentLogits
from distill.networks import Network
from distill.reselection import RoundStart
from distill.run import MakeReselect, RunOptions
from distill.selection import Selection, read_selection, selected_of
from index.catalog import Catalog, literal
from index.errors import UsageError
from index.files import scratch
from index.parts import Ids, half, places
from index.progress import Progress, Silent

_SAID = "round {round}: alpha {alpha:.3f}, {selected} selected, {entered} entered, {left} left"


@dataclass
class Rounds:
    """Re-selects under the settings of a parent manifest, with alpha on the KD3 schedule.

    The pool is what the run's own teacher, whichever selected the parent, says of the images that
    the parent decided: images that came later belong to no round of this run. The teacher keeps a
    share of `alpha_floor` of the logits, however far the schedule has come.
    """

    catalog: Catalog
    parent: Manifest
    pool: Pool
    run: str
    progress: Progress
    alpha_floor: float = 0.0
    _last: Judged | None = field(default=None, init=False)

    def __call__(self, start: RoundStart) -> Selection:
        """Select for a round, or read its manifest back where a resumed run has selected it.

        An untrained student has no say in the first round: its BatchNorm statistics fit nothing
        yet, and in a deep network that makes logits of any size.
        """
        name, began = self._name(start.round), time.monotonic()
        # What was said before is what the rest goes on from, whether this is selected yet or not.
        asked = self._ask(start) if start.round > 0 and start.begins else 0
        if start.resumed and self._is_selected(name):
            return read_selection(self.catalog, name)
        with scratch(self.catalog.workspace, "round") as folder:
            manifest, file = self._decide(start, name, folder)
            before, now = self._before(start.round).selection.ids, self._judged(file, manifest)
            facts = {
                "run": self.run,
                "round": start.round + 1,
                "manifest": name,
                "epoch": int(start.epoch),
                "alpha": manifest.options["alpha"],
                "selected": manifest.selected,
                "entered": len(np.setdiff1d(now.selection.ids, before)),
                "left": len(np.setdiff1d(before, now.selection.ids)),
                **_heard(start, asked, manifest.pool),
                "seconds": time.monotonic() - began,
            }
            self._commit(manifest, file, facts)
        self._last = now
        self.progress.say(_SAID.format(**facts))
        return now.selection

    def _commit(self, manifest: Manifest, file: Path, facts: dict[str, Any]) -> None:
        try:
            commit_manifest(self.catalog, manifest, file, facts)
        except UsageError as error:  # its own advice is for `select`
            raise UsageError(
                f"{manifest.name} is there, of an earlier training of run {self.run} that decided "
                "differently: give this training another --run name"
            ) from error

    def _decide(self, start: RoundStart, name: str, folder: Path) -> tuple[Manifest, Path]:
        scheduled = 1.0 if start.round == 0 else alpha_at((start.epoch - 1) / start.epochs)
        alpha = max(scheduled, self.alpha_floor)
        pool = replace(self.pool, **self._student(start) if start.round > 0 else {})
        options = replace(SelectOptions.of(self.parent), alpha=alpha)
        return decide(pool, name, options, folder, self.parent.name, standing=self._standing)

    def _before(self, number: int) -> Judged:
        """What was decided before the round of this number from 0, read where it is not known."""
        name = self._name(number - 1) if number > 0 else self.parent.name
        if self._last is None or self._last.selection.manifest != name:
            self._last = Judged.stored(self.catalog, name)
        return self._last

    def _judged(self, file: Path, manifest: Manifest) -> Judged:
        """Read a ledger that is not stored yet."""
        name, digest = manifest.name, manifest.content_hash
        decisions = f"read_parquet({literal(file)})"
        selection = selected_of(self._reader, decisions, name, digest)
        return Judged(selection, distances(self._reader, decisions))

    @cached_property
    def _folder(self) -> Path:
        """A folder that goes with this object."""
        opened = ExitStack()
        weakref.finalize(self, opened.close)
        return opened.enter_context(scratch(self.catalog.workspace, "rounds"))

    @cached_property
    def _standing(self) -> Standing:
        """What all rounds read alike."""
        return Standing(self.pool, SelectOptions.of(self.parent), self._folder, Silent())

    @cached_property
    def _reader(self) -> duckdb.DuckDBPyConnection:
        return connect(self._folder)

    def _name(self, number: int) -> str:
        """Name the manifest of a round from 0."""
        return f"{self.run}/round-{number + 1:03d}"

    def _ask(self, start: RoundStart) -> int:
        """Ask the student about what is due, where the run keeps what it said; return how many."""
        recent = start.recent
        if recent is None:
            return 0
        if start.round == 1:
            self._let_teacher_speak(recent)
        asked = due(recent, self._before(start.round).distances)
        recent.refresh(asked)
        recent.trained = 0
        return len(asked)

    def _let_teacher_speak(self, recent: RecentLogits) -> None:
        """Where the student has not been heard yet, the teacher's logits stand for its own."""
        for ids, logits in StoredLogits(self.catalog, self.pool.teacher).batches():
            here = np.isin(ids, self._ids)
            where = places(self._ids, ids[here])
            silent = recent.steps[where] == NEVER
            recent.rows[where[silent]] = half(logits[here][silent])

    @property
    def _ids(self) -> Ids:
        assert self.pool.only is not None
        return self.pool.only

    def _student(self, start: RoundStart) -> dict[str, Any]:
        recent = start.recent
        if recent is None:
            logits = ArrayLogits(self._ids, start.student_logits())
        else:
            logits = ArrayLogits(self._ids, recent.rows, recent.ages())
        return {"student": f"{self.run}@{start.round + 1}", "student_logits": logits}

    def _is_selected(self, name: str) -> bool:
        with self.catalog.read() as connection:
            return find_manifest(connection, name) is not None


@dataclass(frozen=True)
class Judged:
    """What rounds need of a manifest: who was selected, and how far each was from the opposite."""

    selection: Selection
    distances: NDArray[np.float32]

    @classmethod
    def stored(cls, catalog: Catalog, name: str) -> Judged:
        """Read the ledger of a manifest."""
        selection = read_selection(catalog, name)
        with catalog.read() as connection:
            own = f"(FROM decisions WHERE manifest = {literal(name)})"
            return cls(selection, distances(connection, own))


def _heard(start: RoundStart, asked: int, pool: int) -> dict[str, Any]:
    """What a round's student said: now, before, and how long before on average."""
    if start.round == 0:
        return {"refreshed": 0, "reused": 0, "mean_age": None}
    if start.recent is None:
        return {"refreshed": pool, "reused": 0, "mean_age": None}
    ages = start.recent.ages()
    reused = ages[ages > 0]
    return {
        "refreshed": asked,
        "reused": len(reused),
        "mean_age": float(reused.mean()) if len(reused) else None,
    }


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
        return Rounds(catalog, parent, pool, run, progress, options.train.alpha_floor)

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
