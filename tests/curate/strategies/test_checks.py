"""What a strategy gives is checked before anything is ranked by it."""

from __future__ import annotations

import numpy as np
import pytest

from curate.strategies import Scored, check_scored
from index.errors import UsageError

IDS = np.array([11, 12, 13])
LABELS = np.array([0, 1, 1], np.int16)
FINE = np.array([0.5, -2, 7], np.float32)


def test_finite_scores_and_labels_pass() -> None:
    check_scored("mine", IDS, Scored(FINE, LABELS), classes=2)


@pytest.mark.parametrize("strange", [np.nan, np.inf, -np.inf])
def test_a_score_that_ranks_nothing_is_refused_by_name(strange: float) -> None:
    scores = np.array([0.5, strange, 7], np.float32)
    with pytest.raises(UsageError, match=f"mine gives image 12 the score {strange}"):
        check_scored("mine", IDS, Scored(scores, LABELS), classes=2)


@pytest.mark.parametrize("strange", [-1, 2])
def test_a_label_that_is_no_class_is_refused_by_name(strange: int) -> None:
    labels = np.array([0, 1, strange], np.int16)
    with pytest.raises(UsageError, match=f"mine gives image 13 the pseudo-label {strange}.*0 to 1"):
        check_scored("mine", IDS, Scored(FINE, labels), classes=2)


def test_another_number_of_scores_than_images_is_refused() -> None:
    with pytest.raises(UsageError, match=r"mine gives scores \(2,\) for 3 images"):
        check_scored("mine", IDS, Scored(FINE[:2], LABELS), classes=2)
    with pytest.raises(UsageError, match=r"mine gives pseudo-labels \(1,\) for 3 images"):
        check_scored("mine", IDS, Scored(FINE, LABELS[:1]), classes=2)
    with pytest.raises(UsageError, match=r"mine gives side \(2,\) for 3 images"):
        check_scored("mine", IDS, Scored(FINE, LABELS, {"side": FINE[:2]}), classes=2)
