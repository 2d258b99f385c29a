"""A run: a student that is trained, its files under runs/NAME and its row in the catalog."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from distill.datafree import run as datafree
from distill.datafree.keeping import write_images
from distill.datafree.trainer import DataFreeTrainer
from distill.evaluation import evaluate
from distill.images import load_labelled, load_pool
from distill.methods import Method, find_method
from distill.networks import Network, load_network, network_key, save_student
from distill.networks.card import resolve
from distill.options import TrainOptions
from distill.recording import RunResult, Trained, read_result, record, write_result
from distill.selection import Selection, read_selection
from distill.trainer import Reselect, Trainer, step_seed
from index.catalog import Catalog, literal
from index.errors import UsageError
from index.files import locked, remove_leftovers
from index.progress import Progress, Silent
from index.sources import check

__all__ = [
    "MakeReselect",
    "RunOptions",
    "RunResult",
    "distill",
    "make_method",
    "refuse_rounds",
    "run_name",
]

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
    return f"{manifest}{options.method}-{student}-s{options.train.seed}-{digest}"


def distill(
    catalog: Catalog,
    options: RunOptions,
    *,
    teacher: Network,
    make_reselect: MakeReselect | None = None,
    progress: Progress | None = None,
) -> RunResult:
    """Train a student, or finish or report the run that the same options began.

    Args:
        make_reselect: takes the run's name and the pool's ids, ascending; what it returns is
            called at the start of each of `options.train.rounds` rounds.

    Raises:
        DataError: what to evaluate on is not there.
        UsageError: no such manifest, student, or method, or a run name that is a path.
        WorkspaceError: another process trains this run, or it was begun with other options.
    """
    progress = progress or Silent()
    if options.evaluate_on:
        check([options.evaluate_on])  # not after hours of training
    options = datafree.complete(options)
    selection = read_selection(catalog, options.manifest) if options.manifest else None
    content_hash = selection.content_hash if selection else ""
    name = options.name or run_name(options, teacher, content_hash)
    if Path(name).name != name or name == "..":
        raise UsageError(f"--run {name!r} is a path: give a name, without slashes")
    folder = catalog.workspace / "runs" / name
    identity = _identity(options, teacher, content_hash)
    method = make_method(options, teacher)
    with locked(folder / ".lock", f"another process trains {name}"):
        remove_leftovers(folder)
        remove_leftovers(folder / "checkpoint")
        finished = read_result(folder, identity)
        evaluated = finished and options.evaluate_on in (None, finished.evaluated_on)
        if finished and evaluated and options.keep_images in (0, finished.kept):
            progress.say(f"run {name} is finished: its result is read, nothing is trained")
            return finished
        if selection:
            trainer = _trainer(
                catalog, options, identity, method, selection, folder, make_reselect, progress
            )
            trained = _trained(trainer)
        else:
            if finished and not options.keep_images:  # only to be evaluated
                options = replace(options, keep_images=finished.kept)
            own = datafree.make_trainer(options, method, folder, identity, progress)
            trained = _trained_without(catalog.workspace, options, teacher, own, name)
        done = _finish(catalog, options, teacher, trained, folder, progress)
        write_result(folder, done, identity)
        return done


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
        return find_method(options.method)(teacher, student, options.method_options)


def refuse_rounds(options: RunOptions) -> None:
    """Refuse rounds for a method that is told to train on one selection.

    Raises:
        UsageError: `options` ask for both, or the method does not take its options.
    """
    if datafree.complete(options).manifest is None:
        return
    method = find_method(options.method)
    parsed = method.parse_options(options.method_options)
    if options.train.rounds and method.selects_once(parsed):
        raise UsageError(
            f"--method {options.method} --without dynamic trains on one selection, and --rounds "
            f"{options.train.rounds} re-selects: leave one of them out"
        )


def _trainer(
    catalog: Catalog,
    options: RunOptions,
    identity: dict[str, Any],
    method: Method,
    selection: Selection,
    folder: Path,
    make_reselect: MakeReselect | None,
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
    )


def _trained(trainer: Trainer) -> Trained:
    result = trainer.fit()
    source = {
        "manifest": result.selection.manifest,
        "manifest_hash": result.selection.content_hash,
    }
    network = trainer.deployed()
    return Trained(network, trainer.device, result.steps, result.seconds, source)


def _trained_without(
    workspace: Path,
    options: RunOptions,
    teacher: Network,
    trainer: DataFreeTrainer,
    run: str,
) -> Trained:
    """Train on images that the method makes; they are kept before the result says so."""
    trainer.check_sample(options.keep_images)
    steps, seconds = trainer.fit()
    listing = None
    if options.keep_images:
        facts = {"method": options.method, "teacher": teacher.key}
        listing = str(write_images(workspace, run, trainer.sample(options.keep_images), facts))
    return Trained(trainer.deployed(), trainer.device, steps, seconds, {}, listing)


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


def _finish(
    catalog: Catalog,
    options: RunOptions,
    teacher: Network,
    trained: Trained,
    folder: Path,
    progress: Progress,
) -> RunResult:
    provenance = {
        **trained.source,
        "teacher": teacher.key,
        "method": options.method,
        "seed": str(options.train.seed),
        "run": folder.name,
    }
    network = trained.network
    card = save_student(network, folder, provenance=provenance)
    accuracy = None
    if options.evaluate_on:
        progress.say(f"evaluating on {options.evaluate_on}")
        data = load_labelled(options.evaluate_on, network.card.input.view(), network.card.classes)
        accuracy = evaluate(network, data, trained.device).accuracy
    done = RunResult(
        folder.name,
        str(card),
        accuracy,
        trained.steps,
        trained.seconds,
        options.evaluate_on,
        trained.images,
        options.keep_images,
    )
    record(catalog, options, teacher, load_network(card), done, folder)
    return done
