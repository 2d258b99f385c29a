"""What the student last said of each image of the pool, in training or when it was asked since."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from index.errors import MethodError
from index.parts import half

Places = NDArray[np.int64]
Rows = NDArray[np.float16]
NEVER = -1


@dataclass
class RecentLogits:
    """The latest logits of every image, and how many steps the student had taken then.

    2 K + 4 bytes an image, in memory and in every checkpoint. What training says comes of the
    augmented view and of batch statistics: an estimate that costs nothing. What `refresh` says is
    of the image as it is, by the student as it would be deployed.

    Args:
        rows: (N, K) float16, by the image's place in the pool.
        steps: (N,) int32; `NEVER` where the student has not been heard.
        ask: scores places (n,) with the student as it is: (n, K).
        now: the student's steps.
        trained: images trained on since the last round began.
    """

    rows: Rows
    steps: NDArray[np.int32]
    ask: Callable[[Places], Rows]
    now: int = 0
    trained: int = 0

    @classmethod
    def empty(cls, images: int, classes: int, ask: Callable[[Places], Rows]) -> Self:
        """Make room for so many images; nothing is known of any."""
        steps = np.full(images, NEVER, np.int32)
        return cls(np.zeros((images, classes), np.float16), steps, ask)

    def note(self, places: Tensor, logits: Tensor | None, step: int) -> None:
        """Keep the logits (B, K) that the loss of a batch was made of, after `step` steps.

        Raises:
            MethodError: the method does not say what they were.
        """
        if logits is None:
            raise MethodError(
                "the method's loss returns no student logits, which --refresh lazy reuses: return "
                "them in kdcurate's Losses, or give --refresh full"
            )
        here = places.reshape(-1).cpu().numpy()
        self.rows[here] = half(logits.detach().reshape(len(here), -1).float().cpu().numpy())
        self.steps[here] = step
        self.trained += len(here)

    def refresh(self, places: Places) -> None:
        """Ask the student, as it is now, about these images."""
        if len(places):
            self.rows[places] = self.ask(places)
            self.steps[places] = self.now

    def ages(self) -> NDArray[np.int32]:
        """Steps since the student was last heard of each image, (N,); `NEVER` where never."""
        return np.where(self.steps == NEVER, np.int32(NEVER), np.int32(self.now) - self.steps)

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {
            "rows": torch.from_numpy(self.rows),
            "steps": torch.from_numpy(self.steps),
            "trained": self.trained,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Take back what a checkpoint kept."""
        self.rows[:] = state["rows"].numpy()
        self.steps[:] = state["steps"].numpy()
        self.trained = state["trained"]
