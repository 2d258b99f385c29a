"""What two processes do together, for test_processes: torchrun starts this file."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))  # tests/ is not installed

import numpy as np
import torch
from torch import nn

from distill.images import PoolImages
from distill.methods.base import Batch, Losses
from distill.methods.kd import KD
from distill.networks import Network, load_network
from distill.options import TrainOptions
from distill.processes import Processes, join
from distill.run import RunOptions, distill
from distill.selection import Selection
from distill.trainer import RoundStart, Trainer
from index.catalog import Catalog
from tests.distill.helpers import tiny

IMAGES, BATCH = 20, 4
TRAIN = TrainOptions(
    max_steps=6, batch_size=4, lr=0.05, device="cpu", precision="float32", log_every=2
)


class Noting(KD):
    """KD that notes which images it was shown, and has a parameter that nothing reaches."""

    name: ClassVar[str] = "noting"

    def __init__(self, teacher: Network, student: Network) -> None:
        super().__init__(teacher, student)
        self.idle = nn.Parameter(torch.ones(1))

    def loss(self, batch: Batch) -> Losses:
        assert batch.places is not None
        self.seen = [*getattr(self, "seen", []), batch.places.tolist()]
        return super().loss(batch)


def greys() -> PoolImages:
    levels = np.arange(IMAGES, dtype=np.uint8)[:, None, None, None]
    return PoolImages(np.arange(IMAGES) * 7, np.ones((1, 8, 8, 3), np.uint8) * levels)


def reselect(start: RoundStart) -> Selection:
    """Select what the student is surest of."""
    sure = start.student_logits().max(axis=1)
    ids = np.sort(np.argsort(-sure, kind="stable")[: 16 - 2 * start.round]) * 7
    return Selection(f"round {start.round}", "hash", ids, np.ones(len(ids), np.float32))


def small(folder: Path, processes: Processes) -> dict[str, Any]:
    """Train without a workspace, in rounds, with held-back images; return what is seen and made."""
    torch.manual_seed(0)
    method = Noting(tiny(0), tiny(1))
    options = replace(TRAIN, batch_size=BATCH, rounds=2, ema=0.9, patience=9, hold_back=0.1)
    options = replace(options, max_steps=12, processes=processes.count)
    selection = Selection("m", "hash", greys().ids, np.ones(IMAGES, np.float32))
    trainer = Trainer(
        method, greys(), selection, options, folder, reselect=reselect, processes=processes
    )
    trainer.fit()
    weights = torch.cat([one.flatten().double() for one in method.state_dict().values()])
    return {"seen": method.seen, "weights": weights.tolist(), "idle": method.idle.item()}


def runs(workspace: Path, card: Path, processes: Processes) -> list[dict[str, Any]]:
    """Train runs of a workspace; return their results."""
    given = RunOptions("first", str(card), "tests.distill.helpers:Mlp", "kd", TRAIN, {}, workers=0)
    asked = {
        "plain": given,
        "clipped": replace(given, train=replace(TRAIN, clip_norm=0.5, ema=0.9), method="dfnd"),
        "shared": replace(given, student="cifar:resnet8", method="kd3"),
    }
    teacher, catalog = load_network(card), Catalog(workspace)
    found = []
    for name, options in asked.items():
        options = replace(options, name=f"{name}-{processes.count}")
        done = distill(catalog, options, teacher=teacher, processes=processes)
        found.append(vars(done))
    return found


def main(folder: Path, workspace: Path, card: Path) -> None:
    torch.set_num_threads(1)
    processes = join("cpu", "float32")
    found = small(folder / "small", processes) | {"runs": runs(workspace, card, processes)}
    (folder / f"{processes.rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
