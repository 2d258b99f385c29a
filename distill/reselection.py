"""What a training asks for at the start of a round, and what it is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distill.freshness import RecentLogits
from distill.selection import Selection


@dataclass(frozen=True)
class RoundStart:
    """What a re-selection is told: the round from 0, its epoch from 1 of `epochs`, the student.

    `resumed` says that the run was interrupted in or at the start of this round, so its manifest
    may be there to be read: the student may no longer be the one that it was selected with, unless
    the round `begins`. `student_logits` scores the whole pool; `recent` is what the student said
    last of each image, where the run keeps it.
    """

    round: int
    epoch: float
    epochs: float
    resumed: bool
    student_logits: Callable[[], NDArray[np.float16]]
    recent: RecentLogits | None = None
    begins: bool = True


Reselect = Callable[[RoundStart], Selection]
