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

from distill.begun import forget_begun, write_begun
from distill.checkpoint import checkpoint_path
from distill.checks import check_evaluated, check_run, refuse_rounds
from distill.datafree import run as datafree
from distill.datafree.keeping import has_images
from distill.draws import step_seed
from distill.failures import told_if_out_of_memory
from distill.finish import Trained, finish_run
from distill.images import load_pool
from distill.methods import Method, find_method
from distill.networks import Network, load_network, network_key
from distill.networks.card import resolve
from distill.options import TrainOptions
from distill.processes import Processes, join
from distill.record import settings
from distill.reselection import Reselect, RoundStart
from distill.result import RunResult, read_result, write_result
from distill.selection import Selection, read_selection
from distill.trainer import Trainer
from index.catalog import Catalog, literal
from index.errors import MethodError, UsageError
from index.files import locked, remove_leftovers
from index.names import LONGEST, shortened
from index.progress import Progress, Silent

MakeReselect = Callable[[str, NDArray[np.int64]], Reselect]
# Rounds choose among all that the manifest decided: a pool that no later build changes.
DECIDED = "SELECT image_id FROM decisions WHERE manifest = {}"
CHOSEN = DECIDED + " AND selected"


@dataclass(frozen=True)
class RunOptions:
    """What is trained on what; `method_options` go to the method.

    Without a manifest the method makes its own images, by the numbers of a `preset` ("paper" where
    it is None), and stores `keep_images` of them.
    """

    manifest: str | None
    teacher: str
    student: str
    method: str
    train: TrainOptions
    method_options: dict[str, Any]
    name: str | None = None
    evaluate_on: str | None = None
    cache_budget_gib: float = 4.0
    workers: int | None = None
    preset: str | None = None
    keep_images: int = 0


def run_name(options: RunOptions, teacher: Network, content_hash: str) -> str:
    """Return the name that the same command gets again: readable, with a hash of its options."""
    identity = json.dumps(_identity(options, teacher, content_hash), sort_keys=True)
    digest = hashlib.sha256(identity.encode()).hexdigest()[:6]
    kind = options.student.partition("?")[0].rpartition(":")[2]
    student = Path(kind).stem.replace("/", "-")
    manifest = f"{options.manifest}-".replace("/", "-") if options.manifest else ""
    readable = f"{manifest}{options.method}-{student}-s{options.train.seed}"
    return f"{shortened(readable, LONGEST - len(digest) - 1)}-{digest}"


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
        DataError: what to evaluate on is not there, or is wrong; if only after its start, the
            student is trained then.
        UsageError: no such manifest, student, or method, or a run name that is a path.
        WorkspaceError: another process trains this run, or it was begun with other options.
    """
    progress = progress or Silent()
    processes = processes or join(options.train.device, options.train.precision)
    options = replace(options, train=replace(options.train, processes=processes.count))
    options = check_run(options)  # not after hours of training
    selection = processes.of_first(lambda: _selection(catalog, options))
    content_hash = selection.content_hash if selection else ""
    name = options.name or run_name(options, teacher, content_hash)
    folder = catalog.workspace / "runs" / name
    identity = _identity(options, teacher, content_hash)
    method = make_method(options, teacher)
    with _alone(folder) if processes.first else nullcontext():
        finished = processes.of_first(lambda: read_result(folder, identity))
        if finished and _has_all(catalog, finished, options):
            progress.say(f"run {name} is finished: its result is read, nothing is trained")
            return finished
        processes.of_first(
            lambda: check_evaluated(options.evaluate_on, teacher.card, teacher.num_classes)
        )
        _tell_input(options.student, teacher, progress)
        processes.of_first(lambda: write_begun(catalog, folder, options.manifest, identity))
        if selection is None:
            if finished:  # only what is missing is asked for: what is there stays
                options = replace(
                    options,
                    keep_images=max(options.keep_images, finished.kept),
                    evaluate_on=options.evaluate_on or finished.evaluated_on,
                )
            trained = datafree.train(
                catalog.workspace, options, teacher, method, folder, identity, progress, processes
            )
            if finished:  # nothing was trained
                trained = replace(trained, seconds=finished.seconds)
        else:
            if options.train.rounds and not processes.first:
                make_reselect = _asks_the_first
            if options.train.rounds and make_reselect is None:
                raise UsageError("rounds re-select: give distill() what makes them")
            with told_if_out_of_memory(options.train, checkpoint_path(folder)):
                trainer = _trainer(
                    catalog,
                    options,
                    identity,
                    method,
                    selection,
                    folder,
                    make_reselect,
                    processes,
                    progress,
                )
            trained = _trained(trainer, options, selection)

        def finish() -> RunResult:
            begun_as = identity["student"]
            done = finish_run(
                catalog, options, teacher, trained, folder, progress, begun_as=begun_as
            )
            write_result(folder, done, identity)
            return done

        return processes.of_first(finish)


def _tell_input(student: str, teacher: Network, progress: Progress) -> None:
    """Say so where a student that is trained already sees images otherwise from now on."""
    card = resolve(student)
    if card.weights and card.input != teacher.card.input:
        progress.say(
            f"{student} is trained on images as its teacher sees them ({teacher.card.input}), not "
            f"as its card says ({card.input})"
        )


def _selection(catalog: Catalog, options: RunOptions) -> Selection | None:
    return read_selection(catalog, options.manifest) if options.manifest else None


def _has_all(catalog: Catalog, finished: RunResult, options: RunOptions) -> bool:
    """Tell whether a finished run has what is asked for beside its student."""
    wanted, there = options.keep_images, finished.kept
    kept = wanted <= there and has_images(catalog.workspace, finished.run, there)
    return options.evaluate_on in (None, finished.evaluated_on) and (kept or not wanted)


def _trained(trainer: Trainer, options: RunOptions, selection: Selection) -> Trained:
    result, method = trainer.fit(), trainer.method
    own = method.options.model_dump(mode="json")
    return Trained(
        trainer.deployed(),
        trainer.device,
        result.steps,
        result.seconds,
        settings(options.train, own, method.defaults, str(trainer.device)),
        begun_with=selection,
        ended_with=result.selection,
    )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other trainings out of a run's folder, and remove what a killed one left."""
    with locked(folder / ".lock", f"another process trains {folder.name}"):
        remove_leftovers(folder)
        remove_leftovers(folder / "checkpoint")
        try:
            yield
        finally:
            forget_begun(folder)


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
        if options.manifest is None:
            return datafree.make_student_method(options, teacher, student)
        method = find_method(options.method)(teacher, student, options.method_options)
    if options.train.processes > 1 and not method.divides:
        raise MethodError(
            f"method {options.method} remembers images in the memory of one process: train it "
            "without torchrun, with --accumulate where a batch does not fit"
        )
    return method


def _trainer(
    catalog: Catalog,
    options: RunOptions,
    identity: dict[str, Any],
    method: Method,
    selection: Selection,
    folder: Path,
    make_reselect: MakeReselect | None,
    processes: Processes,
    progress: Progress,
) -> Trainer:
    only = (DECIDED if make_reselect else CHOSEN).format(literal(options.manifest))
    images = load_pool(
        catalog,
        method.student.card.input.view(),
        only=only,
        cache_budget_gib=options.cache_budget_gib,
        workers=options.workers,
        progress=progress,
        processes=processes,
    )
    return Trainer(
        method,
        images,
        selection,
        options.train,
        folder,
        reselect=make_reselect(folder.name, images.ids) if make_reselect else None,
        identity=identity,
        progress=progress,
        processes=processes,
        spare_bytes=options.cache_budget_gib * 2**30 - images.in_memory,
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
