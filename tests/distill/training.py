"""Trainings of tiny networks on tiny images, and what can be watched of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from distill.images import PoolImages
from distill.methods import Method, find_method
from distill.methods.base import Batch, Losses
from distill.methods.kd import KD
from distill.networks import Network
from distill.options import TrainOptions
from distill.selection import Selection
from distill.trainer import Reselect, RoundStart, Trainer
from index.progress import Advance, Silent

from .helpers import TINY, TinyNet, network, tiny

IMAGES = 20


class Dropping(TinyNet):
    """Drops a fifth of the pixels before it looks."""

    def __init__(self) -> None:
        super().__init__(num_classes=3)
        self.dropout = nn.Dropout(0.2)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.dropout(x))


class Watched(KD):
    """KD that notes which images it was shown, by their grey level, and with which weights."""

    name: ClassVar[str] = "watched"

    def __init__(self, teacher: Network, student: Network) -> None:
        super().__init__(teacher, student)
        self.seen: list[list[int]] = []
        self.weights: list[list[float]] = []
        self.places: list[list[int]] = []
        self.epochs: list[int] = []

    def loss(self, batch: Batch) -> Losses:
        grey = (batch.images[:, 0, 0, 0].float() * TINY.std[0] + TINY.mean[0]) * 255
        self.seen.append([round(level) for level in grey.tolist()])
        self.weights.append(batch.weights.tolist())
        self.epochs.append(batch.epoch)
        assert batch.places is not None
        self.places.append(batch.places.tolist())
        return super().loss(batch)


class Stopped(Exception):
    """The process was ended."""


class AtStep(Silent):
    """Does something once, when so many steps of this process are taken."""

    def __init__(self, steps: int, act: Callable[[], None]) -> None:
        self._left, self._act = steps, act

    @contextmanager
    def step(self, name: str, total: int | None, unit: str) -> Iterator[Advance]:
        yield self._advance

    def _advance(self, count: int) -> None:
        self._left -= count
        if self._left == 0:
            self._act()


class StopAfter(AtStep):
    """Ends a training after so many steps of this process."""

    def __init__(self, steps: int) -> None:
        super().__init__(steps, _stop)


class Said(Silent):
    """Keeps what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)


def _stop() -> None:
    raise Stopped


def photos() -> PoolImages:
    pixels = np.random.default_rng(0).integers(256, size=(IMAGES, 8, 8, 3), dtype=np.uint8)
    return PoolImages(np.arange(IMAGES, dtype=np.int64) * 7, pixels)


def greys() -> PoolImages:
    """Images whose grey level is their place, so that a method can tell them apart."""
    levels = np.arange(IMAGES, dtype=np.uint8)
    return PoolImages(
        levels.astype(np.int64) * 7, np.ones((1, 8, 8, 3), np.uint8) * levels[:, None, None, None]
    )


def chosen(count: int = 12, weights: list[float] | None = None) -> Selection:
    """Select every place from `count - 1` down to 0: by rank, not by id."""
    ids = np.arange(count, dtype=np.int64)[::-1] * 7
    return Selection("m", "hash", ids, np.array(weights or [1.0] * count, dtype=np.float32))


def options(**given: Any) -> TrainOptions:
    usual = {"batch_size": 4, "max_steps": 10, "device": "cpu", "precision": "float32"}
    return TrainOptions(**{**usual, "checkpoint_every": 3, "log_every": 4, "lr": 0.1, **given})


def make(name: str, student: Network | None = None) -> Method:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return find_method(name)(tiny(0), student or tiny(1), {})


def dropping(seed: int = 1) -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return network(Dropping(), [f"class {k}" for k in range(3)])


def confident_half(begun: list[RoundStart] | None = None) -> Reselect:
    """Re-select the images of which the student is surest, and keep each round's selection."""
    kept: dict[int, Selection] = {}

    def reselect(start: RoundStart) -> Selection:
        if begun is not None:
            begun.append(start)
        if not (start.resumed and start.round in kept):
            sure = start.student_logits().max(axis=1)
            ids = np.sort(np.argsort(-sure, kind="stable")[: 8 + start.round]) * 7
            name = f"round {start.round}"
            kept[start.round] = Selection(name, name, ids, np.ones(len(ids), np.float32))
        return kept[start.round]

    return reselect


_PARTS = ("reselect", "progress", "spare_bytes", "processes")


def run(folder: Path, method: Method, **given: Any) -> Trainer:
    """Train to the end, or until `progress` stops it."""
    parts = {name: given.pop(name) for name in _PARTS if name in given}
    images, selection = given.pop("images", photos()), given.pop("selection", chosen())
    trainer = Trainer(method, images, selection, options(**given), folder, **parts)
    try:
        trainer.fit()
    except Stopped:
        assert isinstance(parts["progress"], StopAfter)
    return trainer


def same(first: Trainer, second: Trainer) -> bool:
    one, other = (trainer.deployed().state_dict() for trainer in (first, second))
    assert one.keys() == other.keys()
    return all(torch.equal(one[key], other[key]) for key in one)


def seen_in_epochs(method: Watched, steps: int) -> list[Counter[int]]:
    shown = method.seen
    return [
        Counter(image for batch in shown[start : start + steps] for image in batch)
        for start in range(0, len(shown), steps)
    ]
