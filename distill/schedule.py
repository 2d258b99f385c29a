"""Learning rates as a function of progress, so that a resumed run needs no scheduler state."""

from __future__ import annotations

import math
from collections.abc import Callable

Schedule = Callable[[float], float]


def step(progress: float) -> float:
    """x0.1 at 150, 180, and 210 of 240 epochs (KD3, ICCV 2023), as shares of the training."""
    return 0.1 ** sum(progress >= mark / 240 for mark in (150, 180, 210))


def two_step(progress: float) -> float:
    """x0.1 at 40 % and at 80 % of the training (DFND, CVPR 2021)."""
    return 0.1 ** sum(progress >= mark for mark in (0.4, 0.8))


def cosine(progress: float) -> float:
    """Half a cosine from 1 to 0 (Loshchilov and Hutter, ICLR 2017)."""
    return 0.5 * (1.0 + math.cos(math.pi * progress))


def onecycle(progress: float) -> float:
    """Linear from 0.04 to 1 over the first 30 %, then half a cosine to 0 (Smith, 2018)."""
    if progress < 0.3:
        return 0.04 + 0.96 * progress / 0.3
    return cosine((progress - 0.3) / 0.7)


SCHEDULES: dict[str, Schedule] = {
    "step": step,
    "two-step": two_step,
    "cosine": cosine,
    "onecycle": onecycle,
}
