"""msp and entropy, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from curate.strategies import Batch, Scored, Settings, make_strategy

# softmax of these: (3/4, 1/4), (1/2, 1/2), (0, 1)
LOGITS = np.array([[math.log(3), 0], [7, 7], [-500, 500]], np.float32)


def score(name: str, logits: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> Scored:
    return make_strategy(name, Settings()).score(Batch(np.arange(len(logits)), logits))


def test_msp_by_hand() -> None:
    found = score("msp", LOGITS)
    assert found.score.tolist() == pytest.approx([0.75, 0.5, 1.0])
    assert found.pseudo_label.tolist() == [0, 0, 1]


def test_entropy_by_hand() -> None:
    found = score("entropy", LOGITS)
    three = 0.75 * math.log(0.75) + 0.25 * math.log(0.25)
    assert found.score.tolist() == pytest.approx([three, -math.log(2), 0.0], abs=1e-6)
    assert found.pseudo_label.tolist() == [0, 0, 1]


@pytest.mark.parametrize("name", ["msp", "entropy"])
def test_only_differences_of_logits_count(name: str) -> None:
    shifted = score(name, LOGITS + np.float32(40))
    np.testing.assert_allclose(shifted.score, score(name, LOGITS).score, atol=1e-5)


@pytest.mark.parametrize("name", ["msp", "entropy"])
def test_the_surest_image_comes_first(name: str) -> None:
    found = score(name, LOGITS).score
    assert np.argsort(-found).tolist() == [2, 0, 1]


@pytest.mark.parametrize("name", ["msp", "entropy", "random"])
def test_strategies_that_only_rank_have_no_threshold(name: str) -> None:
    strategy = make_strategy(name, Settings())
    assert strategy.thresholds(np.array([3, 1])) is None
    assert (strategy.needs_student, strategy.default_balance) == (False, "none")
