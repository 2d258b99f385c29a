"""The counts of an evaluation against scikit-learn, float64 NumPy, and values by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, confusion_matrix, recall_score, top_k_accuracy_score

from distill.tally import Evaluation, Tally
from index.errors import DataError, NetworkError


def answers(n: int, classes: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Logits that know something of their labels, and are sure of it to varying degrees."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=n)
    logits = rng.normal(size=(n, classes)) * rng.uniform(0.2, 4, (n, 1))
    logits[np.arange(n), labels] += 1.5
    return logits.astype(np.float32), labels


def tallied(
    logits: NDArray[np.float32], labels: NDArray[np.int64], batch: int = 1000, **kinds: Any
) -> Evaluation:
    tally = Tally(logits.shape[1])
    for start in range(0, len(labels), batch):
        tally.add(logits[start : start + batch], labels[start : start + batch])
    return tally.result(**kinds)


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    e = np.exp(logits.astype(np.float64))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


def ece(logits: NDArray[np.float32], labels: NDArray[np.int64], bins: int = 15) -> float:
    """Guo et al. 2017, equation 3, bin by bin."""
    p = softmax(logits)
    confidence, right = p.max(axis=1), p.argmax(axis=1) == labels
    total = 0.0
    for m in range(1, bins + 1):
        inside = ((m - 1) / bins < confidence) & (confidence <= m / bins)
        if inside.any():
            gap = abs(right[inside].mean() - confidence[inside].mean())
            total += inside.sum() / len(labels) * gap
    return float(total)


@pytest.mark.parametrize("classes", [2, 7, 30])
def test_every_figure_is_that_of_scikit_learn(classes: int) -> None:
    logits, labels = answers(500, classes)
    found, said = tallied(logits, labels), logits.argmax(axis=1)
    known = list(range(classes))
    assert found.accuracy == accuracy_score(labels, said)
    np.testing.assert_array_equal(found.confusion, confusion_matrix(labels, said, labels=known))
    recalls = recall_score(labels, said, labels=known, average=None)
    np.testing.assert_allclose([one.accuracy for one in found.classes()], recalls)
    assert [one.predicted for one in found.classes()] == np.bincount(
        said, minlength=classes
    ).tolist()
    assert found.ece == pytest.approx(ece(logits, labels), abs=1e-12)
    if classes > 5:
        assert found.top5 == top_k_accuracy_score(labels, logits, k=5, labels=known)
    else:
        assert found.top5 is None


def test_the_calibration_error_by_hand() -> None:
    # Confidences .9, .9, .6, of which the first and the last are right: two bins.
    p = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6]])
    found = tallied(np.log(p).astype(np.float32), np.array([0, 1, 1]))
    assert found.ece == pytest.approx(2 / 3 * abs(1 / 2 - 0.9) + 1 / 3 * abs(1 - 0.6), abs=1e-6)


@pytest.mark.parametrize(
    ("sure", "right", "error"), [(80.0, True, 0), (80.0, False, 1), (0, True, 0.5)]
)
def test_the_calibration_error_at_its_ends(sure: float, right: bool, error: float) -> None:
    """All sure and right, all sure and wrong; and 1/2 by chance, where the first class leads."""
    logits = np.array([[sure, 0.0]] * 4, np.float32)
    assert tallied(logits, np.full(4, 0 if right else 1)).ece == pytest.approx(error)


def test_of_equal_logits_the_first_class_leads() -> None:
    flat = np.zeros((7, 7), np.float32)
    found = tallied(flat, np.arange(7))
    assert (found.correct, found.top5) == (1, 5 / 7)


def test_agreement_is_with_the_teachers_answer_and_not_the_label() -> None:
    logits, labels = answers(40, 4)
    teacher = np.random.default_rng(1).integers(4, size=40)
    tally = Tally(4)
    tally.add(logits, labels, teacher)
    expected = (logits.argmax(1) == teacher).mean()
    assert tally.result(with_teacher=True).agreement == expected
    assert tally.result().agreement is None


def test_a_class_without_images_has_no_accuracy() -> None:
    found = tallied(np.eye(3, dtype=np.float32)[[0, 1]], np.array([0, 0]))
    zero, one, two = found.classes(["a", "b", "c"])
    assert (zero.name, zero.n, zero.correct, zero.accuracy) == ("a", 2, 1, 0.5)
    assert (one.n, one.predicted, one.accuracy) == (0, 1, None)
    assert (two.n, two.predicted, two.accuracy) == (0, 0, None)


@given(st.integers(1, 60), st.integers(2, 8), st.integers(1, 60), st.integers(0, 99))
def test_batches_change_nothing(n: int, classes: int, batch: int, seed: int) -> None:
    logits, labels = answers(n, classes, seed)
    whole, parts = tallied(logits, labels), tallied(logits, labels, batch)
    np.testing.assert_array_equal(whole.confusion, parts.confusion)
    assert whole.ece == pytest.approx(parts.ece, abs=1e-12)
    assert {**whole.figures(), "ece": 0} == {**parts.figures(), "ece": 0}
    assert whole.confusion.sum() == n


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_without_a_class_is_refused(label: int) -> None:
    with pytest.raises(DataError, match="the network has classes 0 to 2"):
        Tally(3).add(np.zeros((1, 3), np.float32), np.array([label]))


def test_a_network_that_answers_nan_has_no_accuracy() -> None:
    with pytest.raises(NetworkError, match="logits are not finite"):
        Tally(3).add(np.full((2, 3), np.nan, np.float32), np.array([0, 1]))
