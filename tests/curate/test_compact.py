"""Logits in fewer bytes: what is exact in them, what is not, and how many bytes they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from curate.compact import KEPT, bytes_an_image, check_mode, mode_of, packed, unpacked
from curate.strategies import Batch, Settings, logits_needed, make_strategy
from index.errors import UsageError
from index.parts import array_names, read_arrays, write_arrays

CLASSES = 50
HALVES = st.floats(-60, 60, width=16)


def random_logits(count: int, classes: int = CLASSES) -> NDArray[np.float16]:
    return (3 * np.random.default_rng(0).standard_normal((count, classes))).astype(np.float16)


def softmax64(logits: NDArray[np.float16]) -> NDArray[np.float64]:
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def test_the_32_largest_keep_their_probability_and_the_others_share_the_rest() -> None:
    logits = random_logits(200)
    p, restored = softmax64(logits), unpacked(packed(logits, "top32"), CLASSES)
    q = softmax64(restored)
    for row in range(len(logits)):
        order = np.lexsort((np.arange(CLASSES), -logits[row]))
        kept, others = order[:KEPT], order[KEPT:]
        np.testing.assert_array_equal(restored[row, kept], logits[row, kept].astype(np.float32))
        np.testing.assert_allclose(q[row, kept], p[row, kept], rtol=2e-6)
        np.testing.assert_allclose(q[row, others], p[row, others].mean(), rtol=2e-5)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(HALVES, min_size=34, max_size=34), min_size=1, max_size=4))
def test_label_and_order_survive_whatever_the_logits(rows: list[list[float]]) -> None:
    logits = np.array(rows, np.float16)
    arrays = packed(logits, "top32")
    restored = unpacked(arrays, 34)
    np.testing.assert_array_equal(restored.argmax(axis=1), logits.argmax(axis=1))
    assert (np.diff(arrays["rows"][:, :KEPT].astype(np.float32), axis=1) <= 0).all()
    whole = np.logaddexp.reduce(logits.astype(np.float64), axis=1)
    np.testing.assert_allclose(
        np.logaddexp.reduce(restored.astype(np.float64), axis=1), whole, atol=1e-4
    )


def test_of_equal_logits_those_of_the_smaller_classes_are_kept() -> None:
    logits = np.zeros((1, 40), np.float16)
    logits[0, ::2] = -0.0  # equal to 0, whatever its sign
    assert packed(logits, "top32")["classes"].tolist() == [list(range(KEPT))]


@pytest.mark.parametrize("name", ["msp", "dfnd", "kd3", "max_logit", "margin", "energy"])
def test_strategies_that_say_so_are_exact_from_top32(name: str) -> None:
    logits = random_logits(300)
    strategy = make_strategy(name, Settings())
    assert logits_needed(strategy) != "full"
    ids = np.arange(len(logits))
    full = strategy.score(Batch(ids, logits.astype(np.float32)))
    less = strategy.score(Batch(ids, unpacked(packed(logits, "top32"), CLASSES)))
    np.testing.assert_allclose(less.score, full.score, rtol=3e-6, atol=1e-6)
    np.testing.assert_array_equal(less.pseudo_label, full.pseudo_label)


@pytest.mark.parametrize("name", ["entropy", "gen"])
def test_strategies_that_need_all_are_not_exact_from_top32(name: str) -> None:
    logits = random_logits(300)
    strategy = make_strategy(name, Settings())
    assert logits_needed(strategy) == "full"
    ids = np.arange(len(logits))
    full = strategy.score(Batch(ids, logits.astype(np.float32))).score
    less = strategy.score(Batch(ids, unpacked(packed(logits, "top32"), CLASSES))).score
    assert np.abs(less - full).max() > 1e-4


def test_what_needs_a_student_or_another_alpha_needs_all() -> None:
    assert logits_needed(make_strategy("agreement", Settings())) == "full"
    assert logits_needed(make_strategy("kd3", Settings(alpha=0.5))) == "full"
    assert logits_needed(make_strategy("kd3", Settings(alpha=1.0))) == "none"
    assert logits_needed(make_strategy("random", Settings())) == "none"


@pytest.mark.parametrize("mode", ["full", "top32", "none"])
def test_a_part_is_as_large_as_it_says_and_tells_its_mode(mode: str, tmp_path: Path) -> None:
    logits = random_logits(5000)
    arrays = packed(logits, mode)
    part = write_arrays(tmp_path, "logits/model", 0, np.arange(5000), arrays, CLASSES)
    assert part.width == CLASSES
    assert abs(part.bytes / 5000 - bytes_an_image(mode, CLASSES)) < 0.5
    assert mode_of(array_names(tmp_path, part)) == mode
    read = read_arrays(tmp_path, part)
    assert set(read) == {"ids", *arrays}
    for name, values in arrays.items():
        np.testing.assert_array_equal(read[name], values)


def test_a_mode_that_makes_no_sense_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="--logits is 'some': choose one of full, top32, none"):
        check_mode("some", 50)
    with pytest.raises(UsageError, match="top32 keeps 32 of more classes, and this network has 32"):
        check_mode("top32", 32)
    check_mode("top32", 33)
