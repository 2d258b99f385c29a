"""A finished run in the catalog: its row with all that decided it, and its metrics."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch

from distill.methods import TrainDefaults
from distill.metrics import read_metrics
from distill.networks import Network, load_network, register
from distill.options import TrainOptions, resolve_precision
from index import __version__
from index.catalog import Catalog, insert
from index.files import file_sha256


def settings(
    train: TrainOptions, own: Mapping[str, Any], defaults: TrainDefaults, device: str
) -> dict[str, Any]:
    """Return every option of a training, its method's `own`, what `resolved` to, and versions."""
    resolved = {
        "lr": train.lr or defaults.lr,
        "schedule": train.schedule or defaults.schedule,
        "momentum": defaults.momentum,
        "weight_decay": defaults.weight_decay,
        "precision": resolve_precision(train.precision, train.device),
        "device": device,
    }
    versions = {
        "kdcurate": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "pillow": PIL.__version__,
        "python": platform.python_version(),
    }
    return {
        **asdict(train),
        **own,
        "resolved": resolved,
        "versions": versions,
    }


def hashes(
    teacher: Network, card: Path, manifest: str | None, last: str | None
) -> dict[str, str | None]:
    """Return what a run was made of and what it made, by hash.

    Args:
        teacher: as it was loaded.
        card: of the student.
        manifest: content hash of the run's manifest, if it has one.
        last: content hash of the selection that it last trained on; another one with rounds.
    """
    weights = teacher.card.weights
    return {
        "manifest": manifest,
        "last_selection": last,
        "teacher_weights": file_sha256(Path(weights)) if weights else None,
        "student_weights": file_sha256(card.with_suffix(".safetensors")),
    }


def record_run(
    catalog: Catalog,
    card: Path,
    folder: Path,
    *,
    manifest: str | None,
    method: str,
    teacher: str,
    options: Mapping[str, Any],
    steps: int,
    seconds: float,
    accuracy: float | None,
) -> None:
    """Write a run's row and metrics, in place of those it had; its student becomes a model.

    Args:
        catalog: where to.
        card: of the student.
        folder: of the run; its name is the run's.
        options: JSON for the row, with the seed among them.
        manifest, method, teacher, steps, seconds, accuracy: columns of the row.
    """
    student = load_network(card)
    register(catalog, student.key, student.card)
    row = {
        "name": folder.name,
        "manifest": manifest,
        "method": method,
        "teacher": teacher,
        "student": student.key,
        "options": json.dumps(options),
        "seed": options["seed"],
        "steps": steps,
        "accuracy": accuracy,
        "seconds": seconds,
        "code_version": __version__,
        "finished_at": np.datetime64("now", "us"),
    }
    curves = [
        (measured["step"], name, value)
        for measured in read_metrics(folder / "metrics.jsonl")
        for name, value in measured.items()
        if name != "step"
    ]
    steps_of, names, values = zip(*curves, strict=True)
    metrics = {"run": folder.name, "step": steps_of, "name": names, "value": values}
    with catalog.write() as connection:
        insert(
            connection, "runs", {key: [value] for key, value in row.items()}, replace_on=["name"]
        )
        connection.execute("DELETE FROM metrics WHERE run = ?", [folder.name])
        insert(connection, "metrics", metrics)
