"""k-centre against a plain loop in float64, and what it promises."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from curate.diversity.base import Candidates
from curate.diversity.kcenter import kcenter

from .helpers import ONE, candidates_of, products, random_candidates


def plain(candidates: Candidates, count: int) -> tuple[list[int], list[float]]:
    near = products(candidates)
    taken = [int(np.argmin(candidates.places))]
    added = [-np.inf]
    while len(taken) < count:
        rest = [i for i in range(len(candidates)) if i not in taken]
        worst = {i: max(near[i, j] for j in taken) for i in rest}
        chosen = min(rest, key=lambda i: (worst[i], candidates.ids[i]))
        taken.append(chosen)
        added.append(worst[chosen] / ONE)
    return taken, added


@pytest.mark.parametrize(
    ("count", "dim", "picks"), [(1, 3, 1), (30, 2, 9), (80, 16, 20), (25, 4, 25)]
)
@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_plain_loop(count: int, dim: int, picks: int, seed: int) -> None:
    candidates = random_candidates(count, dim, seed)
    found = kcenter(candidates, picks, seed=0)
    taken, added = plain(candidates, picks)
    assert found.taken.tolist() == taken
    np.testing.assert_array_equal(found.added, added)


def test_by_hand() -> None:
    # On a circle, in degrees; the best score is at 10. Farthest from 10 is 200, then 100 (90 and
    # 100 away), then 280 (80 from 200, 90 from 10).
    angles = np.radians([0, 10, 100, 180, 200, 280])
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    candidates = candidates_of(circle)
    candidates = Candidates(candidates.ids, np.array([5, 1, 2, 3, 4, 6]), candidates.vectors)
    found = kcenter(candidates, 4, seed=0)
    assert found.taken.tolist() == [1, 4, 2, 5]
    expected = np.cos(np.radians([190, 90, 80]))
    np.testing.assert_allclose(found.added[1:], expected, atol=5e-4)


def covering(near: NDArray[np.float64], taken: NDArray[np.int64]) -> float:
    """The largest distance of any image to its nearest picked one."""
    return float(np.sqrt(np.maximum(0, 2 - 2 * near[:, taken].max(axis=1) / ONE)).max())


def test_no_set_of_that_size_covers_with_less_than_half_the_radius() -> None:
    candidates = random_candidates(60, 5, 1)
    near = products(candidates)
    ours = covering(near, kcenter(candidates, 6, seed=0).taken)
    rng = np.random.default_rng(0)
    others = [covering(near, rng.choice(60, 6, replace=False)) for _ in range(500)]
    assert ours <= 2 * min(others)
    assert ours < np.median(others)


def test_of_equal_vectors_the_best_score_and_then_the_smaller_ids_are_picked() -> None:
    candidates = candidates_of(np.ones((9, 4)))
    best = int(candidates.places.argmin())
    rest = [i for i in range(9) if i != best]
    assert kcenter(candidates, 4, seed=0).taken.tolist() == [best, *rest[:3]]
