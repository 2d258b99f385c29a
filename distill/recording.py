"""What is left of a finished run: result.json, and its rows in the catalog."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from distill.checkpoint import check_options
from distill.metrics import read_metrics
from distill.networks import Network, register
from index import __version__
from index.catalog import Catalog, insert
from index.files import atomic_path

if TYPE_CHECKING:
    from distill.run import RunOptions


@dataclass(frozen=True)
class RunResult:
    """A finished run: its name, the student's card, its accuracy on `evaluated_on`.

    `images` is the list of the `kept` images that its method made.
    """

    run: str
    student: str
    accuracy: float | None
    steps: int
    seconds: float
    evaluated_on: str | None = None
    images: str | None = None
    kept: int = 0


@dataclass(frozen=True)
class Trained:
    """A trained student, and what it says of the images that it learned on."""

    network: Network
    device: torch.device
    steps: int
    seconds: float
    source: dict[str, str]
    images: str | None = None


def write_result(folder: Path, done: RunResult, identity: dict[str, Any]) -> None:
    """Write down that a run is finished, last of all."""
    with atomic_path(folder / "result.json") as temporary:
        temporary.write_text(json.dumps({**asdict(done), "options": identity}, indent=2) + "\n")


def read_result(folder: Path, identity: dict[str, Any]) -> RunResult | None:
    """Return the result of a run that is finished, or None.

    Raises:
        WorkspaceError: it is of a run with other options; names the first that differs.
    """
    path = folder / "result.json"
    if not path.is_file():
        return None
    stored = json.loads(path.read_text())
    check_options(path, stored.pop("options"), identity)
    return RunResult(**stored)


def record(
    catalog: Catalog,
    options: RunOptions,
    teacher: Network,
    student: Network,
    done: RunResult,
    folder: Path,
) -> None:
    """Write a finished run, its curves and its student into the catalog."""
    card = student.card
    register(catalog, student.key, card)
    row = {
        "name": done.run,
        "manifest": options.manifest,
        "method": options.method,
        "teacher": teacher.key,
        "student": student.key,
        "options": json.dumps(
            {**asdict(options.train), **options.method_options}
            | ({"preset": options.preset} if options.preset else {})
        ),
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
