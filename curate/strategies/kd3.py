"""kd3: teacher-student dynamic selection."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from curate.strategies.base import Batch, Scored, Settings, confidence, top_label
from index.errors import UsageError

_MOST = 0.95
PAPER_EPOCHS = 240


class Kd3:
    """Mix the logits, then keep what exceeds a threshold that adapts to each class.

        z = alpha z_t + (1 - alpha) z_s,  q = max softmax(z),  c = argmax z
        a_k = n_k / max_j n_j,  tau_k = 0.95 a_k / (2 - a_k),  keep q > tau_c

    Source: "Distribution Shift Matters for Knowledge Distillation with Webly Collected Images",
    ICCV 2023, section on teacher-student dynamic selection. Within a budget the classes keep the
    shares of what passed, and the largest q come first: not the largest q - tau, for which the
    common classes would all but vanish.
    Cost: one pass of the teacher, and below alpha = 1 one of the student.
    Choose this when: you distil from web images; with `distill --rounds` it re-selects.
    """

    name = "kd3"
    needs: tuple[str, ...] = ()
    default_balance = "proportional"

    def __init__(self, settings: Settings) -> None:
        """Take alpha: the teacher's share of the mixed logits, in [0, 1]; default 1."""
        alpha = 1.0 if settings.alpha is None else settings.alpha
        if not 0.0 <= alpha <= 1.0:
            raise UsageError(f"--alpha is {alpha}: it must lie between 0 (student) and 1 (teacher)")
        self.alpha = alpha
        self.needs_student = alpha < 1.0
        self.logits = "full" if self.needs_student else "none"

    def score(self, batch: Batch) -> Scored:
        """Score the confidence of the mixed logits."""
        if batch.student is None or not self.needs_student:
            return Scored(batch.confidence, batch.label)
        share = np.float32(self.alpha)
        mixed = share * batch.teacher + (1 - share) * batch.student
        return Scored(confidence(mixed), top_label(mixed))

    def thresholds(self, class_counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return tau (K,): lower for the classes that the pool shows more rarely."""
        most = class_counts.max(initial=0)
        if most == 0:
            return np.zeros(len(class_counts))
        share = class_counts / most
        tau: NDArray[np.float64] = _MOST * share / (2 - share)
        return tau


def alpha_schedule(epoch: float, epochs: float) -> float:
    """Return the teacher's share at the start of `epoch`, counted from 1 of `epochs`.

    1 - exp(-5 ((e + 1) / (2E / 3) - 1)^2) in the first half, 0 from E / 2 on (KD3, ICCV 2023).
    """
    if epoch >= epochs / 2:
        return 0.0
    return 1.0 - math.exp(-5.0 * ((epoch + 1) / (2 * epochs / 3) - 1) ** 2)


def alpha_at(progress: float) -> float:
    """Return the teacher's share after `progress` (0 to 1) of a training of any length.

    It follows the published schedule of 240 epochs, so a training of two epochs, too, begins with
    the teacher's word and not with that of a student that knows nothing yet.
    """
    return alpha_schedule(1 + PAPER_EPOCHS * progress, PAPER_EPOCHS)
