"""A run: a student trained on a manifest, its files under runs/NAME and its row in the catalog."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from distill.checkpoint import checkpoint_path
from distill.draws import step_seed
from distill.evaluation import evaluate
from distill.failures import told_if_out_of_memory
from distill.images import load_labelled, load_pool
from distill.methods import Method, find_method
from distill.networks import Network, load_network, network_key, save_student
from distill.networks.card import resolve
from distill.options import TrainOptions
from distill.processes import Processes, join
from distill.record import hashes, record_run, settings
from distill.result import RunResult, read_result, write_result
from distill.selection import Selection, read_selection
from distill.trainer import Reselect, RoundStart, Trainer, TrainResult
from index.catalog import Catalog, literal
from index.errors import MethodError, UsageError
from index.files import locked, remove_leftovers
from index.progress import Progress, Silent
from index.sources import check

MakeReselect = Callable[[str, NDArray[np.int64]], Reselect]
# Rounds choose among all that the manifest decided: a pool that no later build changes.
DECIDED = "SELECT image_id FROM decisions WHERE manifest = {}"
CHOSEN = DECIDED + " AND selected"


@dataclass(frozen=True)
class RunOptions:
    """What is trained on what; `method_options` go to the method."""

    manifest: str
    teacher: str
    student: str
    method: str
    train: TrainOptions
    method_options: dict[str, Any]
    name: str | None = None
    evaluate_on: str | None = None
    cache_budget_gib: float = 4.0
    workers: int | None = None


def run_name(options: RunOptions, teacher: Network, content_hash: str) -> str:
    """Return the name that the same command gets again: readable, with a hash of its options."""
    identity = json.dumps(_identity(options, teacher, content_hash), sort_keys=True)
    digest = hashlib.sha256(identity.encode()).hexdigest()[:6]
    kind = options.student.partition("?")[0].rpartition(":")[2]
    student = Path(kind).stem.replace("/", "-")
    manifest = options.manifest.replace("/", "-")
    return f"{manifest}-{options.method}-{student}-s{options.train.seed}-{digest}"


def distill(
    catalog: Catalog,
    options: RunOptions,
    *,
    teacher: Network,
    make_reselect: MakeReselect | None = None,
    progress: Progress | None = None,
    processes: Processes | None = None,
) -> RunResult:
    """Train a student, or finish or report the run that the same options began.

    Where several processes train together, each calls this with the same arguments; only the
    first reads the catalog and writes.

    Args:
        make_reselect: takes the run's name and the pool's ids, ascending; what it returns is
            called at the start of each of `options.train.rounds` rounds.

    Raises:
        DataError: what to evaluate on is not there.
        UsageError: no such manifest, student, or method, or a run name that is a path.
        WorkspaceError: another process trains this run, or it was begun with other options.
    """
    progress = progress or Silent()
    processes = processes or join(options.train.device, options.train.precision)
    options = replace(options, train=replace(options.train, processes=processes.count))
    options.train.check()
    if options.evaluate_on:
        check([options.evaluate_on])  # not after hours of training
    selection = processes.of_first(lambda: read_selection(catalog, options.manifest))
    name = options.name or run_name(options, teacher, selection.content_hash)
    if Path(name).name != name or name == "..":
        raise UsageError(f"--run {name!r} is a path: give a name, without slashes")
    folder = catalog.workspace / "runs" / name
    identity = _identity(options, teacher, selection.content_hash)
    method = make_method(options, teacher)
    job = _Job(catalog, options, teacher, method, selection, folder, identity, processes, progress)
    with _alone(folder) if processes.first else nullcontext():
        finished = processes.of_first(lambda: read_result(folder, identity))
        if finished and options.evaluate_on in (None, finished.evaluated_on):
            progress.say(f"run {name} is finished: its result is read, nothing is trained")
            return finished
        if options.train.rounds and not processes.first:
            make_reselect = _asks_the_first
        with told_if_out_of_memory(options.train, checkpoint_path(folder)):
            trainer = job.trainer(make_reselect)
        result = trainer.fit()
        return processes.of_first(lambda: job.finish(trainer, result))


@dataclass(frozen=True)
class _Job:
    """A run that is to be trained, and where to."""

    catalog: Catalog
    options: RunOptions
    teacher: Network
    method: Method
    selection: Selection
    folder: Path
    identity: dict[str, Any]
    processes: Processes
    progress: Progress

    def trainer(self, make_reselect: MakeReselect | None) -> Trainer:
        """Load the images and make what trains on them."""
        options = self.options
        only = (DECIDED if make_reselect else CHOSEN).format(literal(options.manifest))
        images = load_pool(
            self.catalog,
            self.method.student.card.input.view(),
            only=only,
            cache_budget_gib=options.cache_budget_gib,
            workers=options.workers,
            progress=self.progress,
            processes=self.processes,
        )
        return Trainer(
            self.method,
            images,
            self.selection,
            options.train,
            self.folder,
            reselect=make_reselect(self.folder.name, images.ids) if make_reselect else None,
            identity=self.identity,
            progress=self.progress,
            processes=self.processes,
            spare_bytes=options.cache_budget_gib * 2**30 - images.in_memory,
        )

    def finish(self, trainer: Trainer, result: TrainResult) -> RunResult:
        """Write the student, evaluate it, and record the run."""
        network = trainer.deployed()
        card = save_student(network, self.folder, provenance=self._provenance(result.selection))
        accuracy, data = None, self.options.evaluate_on
        if data:
            self.progress.say(f"evaluating on {data}")
            labelled = load_labelled(data, network.card.input.view(), network.card.classes)
            accuracy = evaluate(network, labelled, trainer.device).accuracy
        name = self.folder.name
        done = RunResult(name, str(card), accuracy, result.steps, result.seconds, data)
        self._record(trainer, done, result.selection)
        write_result(self.folder, done, self.identity)
        return done

    def _provenance(self, last: Selection) -> dict[str, str]:
        return {
            "manifest": last.manifest,
            "manifest_hash": last.content_hash,
            "teacher": self.teacher.key,
            "method": self.options.method,
            "seed": str(self.options.train.seed),
            "run": self.folder.name,
        }

    def _record(self, trainer: Trainer, done: RunResult, last: Selection) -> None:
        card, options = Path(done.student), self.options
        made_of = hashes(self.teacher, card, self.selection.content_hash, last.content_hash)
        row = settings(options.train, self.method, str(trainer.device))
        record_run(
            self.catalog,
            card,
            self.folder,
            manifest=options.manifest,
            method=options.method,
            teacher=self.teacher.key,
            options={**row, "hashes": made_of},
            steps=done.steps,
            seconds=done.seconds,
            accuracy=done.accuracy,
        )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other trainings out of a run's folder, and remove what a killed one left."""
    with locked(folder / ".lock", f"another process trains {folder.name}"):
        remove_leftovers(folder)
        remove_leftovers(folder / "checkpoint")
        yield


