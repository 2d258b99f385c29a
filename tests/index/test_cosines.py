"""Cosines of pairs are those of the stored vectors, in slices of any size, and parts are mapped."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from index import cosines
from index.catalog import Catalog
from index.cosines import StoredVectors, pair_cosines
from index.errors import WorkspaceError
from index.parts import list_parts, map_rows, read_part
from index.vectors import unit_norm, vectors_of

from .test_neighbours import DIM, everything, sample, store, truncate


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    catalog = Catalog(tmp_path)
    for seed in range(3):
        store(catalog, *sample(seed, 50))
    return catalog


def test_mapped_rows_are_those_that_are_read(catalog: Catalog) -> None:
    with catalog.read() as connection:
        parts = list_parts(connection, "vectors/e")
    for part in parts:
        mapped = map_rows(catalog.workspace, part)
        assert isinstance(mapped, np.memmap)
        np.testing.assert_array_equal(mapped, read_part(catalog.workspace, part)[1])


def test_a_part_cut_short_is_not_mapped(catalog: Catalog) -> None:
    truncate(catalog.workspace / "vectors/e/part-00001.npz")
    stored = StoredVectors(catalog, "e")
    with pytest.raises(WorkspaceError, match=r"part-00001\.npz is missing or damaged"):
        stored(stored.ids)


def test_few_part_files_are_open_at_once(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("index.cosines._MAPS", 2)
    stored, before = StoredVectors(catalog, "e"), len(os.listdir("/proc/self/fd"))
    ids = np.random.default_rng(0).permutation(everything()[0])
    np.testing.assert_array_equal(stored(ids), vectors_of(catalog, "e", ids))
    assert len(os.listdir("/proc/self/fd")) <= before + 2


def test_vectors_are_looked_up_in_any_order(catalog: Catalog) -> None:
    ids = np.random.default_rng(0).permutation(everything()[0])[:70]
    stored = StoredVectors(catalog, "e")
    np.testing.assert_array_equal(stored(ids), vectors_of(catalog, "e", ids))
    assert len(stored(ids[:0])) == 0
    with pytest.raises(WorkspaceError, match="run the same command again"):
        stored(np.array([5]))


@pytest.mark.parametrize("pairs_a_slice", [1, 7, 10**6])
def test_each_pair_has_the_cosine_of_its_stored_vectors(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch, pairs_a_slice: int
) -> None:
    monkeypatch.setattr(cosines, "_BYTES", pairs_a_slice * 4 * DIM)
    rng = np.random.default_rng(0)
    ids, vectors = everything()
    queries = unit_norm(rng.normal(size=(5, DIM)).astype(np.float32))
    query, image = rng.integers(5, size=40), rng.integers(len(ids), size=40)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    expected = (queries[query] * unit[image]).sum(axis=1)
    for look_up in (StoredVectors(catalog, "e"), partial(vectors_of, catalog, "e")):
        found = pair_cosines(look_up, queries, query, ids[image])
        np.testing.assert_allclose(found, expected, atol=1e-6)
