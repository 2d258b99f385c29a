"""What workers ship through shared memory is what they were given, and stays until it is gone."""

from __future__ import annotations

import gc
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from index import blocks
from index.blocks import Blocks
from index.workers import Pool, ordered_map

from .helpers import ramp, ramps

linux = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="there is no memfd here")
Arrays = NDArray[np.int64]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[Blocks]:
    """Two blocks, of which this process is the worker as well."""
    made = Blocks(2)

    class Fd:
        def detach(self) -> int:
            return made._file

    monkeypatch.setattr(blocks, "_attached", [blocks._Attached(Fd())])
    yield made


def test_arrays_come_as_they_were(here: Blocks) -> None:
    value = {"a": np.arange(50_000), "b": [np.arange(20_000.0)[::-1], "text"], "c": np.arange(3)}
    block = here.borrow()
    found = here.unpack(blocks.ship(value, block), block)
    assert np.array_equal(found["a"], value["a"])
    assert np.array_equal(found["b"][0], np.arange(20_000.0)[::-1])
    assert (found["b"][1], found["c"].tolist()) == ("text", [0, 1, 2])
    found["a"][0] = 7  # torch warns of memory that cannot be written


@linux
def test_a_block_is_lent_again_only_when_nothing_refers_to_it(here: Blocks) -> None:
    first, second = here.borrow(), here.borrow()
    assert (first, second, here.borrow()) == (0, 1, None)
    shipped = blocks.ship(np.arange(100_000), first)
    assert len(shipped.pickled) < 1000
    part = here.unpack(shipped, first)[10:20].reshape(2, 5)
    gc.collect()
    assert here.borrow() is None
    assert part.tolist() == [[10, 11, 12, 13, 14], [15, 16, 17, 18, 19]]
    del part
    gc.collect()
    assert here.borrow() == first
    assert here.unpack(blocks.ship("small", first), first) == "small"
    assert here.borrow() == first  # nothing lay in it


@linux
def test_a_block_keeps_little_of_what_a_large_value_took(
    here: Blocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "_KEPT", mmap.PAGESIZE * 16)
    block = here.borrow()
    found = here.unpack(blocks.ship(np.ones(1_000_000), block), block)
    assert os.fstat(here._file).st_blocks * 512 >= 8_000_000
    assert found.sum() == 1_000_000
    del found
    gc.collect()
    assert os.fstat(here._file).st_blocks * 512 <= mmap.PAGESIZE * 16


@linux
def test_a_value_too_large_for_a_block_takes_the_pipe(
    here: Blocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "_STRIDE", 1 << 20)
    block = here.borrow()
    shipped = blocks.ship(np.ones(1_000_000), block)
    assert shipped.lengths == ()
    assert here.unpack(shipped, block).sum() == 1_000_000
    assert here.borrow() == 1
    assert here.borrow() == block


@pytest.mark.parametrize("memory", [True, False])
def test_whoever_keeps_all_results_has_all_of_them(
    memory: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not memory:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    kept = list(ordered_map(ramp, range(20), 1))
    for number, found in enumerate(kept):
        assert np.array_equal(found, ramp(number))


@linux
def test_pixels_take_no_pipe() -> None:
    pool: Pool[int, tuple[Arrays, Arrays]] = Pool(ramps, 1, None)
    try:
        underway = pool.submit(5)
        assert len(underway.future.result().pickled) < 2000
        first, second = pool.result(underway)
        assert np.array_equal(first, ramp(5))
        assert np.array_equal(second, ramp(6))
    finally:
        pool.close()


@linux
def test_no_file_stays_open() -> None:
    def files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    gc.collect()  # what earlier tests left
    before = files()
    made = Blocks(3)
    assert files() == before + 1
    del made
    gc.collect()
    assert files() == before