def _asks_the_first(run: str, ids: NDArray[np.int64]) -> Reselect:  # noqa: ARG001
    """Stand for the rounds of another process, which selects for all."""

    def reselect(start: RoundStart) -> Selection:
        raise AssertionError(f"only the first process selects round {start.round}")

    return reselect


def make_method(options: RunOptions, teacher: Network) -> Method:
    """Load the student and make the method of a run, everything drawn from the run's seed.

    Raises:
        NetworkError, MethodError, UsageError: student, method or options do not fit.
    """
    refuse_rounds(options)
    student = load_network(
        options.student,
        num_classes=teacher.num_classes,
        input=teacher.card.input,
        seed=options.train.seed,
        allow_random=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(step_seed(options.train.seed, -1))  # kd3 draws its projector
        method = find_method(options.method)(teacher, student, options.method_options)
    if options.train.processes > 1 and not method.divides:
        raise MethodError(
            f"method {options.method} remembers images in the memory of one process: train it "
            "without torchrun, with --accumulate where a batch does not fit"
        )
    return method


def refuse_rounds(options: RunOptions) -> None:
    """Refuse rounds for a method that is told to train on one selection.

    Raises:
        UsageError: `options` ask for both, or the method does not take its options.
    """
    method = find_method(options.method)
    parsed = method.parse_options(options.method_options)
    if options.train.rounds and method.selects_once(parsed):
        raise UsageError(
            f"--method {options.method} --without dynamic trains on one selection, and --rounds "
            f"{options.train.rounds} re-selects: leave one of them out"
        )


def _identity(options: RunOptions, teacher: Network, content_hash: str) -> dict[str, Any]:
    """What makes a run that run: with the same, it resumes; with another, it is another run."""
    return {
        **options.train.identity(),
        "manifest": content_hash,
        "teacher": teacher.key,
        "student": _student_identity(options.student),
        "method": options.method,
        "method_options": options.method_options,
    }


def _student_identity(student: str) -> str:
    """A card's file may change; what its network computes is what counts."""
    return network_key(resolve(student)) if student.endswith(".toml") else student
