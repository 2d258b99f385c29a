"""What is counted while a network answers, batch by batch, and what the counts come to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distill.labelled.base import check_labels
from index.errors import NetworkError

BINS = 15
TOP = 5
Logits = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class ClassScore:
    """One class: of its `n` images the network gets `correct` right; it says it `predicted` times.

    `accuracy` is the recall of the class; None where it has no image.
    """

    number: int
    name: str | None
    n: int
    correct: int
    predicted: int

    @property
    def accuracy(self) -> float | None:
        """Share of the class's images that are right."""
        return self.correct / self.n if self.n else None


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How a network answers on `n` labelled images, `correct` of them right.

    ``top5`` is the share whose class is among the five largest logits; None with five classes or
    fewer, where it says nothing. ``ece`` is the expected calibration error, see `Tally`.
    ``agreement`` is the share of images to which the teacher gives the same class; None without
    one. ``confusion`` (K, K) counts images by true class (row) and answer (column).
    """

    accuracy: float
    correct: int
    n: int
    top5: float | None
    ece: float
    agreement: float | None
    confusion: NDArray[np.int64]

    def classes(self, names: Sequence[str] | None = None) -> list[ClassScore]:
        """Return the score of each class, in order."""
        n, said = self.confusion.sum(axis=1), self.confusion.sum(axis=0)
        return [
            ClassScore(k, names[k] if names else None, int(n[k]), int(right), int(said[k]))
            for k, right in enumerate(np.diagonal(self.confusion))
        ]

    def figures(self) -> dict[str, Any]:
        """Return the numbers that are one each."""
        names = ("accuracy", "correct", "n", "top5", "ece", "agreement")
        return {name: getattr(self, name) for name in names}


class Tally:
    """Counts that grow with the classes K and not with the images.

    The expected calibration error is that of Guo, Pleiss, Sun and Weinberger, On Calibration of
    Modern Neural Networks, ICML 2017, equation 3, with M = 15 bins ((m - 1) / M, m / M] of the
    confidence, the largest softmax probability:

        ECE = sum over m of |B_m| / n * |acc(B_m) - conf(B_m)|
    """

    def __init__(self, classes: int) -> None:
        self._confusion = np.zeros((classes, classes), np.int64)
        # Of each bin: images, sum of confidences, images that are right.
        self._bins = np.zeros((3, BINS))
        self._in_top = self._agreeing = 0

    def add(self, logits: Logits, labels: Labels, teacher: Labels | None = None) -> None:
        """Count a batch: logits (B, K), true classes (B,), the teacher's answers (B,) if any.

        Raises:
            DataError: a label that the network has no class for.
            NetworkError: the network does not answer with finite numbers.
        """
        if not np.isfinite(logits).all():
            raise NetworkError("the network's logits are not finite: its weights are damaged")
        classes = len(self._confusion)
        check_labels((int(labels.min()), int(labels.max())), classes)
        said = logits.argmax(axis=1)
        np.add.at(self._confusion, (labels, said), 1)
        self._in_top += int((_places(logits, labels) < TOP).sum())
        self._add_bins(_confidence(logits), said == labels)
        if teacher is not None:
            self._agreeing += int((said == teacher).sum())

    def result(self, *, with_teacher: bool = False) -> Evaluation:
        """Return what was counted, of at least one image."""
        n, correct = int(self._confusion.sum()), int(np.trace(self._confusion))
        _, confidence, right = self._bins
        return Evaluation(
            accuracy=correct / n,
            correct=correct,
            n=n,
            top5=self._in_top / n if len(self._confusion) > TOP else None,
            ece=float(np.abs(right - confidence).sum() / n),
            agreement=self._agreeing / n if with_teacher else None,
            confusion=self._confusion,
        )

    def _add_bins(self, confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> None:
        bins = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
        for row, weights in enumerate((None, confidence, right)):
            self._bins[row] += np.bincount(bins, weights, minlength=BINS)


def _places(logits: Logits, labels: Labels) -> Labels:
    """Place of each label (B,) by its logit, from 0; of equal logits the first class leads."""
    own = np.take_along_axis(logits, labels[:, None], axis=1)
    earlier = np.arange(logits.shape[1])[None] < labels[:, None]
    found: Labels = ((logits > own) | ((logits == own) & earlier)).sum(axis=1)
    return found


def _confidence(logits: Logits) -> NDArray[np.float64]:
    """Return the largest softmax probability of each row (B,)."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    confidence: NDArray[np.float64] = 1 / np.exp(shifted).sum(axis=1)
    return confidence
