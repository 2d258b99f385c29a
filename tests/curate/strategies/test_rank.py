"""rank: strategies, estimates and columns in one score."""

from __future__ import annotations

import numpy as np
import pytest

from curate.strategies import Batch, Rank, Settings, make_strategy
from index.errors import UsageError

TEACHER = np.array([[3, 0, 1], [0, 1, 0.5]], np.float32)
STUDENT = np.array([[0, 0, 2], [0, 4, 0]], np.float32)
SIGNALS = {
    "bn_shift": np.array([-1, 2], np.float32),
    "width": np.array([16, 64], np.float32),
}
BATCH = Batch(np.array([7, 8]), TEACHER, STUDENT, SIGNALS)


def test_a_rank_is_the_sum_of_its_terms() -> None:
    rank = Rank("0.6*kd3 - 0.3*bn_shift + log(width)", Settings())
    found = rank.score(BATCH)
    kd3 = make_strategy("kd3", Settings()).score(BATCH).score
    shift, width = SIGNALS.values()
    np.testing.assert_allclose(found.score, 0.6 * kd3 - 0.3 * shift + np.log(width), rtol=1e-6)
    expected = {
        "kd3": kd3,
        "bn_shift": shift,
        "width": width,
        "0.6 * kd3": 0.6 * kd3,
        "-(0.3 * bn_shift)": -0.3 * shift,
        "log(width)": np.log(width),
    }
    assert set(found.components) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(found.components[name], values, rtol=1e-6)
    assert found.pseudo_label.tolist() == [0, 1]


def test_it_needs_what_its_names_need() -> None:
    rank = Rank("disagreement - bn_shift/bytes + msp", Settings())
    assert (rank.needs, rank.needs_student) == (("bn_shift", "bytes"), True)
    alone = Rank("msp", Settings())
    assert (alone.needs, alone.needs_student) == ((), False)


def test_an_estimate_is_its_value_and_not_its_strategys_score() -> None:
    assert Rank("bn_shift", Settings()).score(BATCH).score.tolist() == [-1, 2]


def test_alpha_is_for_the_kd3_in_it() -> None:
    rank = Rank("kd3", Settings(alpha=0.5))
    kd3 = make_strategy("kd3", Settings(alpha=0.5))
    assert rank.score(BATCH).score.tolist() == kd3.score(BATCH).score.tolist()
    assert rank.needs_student
    with pytest.raises(UsageError, match="--alpha is kd3's"):
        Rank("msp", Settings(alpha=0.5))


def test_it_only_ranks() -> None:
    rank = Rank("kd3", Settings())
    assert rank.thresholds(np.array([5, 1, 1])) is None
    assert "Choose this when" in (Rank.__doc__ or "") and "Cost:" in (Rank.__doc__ or "")


@pytest.mark.parametrize("text", ["kd4", "bn_shit", "heigth"])
def test_an_unknown_name_is_answered_with_the_nearest(text: str) -> None:
    nearest = {"kd4": "kd3", "bn_shit": "bn_shift", "heigth": "height"}[text]
    with pytest.raises(UsageError, match=f"did you mean {nearest}"):
        Rank(text, Settings())
