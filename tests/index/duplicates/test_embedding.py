"""Near-duplicate groups equal those of every pair compared in float64."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from index.catalog import Catalog
from index.choice import IndexSettings
from index.duplicates import near_duplicate_groups
from index.errors import WorkspaceError
from index.neighbours import update_index

from ..test_build import Told
from ..test_neighbours import DIM, store
from .test_unions import components

WIDE = 32


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
    assert "neighbours that IDMap,SQ8 finds (recall@10 " in said and "--index Flat" in said
    for one, other in zip(found, exact, strict=True):
        np.testing.assert_array_equal(one, other)


def copied(seed: int) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Images, their vectors, and for the last 300 the ids that they are copies of.

    A third of the others come in pairs about .999 apart, on either side of it.
    """
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(1500, WIDE))
    vectors[:500] = vectors[500:1000] + rng.normal(scale=0.045, size=(500, WIDE))
    vectors = np.concatenate([vectors, vectors[-300:]]).astype(np.float16).astype(np.float64)
    ids = rng.choice(2**62, len(vectors), replace=False).astype(np.int64)
    return ids, vectors, ids[1200:1500]


@pytest.mark.parametrize("factory", ["IVF8,SQ8", "IVF8,PQ8x4", "IVF8,SQ4"])
def test_what_an_index_rounds_joins_none_and_misses_no_copy(tmp_path: Path, factory: str) -> None:
    ids, vectors, originals = copied(0)
    catalog = Catalog(tmp_path)
    for part in np.array_split(np.random.default_rng(1).permutation(len(ids)), 3):
        store(catalog, ids[part], vectors[part])
    update_index(catalog, "e", WIDE, settings=IndexSettings(factory))
    found, groups = near_duplicate_groups(catalog, "e", 0.999)
    named = dict(zip(found.tolist(), groups.tolist(), strict=True))
    true = brute_force(ids, vectors, 0.999)
    assert 400 < len(set(true.values())) < 750  # of the pairs about the bound, some are beyond it
    for key, group in named.items():
        assert true.get(key) == true.get(group) is not None
    for copy, original in zip(ids[1500:].tolist(), originals.tolist(), strict=True):
        assert named.get(copy) == named.get(original) is not None
    assert len(named) > (0.9 if factory == "IVF8,SQ8" else 0.6) * len(true)


def test_an_image_that_left_meanwhile_is_said(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path)
    store(catalog, *clusters(0))
    update_index(catalog, "e", DIM)
    with catalog.write() as connection:
        connection.execute('UPDATE vectors SET image_id = 5 WHERE "row" = 0')
    with pytest.raises(WorkspaceError, match="run the same command again"):
        near_duplicate_groups(catalog, "e", 0.97)
