"""Empty indexes, trained on a bounded sample of the stored vectors."""

from __future__ import annotations

from typing import Any

from index.catalog import Catalog
from index.choice import Choice, faiss_reason, training_count
from index.errors import UsageError
from index.faissing import faiss_module, one_thread
from index.progress import Progress
from index.recall import graph_of
from index.vectors import Vectors, live_count, sample_vectors

_OPQ_ITERATIONS = 10
_POINTS_A_CODE = 64
# Candidates that a new vector of a graph is linked among. FAISS takes 40, with which a graph of a
# quarter of a million vectors misses what no effort in searching finds again.
_GRAPH_EFFORT = 100


def trained(
    catalog: Catalog, embedder: str, dim: int, choice: Choice, seed: int, progress: Progress
) -> Any:
    """Return an empty index, trained on a seeded sample where it needs that.

    Raises:
        UsageError: too few vectors for so many centroids.
    """
    faiss = faiss_module()
    index = faiss.index_factory(dim, choice.factory, faiss.METRIC_INNER_PRODUCT)
    graph = graph_of(index)
    if graph is not None:
        graph.efConstruction = _GRAPH_EFFORT
    if index.is_trained:
        return index
    _seed(index, seed)
    ivf = faiss.try_extract_index_ivf(index)
    count = training_count(live_count(catalog, embedder), dim, ivf.nlist if ivf else 0)
    with progress.step("Training the index", count, "vectors") as advance:
        _, vectors = sample_vectors(catalog, embedder, count, seed)
        try:
            _train(index, vectors.reshape(-1, dim))
        except RuntimeError as error:
            raise UsageError(
                f"cannot train {choice.factory} on {len(vectors):,} vectors "
                f"({faiss_reason(error)}): use --index auto, or one with fewer centroids"
            ) from error
        advance(count)
    return index


def _seed(index: Any, seed: int) -> None:
    """Seed the k-means of the lists, and keep the training of product quantisers short.

    FAISS's own settings (50 iterations of OPQ, 256 points a centroid) take many times longer.
    """
    faiss = faiss_module()
    ivf = faiss.try_extract_index_ivf(index)
    if ivf is not None:
        ivf.cp.seed = 1234 + seed
        if hasattr(faiss.downcast_index(ivf), "pq"):
            faiss.downcast_index(ivf).pq.cp.max_points_per_centroid = _POINTS_A_CODE
    inner = faiss.downcast_index(index.index)
    if isinstance(inner, faiss.IndexPreTransform):
        for i in range(inner.chain.size()):
            step = faiss.downcast_VectorTransform(inner.chain.at(i))
            if isinstance(step, faiss.OPQMatrix):
                step.niter, step.niter_pq_0 = _OPQ_ITERATIONS, _OPQ_ITERATIONS
                step.max_train_points = 256 * _POINTS_A_CODE


def _train(index: Any, vectors: Vectors) -> None:
    """Train on vectors (n, dim); product quantisers, thousands of tiny k-means, by one thread.

    With two threads each of those is several times slower, for the threads wait for each other.
    The lists, one large k-means, keep all threads.
    """
    faiss = faiss_module()
    ivf = faiss.try_extract_index_ivf(index)
    if ivf is None or not hasattr(faiss.downcast_index(ivf), "pq"):
        index.train(vectors)
        return
    inner, turned = faiss.downcast_index(index.index), vectors
    with one_thread():
        if isinstance(inner, faiss.IndexPreTransform):
            for i in range(inner.chain.size()):
                step = faiss.downcast_VectorTransform(inner.chain.at(i))
                step.train(turned)
                turned = step.apply(turned)
    ivf.train_q1(len(turned), faiss.swig_ptr(turned), False, ivf.metric_type)
    with one_thread():
        index.train(vectors)  # what is trained already is left as it is
