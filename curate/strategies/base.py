"""What a strategy is: scores for a batch of images, and thresholds once the pool is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from curate.softmax import Floats as Floats
from curate.softmax import Labels as Labels
from curate.softmax import confidence as confidence
from curate.softmax import log_sum_exp as log_sum_exp
from curate.softmax import softmax as softmax
from curate.softmax import top_label as top_label
from index.errors import UsageError


@dataclass(frozen=True)
class Batch:
    """Images to score: ids (n,), teacher logits (n, K), and where asked for the student's.

    `signals` holds what else the strategy `needs`, by name, (n,) each: see `curate.signals`.
    `said` is what the catalog has of the teacher: labels and confidences, (n,) each. For a strategy
    that reads no `logits` those of the teacher are (n, 0).
    """

    ids: NDArray[np.int64]
    teacher: Floats
    student: Floats | None = None
    signals: Mapping[str, Floats] = field(default_factory=dict)
    said: tuple[Labels, Floats] | None = None

    @property
    def label(self) -> Labels:
        """The teacher's pseudo-label, (n,)."""
        return top_label(self.teacher) if self.said is None else self.said[0]

    @property
    def confidence(self) -> Floats:
        """The teacher's largest probability, (n,)."""
        return confidence(self.teacher) if self.said is None else self.said[1]


@dataclass(frozen=True)
class Scored:
    """Scores (n,), larger is better; pseudo-labels (n,); and what the scores were made of."""

    score: Floats
    pseudo_label: Labels
    components: dict[str, Floats] = field(default_factory=dict)


@dataclass(frozen=True)
class Settings:
    """What a user can set of any strategy."""

    seed: int = 0
    alpha: float | None = None


class Strategy(Protocol):
    """Ranks the pool; one file and one line in the registry.

    `needs` names the signals that a batch must hold: a teacher without one of them is refused.
    `logits` is the least of `curate.compact.MODES` from which its score is exact; what has no such
    attribute is taken to need `full` ones. `seeded` is true where another seed ranks otherwise;
    what has no such attribute is taken not to be.
    """

    name: str
    needs: tuple[str, ...]
    needs_student: bool
    default_balance: str

    def score(self, batch: Batch) -> Scored:
        """Score a batch; depends on nothing outside it, so the order of batches is free."""
        ...

    def thresholds(self, class_counts: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """Return per class the score that an image must exceed, or None for no threshold.

        Args:
            class_counts: (K,) images of the pool by pseudo-label.
        """
        ...


class Unthresholded:
    """Base of the strategies that only rank, by default from the teacher's logits alone."""

    needs: tuple[str, ...] = ()
    needs_student = False
    default_balance = "none"
    logits = "full"
    seeded = False

    def __init__(self, settings: Settings) -> None:
        """Need no setting."""

    def thresholds(self, class_counts: NDArray[np.int64]) -> NDArray[np.float64] | None:  # noqa: ARG002
        """Rank only: no image is ruled out by its score."""
        return None


def logits_needed(strategy: Strategy) -> str:
    """Return the least of `curate.compact.MODES` from which a strategy's score is exact."""
    return str(getattr(strategy, "logits", "full"))


def is_seeded(strategy: Strategy) -> bool:
    """Tell whether another seed ranks otherwise."""
    return bool(getattr(strategy, "seeded", False))


def check_scored(strategy: str, ids: NDArray[np.int64], scored: Scored, classes: int) -> None:
    """Check what a strategy made of a batch, before any of it is ranked.

    Raises:
        UsageError: a score that is NaN or infinite, a pseudo-label that is no class, or another
            number of these or of a component than of images; it names strategy and image.
    """
    shapes = {"scores": scored.score.shape, "pseudo-labels": scored.pseudo_label.shape}
    shapes |= {name: values.shape for name, values in scored.components.items()}
    for what, shape in shapes.items():
        if shape != ids.shape:
            raise UsageError(f"{strategy} gives {what} {shape} for {len(ids)} images")
    strange = ~np.isfinite(scored.score)
    if strange.any():
        at = int(strange.argmax())
        raise UsageError(
            f"{strategy} gives image {ids[at]} the score {scored.score[at]}: nothing can be ranked "
            "by it"
        )
    strange = (scored.pseudo_label < 0) | (scored.pseudo_label >= classes)
    if strange.any():
        at = int(strange.argmax())
        raise UsageError(
            f"{strategy} gives image {ids[at]} the pseudo-label {scored.pseudo_label[at]}, and the "
            f"teacher has classes 0 to {classes - 1}"
        )
