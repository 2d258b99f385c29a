"""FAISS, imported in one place."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def faiss_module() -> Any:
    """Import FAISS in one place: beside torch on macOS two OpenMP runtimes clash."""
    if sys.platform == "darwin":
        os.environ.setdefault("KMP_DUPLICATE_LIB_OK", "TRUE")
    import faiss

    if sys.platform == "darwin":
        faiss.omp_set_num_threads(1)
    return faiss


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
