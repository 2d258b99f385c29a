"""Facility location: the picks to which all candidates together are nearest."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curate.diversity.base import ONE, Candidates, Method, Picks
from index.faissing import faiss_module
from index.vectors import Vectors

NEIGHBOURS = 32
_BLOCK = 4096


def facility(candidates: Candidates, count: int, seed: int) -> Picks:  # noqa: ARG001
    """Pick `count` candidates that add most to the sum over i of max over picked j of cos(i, j).

    Cosines below 0 count as 0. Only the 32 nearest of each i count (its own included), which FAISS
    finds exactly. Greedily, which reaches 1 - 1/e of the best there is (Nemhauser, Wolsey and
    Fisher, 1978), and lazily (Minoux, 1978): a gain only ever falls, so old ones are bounds. Of
    equal gains the smaller image id.

    Choose it to represent the bulk of a class, without k-centre's outliers.
    Costs n² products of vectors for the graph, and little beside.
    """
    graph = _graph(candidates.vectors)
    covered = np.zeros(len(candidates), np.int64)
    bounds = list(zip((-graph.gains()).tolist(), range(len(candidates)), strict=True))
    heapq.heapify(bounds)
    taken, added = np.empty(count, np.int64), np.empty(count, np.float64)
    for step in range(count):
        while True:
            _, chosen = heapq.heappop(bounds)
            gain = graph.gain(chosen, covered)
            if not bounds or (-gain, chosen) <= bounds[0]:
                break
            heapq.heappush(bounds, (-gain, chosen))
        taken[step], added[step] = chosen, gain / ONE
        graph.cover(chosen, covered)
    return Picks(taken, added)


FACILITY = Method(
    facility, "printf('selected: adds %.3f to the coverage, pick %d of %d', added, pick, picks)"
)


@dataclass(frozen=True)
class _Graph:
    """For each candidate j the images that have it among their nearest, and how near it is."""

    starts: NDArray[np.int64]
    images: NDArray[np.int64]
    products: NDArray[np.int64]

    def gains(self) -> NDArray[np.int64]:
        """What each candidate (n,) adds where nothing is covered yet."""
        sums = np.concatenate([[0], self.products.cumsum()])
        first: NDArray[np.int64] = sums[self.starts[1:]] - sums[self.starts[:-1]]
        return first

    def gain(self, j: int, covered: NDArray[np.int64]) -> int:
        """What j adds where each image is covered (n,) already; in units of 1 / ONE."""
        ours = slice(self.starts[j], self.starts[j + 1])
        more = self.products[ours] - covered[self.images[ours]]
        return int(more[more > 0].sum())

    def cover(self, j: int, covered: NDArray[np.int64]) -> None:
        ours = slice(self.starts[j], self.starts[j + 1])
        images = self.images[ours]  # each once
        covered[images] = np.maximum(covered[images], self.products[ours])


def _graph(vectors: Vectors) -> _Graph:
    count = len(vectors)
    index = faiss_module().IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    products, nearest = [], []
    for start in range(0, count, _BLOCK):
        near, found = index.search(vectors[start : start + _BLOCK], min(NEIGHBOURS, count))
        products.append(np.maximum(near, 0).astype(np.int64).ravel())
        nearest.append(found.ravel())
    who = np.concatenate(nearest)
    images = np.repeat(np.arange(count), min(NEIGHBOURS, count))
    order = np.lexsort((images, who))
    starts = np.searchsorted(who[order], np.arange(count + 1))
    return _Graph(starts, images[order], np.concatenate(products)[order])
