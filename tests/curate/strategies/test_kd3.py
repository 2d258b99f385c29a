"""kd3: mixed logits, thresholds that adapt to each class, and the schedule of alpha."""

from __future__ import annotations

import math

import numpy as np
import pytest

from curate.strategies import Batch, Settings, make_strategy
from curate.strategies.kd3 import alpha_at, alpha_schedule
from index.errors import UsageError

TEACHER = np.array([[4, 0], [1, 0]], np.float32)
STUDENT = np.array([[0, 2], [0, 2]], np.float32)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_logits_are_mixed_and_not_probabilities() -> None:
    found = make_strategy("kd3", Settings(alpha=0.5)).score(Batch(np.arange(2), TEACHER, STUDENT))
    # z = (2, 1) and (.5, 1); mixing probabilities would give .5505 and another label.
    assert found.score.tolist() == pytest.approx([sigmoid(1), sigmoid(0.5)])
    assert found.pseudo_label.tolist() == [0, 1]


def test_alpha_is_the_teachers_share() -> None:
    batch = Batch(np.arange(2), TEACHER, STUDENT)
    alone = make_strategy("kd3", Settings(alpha=1.0)).score(batch)
    assert alone.score.tolist() == pytest.approx([sigmoid(4), sigmoid(1)])
    student = make_strategy("kd3", Settings(alpha=0.0)).score(batch)
    assert student.score.tolist() == pytest.approx([sigmoid(2), sigmoid(2)])
    assert student.pseudo_label.tolist() == [1, 1]
    quarter = make_strategy("kd3", Settings(alpha=0.25)).score(batch)
    # z = (1, 1.5) and (.25, 1.5)
    assert quarter.score.tolist() == pytest.approx([sigmoid(0.5), sigmoid(1.25)])


def test_the_default_is_the_teacher_alone() -> None:
    strategy = make_strategy("kd3", Settings())
    assert not strategy.needs_student
    assert make_strategy("kd3", Settings(alpha=0.99)).needs_student
    found = strategy.score(Batch(np.arange(2), TEACHER))
    assert found.score.tolist() == pytest.approx([sigmoid(4), sigmoid(1)])


@pytest.mark.parametrize("alpha", [-0.01, 1.01, math.nan])
def test_alpha_lies_between_student_and_teacher(alpha: float) -> None:
    with pytest.raises(UsageError, match="--alpha"):
        make_strategy("kd3", Settings(alpha=alpha))


def test_thresholds_follow_the_table() -> None:
    counts = np.array([1000, 900, 800, 700, 500, 300, 100])
    found = make_strategy("kd3", Settings()).thresholds(counts)
    assert found is not None
    assert found.round(3).tolist() == [0.95, 0.777, 0.633, 0.512, 0.317, 0.168, 0.05]


def test_thresholds_depend_on_shares_and_not_on_the_pools_size() -> None:
    strategy = make_strategy("kd3", Settings())
    counts = np.array([9, 3, 6])
    np.testing.assert_allclose(strategy.thresholds(counts), strategy.thresholds(counts * 1000))


def test_a_class_without_images_has_the_threshold_zero() -> None:
    strategy = make_strategy("kd3", Settings())
    assert strategy.thresholds(np.array([0, 5])).tolist() == pytest.approx([0.0, 0.95])
    assert strategy.thresholds(np.zeros(3, np.int64)).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("epoch", "alpha"),
    [
        (1, 0.992),
        (10, 0.987),
        (40, 0.937),
        (60, 0.853),
        (80, 0.705),
        (100, 0.493),
        (119, 0.268),
        (120, 0.0),
        (240, 0.0),
    ],
)
def test_alpha_falls_on_the_papers_schedule(epoch: int, alpha: float) -> None:
    assert alpha_schedule(epoch, 240) == pytest.approx(alpha, abs=6e-4)


def test_the_schedule_never_rises() -> None:
    values = [alpha_schedule(epoch / 4, 30) for epoch in range(4, 121)]
    assert values == sorted(values, reverse=True)
    assert min(values) >= 0 and max(values) <= 1


def test_a_short_training_follows_the_published_schedule() -> None:
    assert [alpha_at(epoch / 240) for epoch in range(240)] == pytest.approx(
        [alpha_schedule(epoch, 240) for epoch in range(1, 241)]
    )
    assert alpha_at(0) == pytest.approx(0.992, abs=6e-4)
    assert alpha_at(0.5) == 0
