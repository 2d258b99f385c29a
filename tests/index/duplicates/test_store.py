"""Groups in the catalog, and the union of two relations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from index.catalog import Catalog
from index.duplicates import (
    Groups,
    check_bits,
    check_cosine,
    find_by_embedding,
    find_by_hash,
    merge_groups,
)
from index.errors import UsageError
from index.neighbours import update_index

from ..helpers import rows
from ..test_neighbours import DIM, store
from .test_perceptual import store as store_images

STORED = "SELECT kind, embedder, bound, image_id, group_id FROM duplicates ORDER BY ALL"


def groups(found: dict[int, int]) -> Groups:
    return np.array(list(found), np.int64), np.array(list(found.values()), np.int64)


def merged(*found: dict[int, int]) -> dict[int, int]:
    ids, group = merge_groups(*map(groups, found))
    return dict(zip(ids.tolist(), group.tolist(), strict=True))


def test_groups_that_share_an_image_become_one() -> None:
    by_embedding = {20: 20, 30: 20, 50: 50, 60: 50}
    by_hash = {10: 10, 30: 10, 70: 70, 80: 70}
    expected = {10: 10, 20: 10, 30: 10, 50: 50, 60: 50, 70: 70, 80: 70}
    assert merged(by_embedding, by_hash) == merged(by_hash, by_embedding) == expected


def test_one_relation_or_none_is_left_as_it_is() -> None:
    assert merged({5: 3, 3: 3}) == {3: 3, 5: 3}
    assert merged({}, {}) == merged() == {}


def test_both_kinds_are_stored_with_their_bounds(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path)
    store_images(catalog, [1, 2, 3], [0b1111, 0b0111, 0b0001])
    store(catalog, np.array([1, 2, 3]), np.eye(DIM)[[0, 1, 1]])
    update_index(catalog, "e", DIM)
    for _ in range(2):  # found again, they stand in place of those before
        find_by_embedding(catalog, "e", 0.99)
        find_by_hash(catalog, 1)
        find_by_hash(catalog, 4)
    assert rows(tmp_path, STORED) == [
        ("embedding", "e", 0.99, 2, 2),
        ("embedding", "e", 0.99, 3, 2),
        ("perceptual", None, 1.0, 1, 1),
        ("perceptual", None, 1.0, 2, 1),
        ("perceptual", None, 4.0, 1, 1),
        ("perceptual", None, 4.0, 2, 1),
        ("perceptual", None, 4.0, 3, 1),
    ]


def test_groups_that_are_gone_are_not_kept(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path)
    store_images(catalog, [1, 2], [7, 7])
    find_by_hash(catalog, 4)
    with catalog.write() as connection:
        connection.execute("UPDATE images SET dhash = -dhash WHERE id = 2")
    find_by_hash(catalog, 4)
    assert rows(tmp_path, STORED) == []


def test_bounds_without_sense_are_refused_by_name() -> None:
    for bits in (-1, 9):
        with pytest.raises(UsageError, match=f"--bits is {bits}: 0 to 8 of the 64 bits"):
            check_bits(bits, "--bits")
    for cosine in (0.0, 1.01, float("nan")):
        with pytest.raises(UsageError, match=f"--cosine is {cosine}: a cosine above 0"):
            check_cosine(cosine, "--cosine")
