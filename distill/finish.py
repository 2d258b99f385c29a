"""The end of a run: the student's files, its accuracy, its row."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from distill.evaluation import evaluate_on
from distill.networks import Network, save_student
from distill.record import hashes, record_run
from distill.result import RunResult
from distill.selection import Selection
from index.catalog import Catalog
from index.errors import DataError
from index.progress import Progress

if TYPE_CHECKING:
    from distill.run import RunOptions


@dataclass(frozen=True)
class Trained:
    """A trained student, and what is known of how.

    Args:
        network: to deploy.
        device: where it is.
        steps, seconds: in all processes that trained it.
        settings: for the run's row; see `distill.record.settings`.
        begun_with, ended_with: the selections that it was trained on first and last; None where
            its method makes its own images.
        images: list of the images of its method's that were kept.
    """

    network: Network
    device: torch.device
    steps: int
    seconds: float
    settings: dict[str, Any]
    begun_with: Selection | None = None
    ended_with: Selection | None = None
    images: str | None = None


def finish_run(
    catalog: Catalog,
    options: RunOptions,
    teacher: Network,
    trained: Trained,
    folder: Path,
    progress: Progress,
    *,
    begun_as: str,
) -> RunResult:
    """Save a student, evaluate it where that is asked for, and write the run's row.

    Args:
        begun_as: what the student was before the training: a spec, or the key of a network.

    Raises:
        DataError: it cannot be evaluated on that; the student stays, and the checkpoint.
    """
    network, last = trained.network, trained.ended_with
    provenance = {
        **({"manifest": last.manifest, "manifest_hash": last.content_hash} if last else {}),
        "teacher": teacher.key,
        "method": options.method,
        "seed": str(options.train.seed),
        "run": folder.name,
    }
    card = save_student(network, folder, provenance=provenance)
    accuracy = None
    if options.evaluate_on:
        progress.say(f"evaluating on {options.evaluate_on}")
        accuracy = _accuracy(trained, options.evaluate_on, card)
    first = trained.begun_with.content_hash if trained.begun_with else None
    made_of = hashes(teacher, card, first, last.content_hash if last else None)
    record_run(
        catalog,
        card,
        folder,
        manifest=options.manifest,
        method=options.method,
        teacher=teacher.key,
        options={
            **trained.settings,
            "begun_as": begun_as,
            "evaluated_on": options.evaluate_on,
            "hashes": made_of,
        },
        steps=trained.steps,
        seconds=trained.seconds,
        accuracy=accuracy,
    )
    return RunResult(
        folder.name,
        str(card),
        accuracy,
        trained.steps,
        trained.seconds,
        options.evaluate_on,
        trained.images,
        options.keep_images,
    )


def _accuracy(trained: Trained, source: str, card: Path) -> float:
    try:
        return evaluate_on(trained.network, source, trained.device).clean.accuracy
    except DataError as error:
        raise DataError(
            f"{error}; the student is trained, and is {card}: the same command, its data mended, "
            "or `distill` without --eval finishes from the checkpoint"
        ) from error
