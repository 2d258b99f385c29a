"""Clusters of equal size, and the best of each."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from curate.diversity.clusters import balanced_leaves, clusters
from index.faissing import faiss_module

from .helpers import ONE, candidates_of, products, random_candidates


@pytest.mark.parametrize(
    ("count", "wanted"),
    [(1, 1), (2, 2), (16, 1), (17, 2), (33, 33), (100, 7), (500, 63), (640, 40)],
)
@pytest.mark.parametrize("seed", range(2))
def test_leaves_are_balanced_and_hold_every_image_once(count: int, wanted: int, seed: int) -> None:
    leaves = list(balanced_leaves(random_candidates(count, 6, seed).vectors, wanted, seed))
    assert sorted(np.concatenate(leaves).tolist()) == list(range(count))
    assert len(leaves) == wanted
    sizes = [len(members) for members in leaves]
    assert max(sizes) - min(sizes) <= 2


def test_what_lies_apart_is_told_apart() -> None:
    # Clumps of 16 in two pairs: at 0 and 30 degrees, at 120 and 150. Each is a leaf.
    rng = np.random.default_rng(0)
    clump = rng.permutation(np.repeat(np.arange(4), 16))
    angles = np.radians(np.array([0, 30, 120, 150])[clump] + rng.normal(size=64))
    circle = candidates_of(np.stack([np.cos(angles), np.sin(angles)], 1)).vectors
    leaves = list(balanced_leaves(circle, 4, 0))
    assert sorted(set(clump[members].tolist()).pop() for members in leaves) == [0, 1, 2, 3]
    assert all(len(set(clump[members].tolist())) == 1 for members in leaves)


def test_leaves_hold_what_is_near() -> None:
    candidates = random_candidates(800, 8, 2)
    near = products(candidates) / ONE
    rng = np.random.default_rng(0)

    def cohesion(groups: list[NDArray[np.int64]]) -> float:
        return float(np.mean([near[np.ix_(members, members)].mean() for members in groups]))

    ours = cohesion(list(balanced_leaves(candidates.vectors, 50, 0)))
    chance = cohesion(np.array_split(rng.permutation(800), 50))
    kmeans = faiss_module().Kmeans(8, 50, seed=1, spherical=True, min_points_per_centroid=1)
    kmeans.train(candidates.vectors)
    assigned = kmeans.index.search(candidates.vectors, 1)[1][:, 0]
    free = cohesion([np.flatnonzero(assigned == k) for k in np.unique(assigned)])
    # Balance has its price, but most of what k-means finds is there.
    assert chance + 0.6 * (free - chance) < ours


def test_each_cluster_gives_its_best() -> None:
    candidates = random_candidates(160, 5, 3)
    leaves = list(balanced_leaves(candidates.vectors, 20, 7))
    found = clusters(candidates, 40, seed=7)
    assert candidates.places[found.taken].tolist() == sorted(candidates.places[found.taken])
    for members in leaves:
        best = members[candidates.places[members].argsort()[:2]]
        assert set(best) <= set(found.taken)
    numbers = {int(number) for number in found.added}
    assert numbers == set(range(1, 21))
    # The first cluster is that of the best score.
    assert found.added[0] == 1


def test_odd_picks_go_to_the_clusters_of_the_best_scores() -> None:
    found = clusters(random_candidates(48, 5, 3), 5, seed=0)
    counts = np.bincount(found.added.astype(int))[1:].tolist()
    assert counts == [2, 2, 1]


def test_the_number_of_threads_changes_nothing() -> None:
    candidates = random_candidates(400, 32, 1)
    faiss = faiss_module()
    before = faiss.omp_get_max_threads()
    found = []
    try:
        for threads in (1, 2, 4):
            faiss.omp_set_num_threads(threads)
            found.append(clusters(candidates, 100, seed=0).taken.tolist())
            assert faiss.omp_get_max_threads() == threads
    finally:
        faiss.omp_set_num_threads(before)
    assert found[0] == found[1] == found[2]


def test_equal_vectors_are_spread_by_their_scores() -> None:
    candidates = candidates_of(np.ones((64, 3)))
    found = clusters(candidates, 16, seed=0)
    assert len(set(found.taken.tolist())) == 16
    assert candidates.places.argmin() in found.taken
