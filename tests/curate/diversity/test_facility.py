"""Facility location against plain greedy over the whole graph, and against all subsets."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from curate.diversity import facility as module
from curate.diversity.base import Candidates
from curate.diversity.facility import facility

from .helpers import ONE, candidates_of, products, random_candidates


def graph(candidates: Candidates) -> NDArray[np.float64]:
    """Products (n, n) of each image, a row, with its 32 nearest; 0 elsewhere."""
    near = np.maximum(products(candidates), 0)
    count = min(module.NEIGHBOURS, len(candidates))
    bound = np.sort(near, axis=1)[:, -count][:, None]
    assert ((near >= bound).sum(axis=1) == count).all() or count == len(candidates)
    return np.where(near >= bound, near, 0)


def covered(near: NDArray[np.float64], taken: list[int]) -> float:
    return float(near[:, taken].max(axis=1).sum()) if taken else 0.0


def plain(near: NDArray[np.float64], count: int) -> tuple[list[int], list[float]]:
    taken: list[int] = []
    added: list[float] = []
    while len(taken) < count:
        before = covered(near, taken)
        rest = [i for i in range(len(near)) if i not in taken]
        gains = {i: covered(near, [*taken, i]) - before for i in rest}
        chosen = max(rest, key=lambda i: (gains[i], -i))
        taken.append(chosen)
        added.append(gains[chosen] / ONE)
    return taken, added


@pytest.mark.parametrize(
    ("count", "dim", "picks"), [(1, 3, 1), (30, 2, 9), (32, 8, 32), (25, 4, 6)]
)
@pytest.mark.parametrize("seed", range(3))
def test_it_is_plain_greedy(count: int, dim: int, picks: int, seed: int) -> None:
    candidates = random_candidates(count, dim, seed)
    found = facility(candidates, picks, seed=0)
    taken, added = plain(graph(candidates), picks)
    assert found.taken.tolist() == taken
    np.testing.assert_array_equal(found.added, added)


def test_beyond_32_images_only_the_nearest_count() -> None:
    rng = np.random.default_rng(3)
    candidates = candidates_of(rng.normal(size=(90, 12)))
    found = facility(candidates, 20, seed=0)
    taken, added = plain(graph(candidates), 20)
    assert found.taken.tolist() == taken
    np.testing.assert_array_equal(found.added, added)


def test_greedy_is_near_the_best_of_all_subsets() -> None:
    candidates = random_candidates(16, 3, 5)
    near = graph(candidates)
    best = max(covered(near, list(some)) for some in combinations(range(16), 4))
    ours = covered(near, facility(candidates, 4, seed=0).taken.tolist())
    assert (1 - 1 / np.e) * best <= ours <= best


def test_one_image_a_clump_by_hand() -> None:
    # Three directions at right angles, of 4, 3 and 2 images: one of each, the larger clump first.
    axes = np.repeat(np.eye(3), [4, 3, 2], axis=0)
    found = facility(candidates_of(axes), 3, seed=0)
    assert found.taken.tolist() == [0, 4, 7]
    assert found.added.tolist() == [4, 3, 2]


def test_of_equal_vectors_the_smaller_ids_are_picked() -> None:
    for count in (9, 50):  # within what a graph holds, and beyond
        found = facility(candidates_of(np.ones((count, 4))), 4, seed=0)
        assert len(set(found.taken.tolist())) == 4
        assert found.added[1:].tolist() == [0.0, 0.0, 0.0] if count == 9 else True
        assert count != 9 or found.taken.tolist() == [0, 1, 2, 3]
