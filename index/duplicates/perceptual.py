"""Look-alikes by perceptual hash: few bits apart, through FAISS's binary indexes and union-find."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.catalog import Catalog
from index.dhash import BITS
from index.duplicates.unions import Positions, Unions
from index.errors import UsageError
from index.faissing import faiss_module
from index.parts import Ids
from index.progress import Progress, Silent

MOST_BITS = 8
_SMALL = 20_000
_TABLES = 3
_BLOCK = 8192
_HITS = 1 << 20
_ORDER = np.argsort(np.arange(BITS) % _TABLES, kind="stable")


def check_bits(bits: int, option: str) -> None:
    """Refuse a distance at which unlike images would meet.

    Raises:
        UsageError: it is not 0 to 8; the message names the option.
    """
    if not 0 <= bits <= MOST_BITS:
        raise UsageError(f"{option} is {bits}: 0 to {MOST_BITS} of the {BITS} bits of a hash")


def perceptual_groups(
    catalog: Catalog, bits: int, progress: Progress | None = None
) -> tuple[Ids, Ids]:
    """Find the images that share a group with another one by their hash.

    Two images are joined where their hashes differ in at most `bits` of 64; groups are the
    connected parts. Exact. An image without a hash, because it is too plain, is in no group.
    Memory is some 260 bytes an image, never a square matrix.

    Returns:
        ids (n,) of the images in groups of two or more, and their group (n,): its smallest id.
    """
    ids, hashes = _stored(catalog)
    values, first, place = np.unique(hashes, return_index=True, return_inverse=True)
    unions = Unions(len(ids))
    unions.join(np.arange(len(ids)), first[place])
    if bits > 0:
        with (progress or Silent()).step("Perceptual hashes", len(values), "hashes") as advance:
            for count, a, b in close_pairs(values, bits):
                unions.join(first[a], first[b])
                advance(count)
    return unions.groups(ids)


def close_pairs(
    hashes: NDArray[np.int64], bits: int, small: int = _SMALL
) -> Iterator[tuple[int, Positions, Positions]]:
    """Find every pair of hashes that differ in at most `bits` of 64.

    Each block of hashes is added to the index and then looked up in it, so it meets itself and
    what came before. A block shrinks where much is found: memory stays bounded in a dense crowd.

    Args:
        hashes: (n,) different hashes.
        bits: how many bits two may differ in, 1 to 8.
        small: up to so many hashes are compared with all others.

    Yields:
        how many hashes were looked up, and pairs of positions a (m,), b (m,) with a > b.
    """
    index = faiss_module().IndexBinaryFlat(BITS) if len(hashes) <= small else _multi_hash(bits)
    start, size = 0, _BLOCK // 16
    while start < len(hashes):
        codes = _codes(hashes[start : start + size])
        index.add(codes)
        limits, _, found = index.range_search(codes, bits + 1)  # FAISS: less than the radius
        ours = np.repeat(np.arange(start, start + len(codes)), np.diff(limits.astype(np.int64)))
        earlier = found < ours
        yield len(codes), ours[earlier], found[earlier]
        start += len(codes)
        size = int(np.clip(size * _HITS // max(1, len(found)), 1, min(2 * size, _BLOCK)))


def _multi_hash(bits: int) -> Any:
    """Three tables over 21 bits each: where `bits` differ, in one of them at most a third do.

    So flipping up to a third in each key finds every pair, with few candidates beside them.
    """
    index = faiss_module().IndexBinaryMultiHash(BITS, _TABLES, BITS // _TABLES)
    index.nflip = bits // _TABLES
    return index


def _codes(hashes: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Lay hashes (n,) out as FAISS reads them, (n, 8).

    Neighbouring bits of a difference hash tend to agree, so each table takes its bits from all
    over the image: else many images would share its keys.
    """
    octets = hashes.astype("<i8").view(np.uint8).reshape(-1, BITS // 8)
    bits = np.unpackbits(octets, axis=1, bitorder="little")
    return np.packbits(bits[:, _ORDER], axis=1, bitorder="little")


def _stored(catalog: Catalog) -> tuple[Ids, NDArray[np.int64]]:
    with catalog.read() as connection:
        found = connection.execute(
            "SELECT id, dhash FROM images WHERE dhash IS NOT NULL ORDER BY id"
        ).fetchnumpy()
    return np.asarray(found["id"], np.int64), np.asarray(found["dhash"], np.int64)
