"""Vectors copied into one file: in the order that was asked for, or not at all."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import duckdb
import numpy as np
import pytest
from numpy.typing import NDArray

from index.catalog import Catalog
from index.errors import WorkspaceError
from index.vectors import copy_vectors, unit_norm, vectors_of

from .test_neighbours import DIM, sample, store


def asked(path: Path, ids: NDArray[np.int64]) -> Path:
    """A Parquet file of the ids and their places, in another order than that of the places."""
    wanted = {"image_id": ids[::-1], "position": np.arange(len(ids))[::-1]}
    with duckdb.connect() as connection:
        connection.register("wanted", wanted)
        connection.execute(f"COPY wanted TO '{path}' (FORMAT parquet)")
    return path


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    catalog = Catalog(tmp_path / "ws")
    for seed in range(3):
        store(catalog, *sample(seed, 50))
    return catalog


def test_they_stand_in_the_order_asked_for(catalog: Catalog, tmp_path: Path) -> None:
    every = np.concatenate([sample(seed, 50)[0] for seed in range(3)])
    ids = np.random.default_rng(0).permutation(every)[:70]
    found = copy_vectors(catalog, "e", asked(tmp_path / "ids.parquet", ids), tmp_path / "v.f16")
    assert (found.dtype, len(found)) == (np.dtype(np.float16), 70)
    assert (tmp_path / "v.f16").stat().st_size == found.nbytes
    vectors = unit_norm(found.astype(np.float32))
    np.testing.assert_allclose(vectors, vectors_of(catalog, "e", ids), atol=1e-6)


def test_parts_that_hold_none_of_them_are_not_read(catalog: Catalog, tmp_path: Path) -> None:
    (catalog.workspace / "vectors" / "e" / "part-00001.npz").unlink()
    ids = sample(2, 50)[0]
    wanted = asked(tmp_path / "ids.parquet", ids)
    assert len(copy_vectors(catalog, "e", wanted, tmp_path / "v.f16")) == 50
    wanted = asked(tmp_path / "more.parquet", np.append(ids, sample(1, 50)[0][:1]))
    with pytest.raises(WorkspaceError, match="part-00001.npz is missing"):
        copy_vectors(catalog, "e", wanted, tmp_path / "v.f16")


def test_an_image_without_a_vector_is_named(catalog: Catalog, tmp_path: Path) -> None:
    ids = np.append(sample(0, 50)[0], [12345])
    wanted = asked(tmp_path / "ids.parquet", ids)
    with pytest.raises(WorkspaceError, match="image 12345 has no vector of e: run build-index"):
        copy_vectors(catalog, "e", wanted, tmp_path / "v.f16")


def test_only_the_rows_that_are_wanted_are_read(tmp_path: Path) -> None:
    catalog, ids = Catalog(tmp_path / "ws"), np.arange(20_000)
    vectors = np.random.default_rng(0).normal(size=(len(ids), 100))
    store(catalog, ids, vectors)
    wanted = np.array([19_999, 3, 12_345, 3])
    tracemalloc.start()
    found = vectors_of(catalog, "e", wanted)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    stored = vectors[wanted].astype(np.float16).astype(np.float32)
    np.testing.assert_allclose(found, unit_norm(stored), atol=1e-6)
    assert peak < vectors.size * 2 / 4  # of the bytes of the part


def test_of_no_images_there_are_no_vectors(catalog: Catalog) -> None:
    assert vectors_of(catalog, "e", np.empty(0, np.int64)).shape == (0, DIM)


def test_a_full_disk_is_said_in_one_line(catalog: Catalog, tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    wanted = asked(tmp_path / "ids.parquet", sample(0, 50)[0])
    (tmp_path / "v.f16").symlink_to(full)
    with pytest.raises(WorkspaceError, match="full"):
        copy_vectors(catalog, "e", wanted, tmp_path / "v.f16")
