"""Early stopping: held-back web images, and how often the student says what the teacher says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from distill.options import TrainOptions
from distill.selection import Selection
from index.parts import Ids


class Patience:
    """Stops a training that has not come closer to its teacher for so many checks.

    Agreement, the share of held-back images to which student and teacher give one class, needs no
    labels and never sees the test set. The weights of the best check are what is deployed.
    Without ``options.patience`` nothing is held back and nothing stops.

    Args:
        options: how many checks, and which share of the images they are made on.
        selection: what the run begins with; rounds choose among the rest of the pool too.
    """

    def __init__(self, options: TrainOptions, selection: Selection) -> None:
        self._checks = options.patience
        self.held = hold_back(selection, options.held_of(len(selection.ids)), options.seed)
        self.best = -1.0
        self.weights: dict[str, Tensor] | None = None
        self._since = 0

    @property
    def stopped(self) -> bool:
        """Whether the last so many checks brought nothing."""
        return self._checks is not None and self._since >= self._checks

    def kept(self, selection: Selection) -> Selection:
        """Leave the held-back images out of a selection, which keeps its name and hash."""
        kept = ~np.isin(selection.ids, self.held)
        return replace(selection, ids=selection.ids[kept], weights=selection.weights[kept])

    def check(self, agreement: float, weights: Mapping[str, Tensor]) -> None:
        """Take note of a check and of the weights that it was made with, if they are the best."""
        if agreement > self.best:
            self.best, self._since = agreement, 0
            self.weights = {name: value.detach().clone() for name, value in weights.items()}
        else:
            self._since += 1

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint holds of it."""
        return {"best": self.best, "since": self._since, "weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.best, self._since, self.weights = state["best"], state["since"], state["weights"]


def hold_back(selection: Selection, count: int, seed: int) -> Ids:
    """Draw so many of the selected images, whatever their order: ids, ascending."""
    ids = np.sort(selection.ids)
    # A seed of its own, or the first epoch's order would be drawn with the same numbers.
    chosen = np.random.default_rng((seed, len(ids), 1)).choice(len(ids), count, replace=False)
    return np.sort(ids[chosen])
