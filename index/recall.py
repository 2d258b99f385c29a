"""How faithful and how fast an index is: recall@10 against exact search, and time per query."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.catalog import Catalog
from index.choice import RECALL
from index.faissing import faiss_module
from index.parts import Ids
from index.progress import Progress, Silent
from index.vectors import Vectors, live_vectors, sample_vectors, vectors_of

QUERIES = 256
NEIGHBOURS = 10

_TIMED = 32
_SAME = 1e-5  # cosines this close are a tie: float32 sums depend on their order


@dataclass(frozen=True)
class Measured:
    """Recall@10 and milliseconds a query (None with fewer than two vectors), and the effort."""

    recall: float | None
    query_ms: float | None
    effort: str = ""


def measure(
    catalog: Catalog,
    embedder: str,
    index: Any,
    seed: int,
    goal: float,
    progress: Progress | None = None,
) -> Measured:
    """Set the search effort of an index and measure it on a seeded sample of its own vectors.

    256 vectors are searched for their 10 nearest others. A neighbour found is right where its
    exact cosine reaches that of the 10th nearest by exact search, so that ties count. IVF's
    nprobe and HNSW's efSearch become the smallest power of two whose recall is
    `goal`, or where none reaches it, misses the best by no more than a tenth of 1 - `goal`; FAISS
    keeps them in the index file. The time is the median of 32 queries one by one. Costs three
    passes over the part files.
    """
    ids, queries = sample_vectors(catalog, embedder, QUERIES, seed)
    others = min(NEIGHBOURS, index.ntotal - 1)
    if others < 1:
        return Measured(None, None)
    tenth = _exact_tenth(catalog, embedder, queries, others, progress or Silent())
    name, efforts = _efforts(index, goal)
    found = []
    for effort in efforts:
        _set(index, name, effort)
        found.append(_others(index.search(queries, others + 1)[1], ids, others))
    recalls = [float(np.mean(right)) for right in _right(catalog, embedder, queries, found, tenth)]
    best = _cheapest(recalls, goal)
    _set(index, name, efforts[best])
    said = f"{name} = {efforts[best]}" if name else ""
    return Measured(round(recalls[best], 4), round(_query_ms(index, queries), 4), said)


def recall_at_10(
    catalog: Catalog, embedder: str, search: Callable[[Vectors, int], Ids], seed: int
) -> float:
    """Return the recall@10 of any search for the k nearest ids, on the same sample as `measure`."""
    ids, queries = sample_vectors(catalog, embedder, QUERIES, seed)
    tenth = _exact_tenth(catalog, embedder, queries, NEIGHBOURS, Silent())
    found = [_others(search(queries, NEIGHBOURS + 1), ids, NEIGHBOURS)]
    return float(np.mean(_right(catalog, embedder, queries, found, tenth)[0]))


def _exact_tenth(
    catalog: Catalog, embedder: str, queries: Vectors, others: int, progress: Progress
) -> NDArray[np.float32]:
    """Return the cosine of each query's last exact neighbour, itself left out."""
    faiss = faiss_module()
    # A query is its own nearest, whatever its copies: it takes one of the places.
    heap = faiss.ResultHeap(len(queries), others + 1, keep_max=True)
    with progress.step("Measuring recall", None, "vectors") as advance:
        for ids, vectors in live_vectors(catalog, embedder):
            if len(ids):
                near = min(others + 1, len(ids))
                cosines, rows = faiss.knn(queries, vectors, near, faiss.METRIC_INNER_PRODUCT)
                heap.add_result(cosines, ids[rows])
            advance(len(ids))
    heap.finalize()
    tenth: NDArray[np.float32] = heap.D[:, others]
    return tenth


def _others(found: Ids, ids: Ids, others: int) -> Ids:
    """Drop each query's own id (or the last, where it was not found) from its row."""
    mine = found == ids[:, None]
    mine[~mine.any(axis=1), -1] = True
    kept: Ids = found[~mine].reshape(len(ids), others)
    return kept


def _right(
    catalog: Catalog,
    embedder: str,
    queries: Vectors,
    found: Sequence[Ids],
    tenth: NDArray[np.float32],
) -> list[NDArray[np.bool_]]:
    """Tell for each effort which of the found ids (queries, others) are as near as the tenth."""
    unique = np.unique(np.concatenate([ids[ids >= 0] for ids in found]))
    vectors = vectors_of(catalog, embedder, unique)
    judged = []
    for ids in found:
        near = vectors[np.searchsorted(unique, np.maximum(ids, unique[0]))]
        cosines = np.einsum("qd,qkd->qk", queries, near)
        judged.append((ids >= 0) & (cosines >= tenth[:, None] - _SAME))
    return judged


def _cheapest(recalls: Sequence[float], goal: float) -> int:
    best = max(recalls)
    enough = goal if best >= goal else best - (1 - goal) / 10
    return next(i for i, recall in enumerate(recalls) if recall >= enough)


def _query_ms(index: Any, queries: Vectors) -> float:
    times = []
    for query in queries[:_TIMED]:
        began = time.perf_counter()
        index.search(query[None], NEIGHBOURS)
        times.append(time.perf_counter() - began)
    return float(np.median(times)) * 1e3


def _efforts(index: Any, goal: float) -> tuple[str, list[int]]:
    """Return the name of the knob that trades time for recall, and what to try.

    That is up to 512, and for more than the usual recall up to 4,096.
    """
    most = 10 if goal <= RECALL else 13
    ivf = faiss_module().try_extract_index_ivf(index)
    if ivf is not None:
        top = int(ivf.nlist).bit_length()
        return "nprobe", [1 << i for i in range(min(top, most))]
    if graph_of(index) is not None:
        return "efSearch", [1 << i for i in range(4, most)]
    return "", [0]


def _set(index: Any, name: str, effort: int) -> None:
    if name == "nprobe":
        faiss_module().extract_index_ivf(index).nprobe = effort
    elif name == "efSearch":
        graph_of(index).efSearch = effort


def graph_of(index: Any) -> Any:
    """Return the HNSW graph of an index, below the wrappers around it, or None."""
    faiss = faiss_module()
    while index is not None:
        index = faiss.downcast_index(index)
        if hasattr(index, "hnsw"):
            return index.hnsw
        index = getattr(index, "index", None) or getattr(index, "base_index", None)
    return None
