"""random: uniform, and a function of seed and id alone."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from curate.strategies import Batch, Settings, make_strategy

MASK = 2**64 - 1


def scores(ids: NDArray[np.int64], seed: int = 0) -> NDArray[np.float32]:
    logits = np.zeros((len(ids), 3), np.float32)
    return make_strategy("random", Settings(seed=seed)).score(Batch(ids, logits)).score


def ids_of(count: int, seed: int = 0) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(2**63 - 1, size=count, dtype=np.int64)


def split_mix(key: int, seed: int) -> float:
    """SplitMix64 in Python's integers: the state after seed + 1 golden steps from `key`."""
    z = (key + (seed + 1) * 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    z ^= z >> 31
    return (z >> 40) / 2**24


@pytest.mark.parametrize("seed", [0, 1, 12345])
def test_scores_are_those_of_splitmix64(seed: int) -> None:
    ids = np.array([0, 1, 2**62 + 7, 2**63 - 1], dtype=np.int64)
    assert scores(ids, seed).tolist() == [split_mix(int(key), seed) for key in ids]


@pytest.mark.parametrize("ids", [ids_of(100_000), np.arange(100_000)], ids=["hashes", "counting"])
def test_scores_are_uniform(ids: NDArray[np.int64]) -> None:
    found = scores(ids)
    assert found.min() >= 0 and found.max() < 1
    counts, _ = np.histogram(found, bins=20, range=(0, 1))
    # 5000 are expected in each of 20 bins: chi-squared of 19 degrees is below 43.8 in 99.9 %.
    assert ((counts - 5000) ** 2 / 5000).sum() < 43.8


def test_scores_depend_on_neither_order_nor_batch() -> None:
    ids = ids_of(1000)
    together = scores(ids)
    order = np.random.default_rng(1).permutation(1000)
    assert (scores(ids[order]) == together[order]).all()
    pieces = [scores(ids[start : start + 7]) for start in range(0, 1000, 7)]
    assert (np.concatenate(pieces) == together).all()


def test_seeds_are_unrelated() -> None:
    ids = ids_of(20_000)
    first, second = scores(ids, 0), scores(ids, 1)
    assert (first != second).mean() > 0.99
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.03


def test_the_teacher_gives_the_label_and_no_score() -> None:
    ids = ids_of(3)
    logits = np.array([[0, 1, 0], [2, 1, 0], [0, 1, 5]], np.float32)
    found = make_strategy("random", Settings()).score(Batch(ids, logits))
    assert found.pseudo_label.tolist() == [1, 0, 2]
    assert (found.score == scores(ids)).all()
