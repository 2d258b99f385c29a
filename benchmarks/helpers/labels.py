"""kdcurate with one method more: `labels`, which learns from true labels.

    python benchmarks/helpers/labels.py distill --method labels --option data=LABELLED.parquet ...

The rest of the command line is kdcurate's own, so that supervised training has the networks, the
views, the schedule, the checkpoints and the resuming of every other row of a table.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, ClassVar

import duckdb
import numpy as np
import torch
from torch.nn import functional as F

from curate.cli.main import main
from distill.methods import METHODS, Batch, Method, TrainDefaults
from distill.methods.base import COMPARED, Options
from index.ids import content_sha256, image_id


class LabelOptions(Options):
    """``data``: Parquet with `image` and `label`, the very images that are trained on."""

    data: Path


class Labels(Method):
    """CE(z_s, y), y the true label of the image; the teacher says nothing."""

    name: ClassVar[str] = "labels"
    defaults: ClassVar[TrainDefaults] = COMPARED
    options_type: ClassVar[type[Options]] = LabelOptions
    options: LabelOptions
    labels: torch.Tensor

    def prepare(self, pool: int) -> None:
        """Read the labels in the order of places, which is that of the images' ids."""
        rows = duckdb.read_parquet(str(self.options.data)).project("image, label").fetchall()
        labels = {image_id(content_sha256(image)): label for image, label in rows}
        if len(labels) != pool:
            raise ValueError(f"{self.options.data}: {len(labels)} images, {pool} in training")
        ordered = np.array([labels[one] for one in sorted(labels)], dtype=np.int64)
        self.register_buffer("labels", torch.from_numpy(ordered), persistent=False)

    def loss(self, batch: Batch) -> Any:
        """Compute ``total``; see ``Method.loss``."""
        assert batch.places is not None
        logits = self.student(batch.images)
        wanted = self.labels[batch.places]
        each = F.cross_entropy(logits.float(), wanted, reduction="none")
        return {"total": (batch.weights * each).mean()}


if __name__ == "__main__":
    METHODS[Labels.name] = Labels
    sys.exit(main())  # type: ignore[func-returns-value]
