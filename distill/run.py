"""A run: a student trained on a manifest, its files under runs/NAME and its row in the catalog."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from distill.checkpoint import check_options
from distill.evaluation import evaluate_on
from distill.images import load_pool
from distill.labelled import check_labelled
from distill.methods import Method, find_method
from distill.metrics import read_metrics
from distill.networks import Network, load_network, network_key, register, save_student
from distill.networks.card import resolve
from distill.options import TrainOptions
from distill.selection import Selection, read_selection
from distill.trainer import Reselect, Trainer, TrainResult, step_seed
from index import __version__
from index.catalog import Catalog, insert, literal
from index.errors import UsageError
from index.files import atomic_path, locked, remove_leftovers
from index.progress import Progress, Silent

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


@dataclass(frozen=True)
class RunResult:
    """A finished run: its name, the student's card, its accuracy on `evaluated_on`."""

    run: str
    student: str
    accuracy: float | None
    steps: int
    seconds: float
    evaluated_on: str | None = None


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
        check_labelled(options.evaluate_on)  # not after hours of training
    selection = read_selection(catalog, options.manifest)
    name = options.name or run_name(options, teacher, selection.content_hash)
    if Path(name).name != name or name == "..":
        raise UsageError(f"--run {name!r} is a path: give a name, without slashes")
    folder = catalog.workspace / "runs" / name
    identity = _identity(options, teacher, selection.content_hash)
    method = make_method(options, teacher)
    with locked(folder / ".lock", f"another process trains {name}"):
        remove_leftovers(folder)
        remove_leftovers(folder / "checkpoint")
        finished = _finished(folder, identity)
        if finished and options.evaluate_on in (None, finished.evaluated_on):
            progress.say(f"run {name} is finished: its result is read, nothing is trained")
            return finished
        trainer = _trainer(
            catalog, options, identity, method, selection, folder, make_reselect, progress
        )
        result = trainer.fit()
        done = _finish(catalog, options, teacher, trainer, result, folder, progress)
        _write_result(folder, done, identity)
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
        return find_method(options.method)(teacher, student, options.method_options)


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
    trainer: Trainer,
    result: TrainResult,
    folder: Path,
    progress: Progress,
) -> RunResult:
    provenance = {
        "manifest": result.selection.manifest,
        "manifest_hash": result.selection.content_hash,
        "teacher": teacher.key,
        "method": options.method,
        "seed": str(options.train.seed),
        "run": folder.name,
    }
    network = trainer.deployed()
    card = save_student(network, folder, provenance=provenance)
    accuracy = None
    if options.evaluate_on:
        progress.say(f"evaluating on {options.evaluate_on}")
        report = evaluate_on(network, options.evaluate_on, trainer.device)
        accuracy = report.clean.accuracy
    done = RunResult(
        folder.name, str(card), accuracy, result.steps, result.seconds, options.evaluate_on
    )
    _record(catalog, options, teacher, load_network(card), done, folder)
    return done


def _write_result(folder: Path, done: RunResult, identity: dict[str, Any]) -> None:
    with atomic_path(folder / "result.json") as temporary:
        temporary.write_text(json.dumps({**asdict(done), "options": identity}, indent=2) + "\n")


def _finished(folder: Path, identity: dict[str, Any]) -> RunResult | None:
    path = folder / "result.json"
    if not path.is_file():
        return None
    stored = json.loads(path.read_text())
    check_options(path, stored.pop("options"), identity)
    return RunResult(**stored)


def _record(
    catalog: Catalog,
    options: RunOptions,
    teacher: Network,
    student: Network,
    done: RunResult,
    folder: Path,
) -> None:
    card = student.card
    register(catalog, student.key, card)
    row = {
        "name": done.run,
        "manifest": options.manifest,
        "method": options.method,
        "teacher": teacher.key,
        "student": student.key,
        "options": json.dumps({**asdict(options.train), **options.method_options}),
        "seed": options.train.seed,
        "steps": done.steps,
        "accuracy": done.accuracy,
        "seconds": done.seconds,
        "code_version": __version__,
        "finished_at": np.datetime64("now", "us"),
    }
    curves = [
        (measured["step"], name, value)
        for measured in read_metrics(folder / "metrics.jsonl")
        for name, value in measured.items()
        if name != "step"
    ]
    steps, names, values = zip(*curves, strict=True)
    metrics = {"run": done.run, "step": steps, "name": names, "value": values}
    with catalog.write() as connection:
        insert(
            connection, "runs", {key: [value] for key, value in row.items()}, replace_on=["name"]
        )
        connection.execute("DELETE FROM metrics WHERE run = ?", [done.run])
        insert(connection, "metrics", metrics)
