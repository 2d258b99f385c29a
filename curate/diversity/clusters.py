"""Balanced clusters: the same number from each, inside a cluster the best scores."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from curate.diversity.base import Candidates, Method, Picks
from curate.quotas import class_quotas
from index.faissing import kmeans_centres
from index.vectors import Vectors

PICKS_A_LEAF = 2
_ROUNDS = 10
_TRIES = 4  # of k-means, from other images: the best counts

Members = NDArray[np.int64]


def clusters(candidates: Candidates, count: int, seed: int) -> Picks:
    """Pick `count` candidates, the same number of every cluster, the best scores of each.

    The clusters are the leaves of a tree. Each node is split by FAISS's k-means with two spherical
    centroids, cut where both sides are as large as their leaves need: there is a leaf for every two
    picks, and the sizes of leaves differ by at most 2. (After the hierarchical k-means of Vo and
    others, "Automatic data curation for self-supervised learning", 2024, whose leaves are not
    balanced.) Leaves are numbered by their best score, and odd picks go to the first of them.

    Choose it to keep the best scores and yet something of everything: between the other two and
    no diversity at all. Costs n log n products of vectors, the least of the three.
    """
    leaves = sorted(
        balanced_leaves(candidates.vectors, -(-count // PICKS_A_LEAF), seed),
        key=lambda members: candidates.places[members].min(),
    )
    quotas = class_quotas(np.array([len(members) for members in leaves]), count, "full")
    assert quotas is not None
    best = [
        members[candidates.places[members].argsort()[:quota]]
        for members, quota in zip(leaves, quotas, strict=True)
    ]
    taken = np.concatenate(best)
    number = np.repeat(np.arange(1.0, len(leaves) + 1), quotas)
    order = candidates.places[taken].argsort()
    return Picks(taken[order], number[order])


CLUSTERS = Method(
    clusters,
    "printf('selected: of the best in cluster %d, pick %d of %d', added::BIGINT, pick, picks)",
)


def balanced_leaves(vectors: Vectors, count: int, seed: int) -> Iterator[Members]:
    """Yield the members of each of so many leaves, positions in ascending order."""
    nodes = [(np.arange(len(vectors)), count)]
    while nodes:
        members, leaves = nodes.pop()
        if leaves == 1:
            yield members
            continue
        left = leaves // 2
        ordered = members[_from_side_to_side(vectors[members], seed).argsort(kind="stable")]
        cut = len(members) * left // leaves
        nodes.append((np.sort(ordered[cut:]), leaves - left))
        nodes.append((np.sort(ordered[:cut]), left))


def _from_side_to_side(vectors: Vectors, seed: int) -> Vectors:
    """Return how much nearer each vector (n, D) is to one of two centroids than to the other."""
    first, second = kmeans_centres(
        vectors, 2, seed=1234 + seed, niter=_ROUNDS, nredo=_TRIES, spherical=True
    )
    # Half of a unit vector's steps, for a difference may be twice as long: see `whole`.
    side: Vectors = vectors @ np.rint(2000 * (first - second)).astype(np.float32)
    return side
