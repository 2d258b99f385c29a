"""Groups by hash equal those of every pair of hashes compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from index.catalog import Catalog, insert
from index.duplicates import perceptual_groups
from index.duplicates.perceptual import close_pairs

from ..helpers import build, encode, rows, write_tar
from .test_unions import components

Hashes = NDArray[np.int64]


def crowd(seed: int, centres: int = 60, flips: int = 9) -> Hashes:
    """Hashes within a few bits of some centres, some of them equal, over all 64 bits."""
    rng = np.random.default_rng(seed)
    centre = rng.integers(-(2**63), 2**63, size=centres, dtype=np.int64, endpoint=False)
    hashes = np.repeat(centre, rng.integers(1, 9, size=centres)).view(np.uint64)
    for place in range(len(hashes)):
        for bit in rng.choice(64, rng.integers(flips), replace=False):
            hashes[place] ^= np.uint64(1) << np.uint64(bit)
    return rng.permutation(hashes.view(np.int64))


def distances(hashes: Hashes) -> NDArray[np.int64]:
    bits = np.unpackbits(hashes.view(np.uint8).reshape(-1, 8), axis=1).astype(int)
    return (bits[:, None, :] != bits[None, :, :]).sum(axis=2)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 7, 8])
@pytest.mark.parametrize("small", [0, 10**6])
def test_close_pairs_are_those_of_brute_force(seed: int, bits: int, small: int) -> None:
    hashes = np.unique(crowd(seed))
    near = distances(hashes)
    expected = {(int(a), int(b)) for a, b in np.argwhere(near <= bits) if a > b}
    found = list(close_pairs(hashes, bits, small))
    pairs = {pair for _, a, b in found for pair in zip(a.tolist(), b.tolist(), strict=True)}
    assert pairs == expected
    assert sum(count for count, _, _ in found) == len(hashes)
    assert any(near[pair] == bits for pair in pairs)


@pytest.mark.parametrize("small", [0, 10**6])
def test_in_a_dense_crowd_the_blocks_shrink(small: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("index.duplicates.perceptual._HITS", 5_000)
    hashes = np.arange(2048, dtype=np.int64)  # any two differ in at most 11 bits
    found = list(close_pairs(hashes, 8, small))
    pairs = sum(len(a) for _, a, _ in found)
    assert pairs == int(np.triu(distances(hashes) <= 8, 1).sum())
    assert max(len(a) for _, a, _ in found[4:]) < 50_000 < pairs


def store(catalog: Catalog, ids: list[int], hashes: list[int | None]) -> None:
    facts = {"bytes": 1, "format": "PNG", "width": 1, "height": 1, "mode": "L"}
    columns = {"id": ids, "dhash": hashes, "sha256": [b"x"] * len(ids)}
    with catalog.write() as connection:
        now = np.datetime64("now", "us")
        insert(connection, "images", {**columns, **facts, "added_at": now})


@pytest.mark.parametrize("bits", [0, 1, 4, 8])
def test_groups_equal_brute_force_whatever_the_order_of_insertion(
    tmp_path: Path, bits: int
) -> None:
    hashes = crowd(5)
    ids = np.sort(np.random.default_rng(1).choice(2**62, len(hashes), replace=False))
    pairs = np.argwhere(np.triu(distances(hashes) <= bits, 1))
    group = components(len(ids), [(int(a), int(b)) for a, b in pairs])
    expected = {int(ids[i]): int(ids[g]) for i, g in enumerate(group) if group.count(g) > 1}
    for name, order in (("up", np.arange(len(ids))), ("down", np.arange(len(ids))[::-1])):
        catalog = Catalog(tmp_path / name)
        store(catalog, ids[order].tolist(), hashes[order].tolist())
        found, groups = perceptual_groups(catalog, bits)
        assert dict(zip(found.tolist(), groups.tolist(), strict=True)) == expected
    assert bits == 0 or len(set(expected.values())) > 10


def test_images_without_a_hash_are_in_no_group(tmp_path: Path) -> None:
    store(Catalog(tmp_path), [1, 2, 3, 4], [None, 7, None, 7])
    found, groups = perceptual_groups(Catalog(tmp_path), 8)
    assert (found.tolist(), groups.tolist()) == ([2, 4], [2, 2])


def test_no_images_are_no_groups(tmp_path: Path) -> None:
    store(Catalog(tmp_path), [1], [None])
    assert [len(part) for part in perceptual_groups(Catalog(tmp_path), 4)] == [0, 0]


def test_a_build_hashes_every_image_and_plain_ones_stay_apart(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    photo = np.kron(rng.integers(256, size=(8, 9, 3)), np.ones((6, 6, 1))).astype(np.uint8)
    members = {
        "photo.png": encode(photo),
        "photo.jpg": encode(photo, "JPEG", quality=80),
        "white.png": encode(np.full((20, 20, 3), 255, np.uint8)),
        "grey.png": encode(np.full((20, 20, 3), 128, np.uint8)),
        "black.jpg": encode(np.zeros((30, 20, 3), np.uint8), "JPEG"),
    }
    build(tmp_path / "ws", write_tar(tmp_path / "0.tar", members))
    found, groups = perceptual_groups(Catalog(tmp_path / "ws"), 4)
    names = "SELECT id, uri FROM images JOIN locations ON image_id = id WHERE dhash IS {} NULL"
    hashed = {key: uri for key, uri in rows(tmp_path / "ws", names.format("NOT"))}
    assert sorted(uri.partition("#")[2] for uri in hashed.values()) == ["photo.jpg", "photo.png"]
    assert found.tolist() == sorted(hashed)
    assert set(groups.tolist()) == {min(hashed)}
    assert len(rows(tmp_path / "ws", names.format(""))) == 3
