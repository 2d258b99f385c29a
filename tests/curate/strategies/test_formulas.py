"""Every formula against SciPy and NumPy in float64, on random and on extreme inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.special import logsumexp, softmax
from scipy.stats import entropy

from curate.strategies import Batch, Settings, make_strategy

Array = np.ndarray[Any, np.dtype[Any]]


def random_logits(classes: int, scale: float, seed: int) -> Array:
    return np.random.default_rng(seed).normal(0, scale, (40, classes)).astype(np.float32)


LOGITS = {
    "two classes": random_logits(2, 3, 0),
    "ten classes": random_logits(10, 4, 1),
    "many classes": random_logits(150, 2, 2),
    "one class": random_logits(1, 5, 3),
    "sure": random_logits(10, 60, 4),
    "equal": np.full((3, 7), 2.5, np.float32),
    "huge": np.array([[65504, -65504, 0], [65504, 65504, 0], [-65504] * 3], np.float32),
}


def gen(z: Array) -> Array:
    """With 1 - p_k as the sum of the others, which float64, too, would lose beside a p near 1."""
    scores = []
    for row in z:
        terms = []
        for k in np.argsort(row)[::-1][:100]:
            others = np.delete(row, k)
            rest = logsumexp(others) - logsumexp(row) if len(others) else -np.inf
            terms.append(np.exp(0.1 * (row[k] - logsumexp(row) + rest)))
        scores.append(-np.sum(terms))
    return np.array(scores)


def margin(z: Array) -> Array:
    p = np.sort(softmax(z, axis=1), axis=1)
    return p[:, -1] - (p[:, -2] if p.shape[1] > 1 else 0)


OF_TEACHER: dict[str, Callable[[Array], Array]] = {
    "msp": lambda z: softmax(z, axis=1).max(axis=1),
    "dfnd": lambda z: softmax(z, axis=1).max(axis=1),
    "max_logit": lambda z: z.max(axis=1),
    "energy": lambda z: logsumexp(z, axis=1),
    "entropy": lambda z: -entropy(softmax(z, axis=1), axis=1),
    "margin": margin,
    "gen": gen,
}


@pytest.mark.parametrize("case", LOGITS)
@pytest.mark.parametrize("name", OF_TEACHER)
def test_scores_of_the_teacher(name: str, case: str) -> None:
    logits = LOGITS[case]
    found = make_strategy(name, Settings()).score(Batch(np.arange(len(logits)), logits))
    expected = OF_TEACHER[name](logits.astype(np.float64))
    np.testing.assert_allclose(found.score, expected, rtol=2e-4, atol=2e-5)
    assert found.score.dtype == np.float32
    assert found.pseudo_label.tolist() == logits.argmax(axis=1).tolist()


def divergence(teacher: Array, student: Array) -> Array:
    """JS / ln 2; SciPy gives its square root."""
    return np.asarray(jensenshannon(teacher, student, base=2, axis=1) ** 2)


@pytest.mark.parametrize("case", [name for name in LOGITS if name != "one class"])
def test_agreement_and_disagreement(case: str) -> None:
    logits = LOGITS[case]
    student = logits[:, ::-1].copy()
    batch = Batch(np.arange(len(logits)), logits, student)
    p, q = softmax(logits.astype(float), axis=1), softmax(student.astype(float), axis=1)
    expected = divergence(p, q)
    agreed = make_strategy("agreement", Settings()).score(batch)
    np.testing.assert_allclose(agreed.score, 1 - expected, atol=2e-6)
    found = make_strategy("disagreement", Settings()).score(batch)
    sure = p.max(axis=1) > 0.5 + 1e-6
    doubtful = p.max(axis=1) < 0.5 - 1e-6
    np.testing.assert_allclose(found.score[sure], expected[sure], atol=2e-6)
    np.testing.assert_allclose(found.score[doubtful], p.max(axis=1)[doubtful] - 1, atol=2e-6)
    assert agreed.pseudo_label.tolist() == found.pseudo_label.tolist() == logits.argmax(1).tolist()


def test_where_there_is_one_class_all_agree() -> None:
    batch = Batch(np.arange(40), LOGITS["one class"], LOGITS["one class"][::-1].copy())
    assert set(make_strategy("agreement", Settings()).score(batch).score) == {1.0}
    assert set(make_strategy("disagreement", Settings()).score(batch).score) == {0.0}


def test_what_the_teacher_doubts_ranks_below_what_it_is_sure_of() -> None:
    # Both are sure and agree; the teacher doubts and the student contradicts it; sure, against it.
    teacher = np.array([[9, 0, 0], [0.2, 0.1, 0], [9, 0, 0]], np.float32)
    student = np.array([[9, 0, 0], [0, 0, 9], [0, 0, 9]], np.float32)
    batch = Batch(np.arange(3), teacher, student)
    found = make_strategy("disagreement", Settings()).score(batch).score
    assert np.argsort(-found).tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    ("name", "sign"), [("bn_shift", -1), ("bn_kl", -1), ("null_space", -1), ("classifier_angle", 1)]
)
def test_estimates_are_ranked_the_nearest_first(name: str, sign: int) -> None:
    strategy = make_strategy(name, Settings())
    assert strategy.needs == (name,)
    stored = np.array([0.5, -1, 2], np.float32)
    batch = Batch(np.arange(3), LOGITS["ten classes"][:3], signals={name: stored})
    found = strategy.score(batch)
    assert found.score.tolist() == (sign * stored).tolist()
    assert found.pseudo_label.tolist() == LOGITS["ten classes"][:3].argmax(1).tolist()


@pytest.mark.parametrize("name", ["agreement", "disagreement"])
def test_what_compares_needs_a_student(name: str) -> None:
    assert make_strategy(name, Settings()).needs_student
