"""FAISS, imported in one place."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]


def faiss_module() -> Any:
    """Import FAISS in one place: beside torch on macOS two OpenMP runtimes clash."""
    if sys.platform == "darwin":
        os.environ.setdefault("KMP_DUPLICATE_LIB_OK", "TRUE")
    import faiss

    if sys.platform == "darwin":
        faiss.omp_set_num_threads(1)
    return faiss


def kmeans_centres(
    vectors: Vectors, count: int, start: Vectors | None = None, **how: Any
) -> Vectors:
    """Return the centres (count, D) of k-means over all vectors (n, D).

    By one thread, so that sums are always in the same order. `start` are the first centres, and
    `how` what faiss.Kmeans takes: seed, niter, nredo, spherical.
    """
    kmeans = faiss_module().Kmeans(
        vectors.shape[1],
        count,
        min_points_per_centroid=1,
        max_points_per_centroid=len(vectors),
        **how,
    )
    with one_thread():
        kmeans.train(np.ascontiguousarray(vectors), init_centroids=start)
    centres: Vectors = kmeans.centroids
    return centres


def without_reverse_map(index: Any) -> Any:
    """Return an IDMap of what an IDMap2 holds, and another index as it is; copies ids only."""
    faiss = faiss_module()
    if not isinstance(index, faiss.IndexIDMap2):
        return index
    bare = faiss.IndexIDMap(faiss.IndexFlat(index.d, index.metric_type))  # it wants an empty one
    bare.index, bare.ntotal = index.index, index.ntotal
    faiss.copy_array_to_vector(faiss.vector_to_array(index.id_map), bare.id_map)
    bare.referenced_objects.append(index)  # which frees what both hold
    return bare


@contextmanager
def one_thread() -> Iterator[None]:
    """Let FAISS use one thread: the links of a graph depend on the order of its additions."""
    faiss = faiss_module()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
