"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Small inputs gain nothing from many threads, results of float sums may depend on their number, and
# another worker has the next core. Set before anything imports torch or faiss, which read it once;
# child processes inherit it.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
# Threads that spin while they wait take the cores from the processes that they wait for.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

PROJECT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of the real images and teachers; the test is skipped where it is absent."""
    folder = Path(os.environ.get("KDCURATE_DATA", PROJECT / ".." / "shared" / "data")).resolve()
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: set KDCURATE_DATA to the folder that holds it")
    return folder
