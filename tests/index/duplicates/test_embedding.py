"""Near-duplicate groups equal those of every pair compared in float64."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from index.catalog import Catalog
from index.choice import IndexSettings
from index.duplicates import near_duplicate_groups
from index.neighbours import update_index

from ..test_build import Told
from ..test_neighbours import DIM, store
from .test_unions import components


def brute_force(
    ids: NDArray[np.int64], vectors: NDArray[np.float64], cosine: float
) -> dict[int, int]:
    order = np.argsort(ids)
    unit = vectors[order] / np.linalg.norm(vectors[order], axis=1, keepdims=True)
    pairs = np.argwhere(np.triu(unit @ unit.T >= cosine, 1))
    group = components(len(ids), [(int(a), int(b)) for a, b in pairs])
    named = ids[order]
    return {int(named[i]): int(named[g]) for i, g in enumerate(group) if group.count(g) > 1}


def clusters(seed: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Sixty centres with one to eight images close to each."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(60, DIM))
    vectors = np.repeat(centres, rng.integers(1, 9, size=60), axis=0)
    vectors = (vectors + rng.normal(scale=0.03, size=vectors.shape)).astype(np.float16)
    shuffled = rng.permutation(vectors.astype(np.float64))
    return rng.choice(2**62, len(shuffled), replace=False).astype(np.int64), shuffled


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("cosine", [0.97, 0.995])
def test_groups_equal_brute_force(tmp_path: Path, seed: int, cosine: float) -> None:
    ids, vectors = clusters(seed)
    catalog = Catalog(tmp_path)
    for part in np.array_split(np.arange(len(ids)), 3):
        store(catalog, ids[part], vectors[part])
    update_index(catalog, "e", DIM)
    found, groups = near_duplicate_groups(catalog, "e", cosine)
    expected = brute_force(ids, vectors, cosine)
    assert len(set(expected.values())) > 10
    assert dict(zip(found.tolist(), groups.tolist(), strict=True)) == expected


def test_many_copies_of_one_vector_are_one_group(tmp_path: Path) -> None:
    ids = np.arange(100, 300, dtype=np.int64)
    catalog = Catalog(tmp_path)
    store(catalog, ids, np.tile(np.arange(DIM), (200, 1)).astype(np.float64))
    update_index(catalog, "e", DIM)
    found, groups = near_duplicate_groups(catalog, "e", 0.999)
    assert found.tolist() == ids.tolist()
    assert set(groups.tolist()) == {100}


def test_far_images_are_in_no_group(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path)
    store(catalog, np.arange(DIM, dtype=np.int64), np.eye(DIM))
    update_index(catalog, "e", DIM)
    found, groups = near_duplicate_groups(catalog, "e", 0.5)
    assert (found.tolist(), groups.tolist()) == ([], [])


def test_an_index_that_is_not_exact_is_told(tmp_path: Path) -> None:
    catalog, told = Catalog(tmp_path), Told()
    store(catalog, *clusters(0))
    update_index(catalog, "e", DIM)
    exact = near_duplicate_groups(catalog, "e", 0.97, told)
    assert told.said == []
    update_index(catalog, "e", DIM, settings=IndexSettings("SQ8"))
    found = near_duplicate_groups(catalog, "e", 0.97, told)
    (said,) = told.said
    assert "as IDMap,SQ8 sees them (recall@10 " in said and "--index Flat" in said
    assert len(np.setxor1d(found[0], exact[0])) < 0.1 * len(exact[0])
