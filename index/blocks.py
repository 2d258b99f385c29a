"""Large arrays on their way from a worker to its parent: in memory that both see, not in a pipe.

A pipe of the operating system holds 64 KB: 40 MB of pixels would be pickled, written, read, put
together, and unpickled, which takes as long as a fifth of their decoding. Here they are copied
once. The memory is an anonymous file of Linux, for which no size is set as it is for /dev/shm; on
other systems everything takes the pipe.
"""

from __future__ import annotations

import mmap
import os
import pickle
import weakref
from collections import deque
from dataclasses import dataclass
from multiprocessing import reduction
from typing import Any

import numpy as np

_STRIDE = 1 << 33  # of addresses from one block to the next; no memory is taken before it is used
_KEPT = 64 << 20  # of a block's memory until its next use: what most slices of images take
_LEAST = 64 << 10  # a smaller buffer is not worth its way
_ALIGNED = 64


@dataclass(frozen=True)
class Shipped:
    """A pickled value, and the lengths of those of its buffers that lie in a block."""

    pickled: bytes
    lengths: tuple[int, ...] = ()


class Blocks:
    """Blocks of memory, each of which carries the buffers of one value to this process.

    To be handed to workers when they start, and to be `attach`ed there.
    """

    def __init__(self, count: int) -> None:
        """Make so many blocks, which take no memory yet."""
        self._free: deque[int] = deque()
        self._file = -1
        if hasattr(os, "memfd_create"):
            self._file = os.memfd_create("kdcurate")
            weakref.finalize(self, os.close, self._file)
            os.truncate(self._file, count * _STRIDE)
            self._free.extend(range(count))

    def __reduce__(self) -> Any:
        """In a worker that is being started, be the same memory."""
        return _Attached, (reduction.DupFd(self._file) if self._file >= 0 else None,)

    def borrow(self) -> int | None:
        """Take a block that is free; None where none is: the value takes the pipe."""
        return self._free.popleft() if self._free else None

    def unpack(self, shipped: Shipped, block: int | None) -> Any:
        """Return the value that a worker shipped; its block is free when its arrays are gone."""
        if block is None or not shipped.lengths:
            if block is not None:
                self._free.append(block)
            return pickle.loads(shipped.pickled)
        places = list(_places(shipped.lengths))
        memory = mmap.mmap(self._file, places[-1].stop, offset=block * _STRIDE)
        whole = np.frombuffer(memory, np.uint8)  # every array in it refers to this one
        weakref.finalize(whole, _give_back, self._free, block, memory).atexit = False
        return pickle.loads(shipped.pickled, buffers=[whole[place] for place in places])


class _Attached:
    """The blocks of the parent process, as a worker has them."""

    def __init__(self, file: Any) -> None:
        self._file = -1 if file is None else file.detach()

    def ship(self, value: object, block: int | None) -> Shipped:
        large: list[memoryview] = []

        def is_small(buffer: pickle.PickleBuffer) -> bool:
            with memoryview(buffer) as whole:
                if block is None or whole.nbytes < _LEAST or not whole.c_contiguous:
                    return True
            large.append(buffer.raw())
            return False

        pickled = pickle.dumps(value, protocol=5, buffer_callback=is_small)
        if not large or block is None:
            return Shipped(pickled)
        lengths = tuple(buffer.nbytes for buffer in large)
        places = list(_places(lengths))
        if places[-1].stop > _STRIDE:
            return Shipped(pickle.dumps(value, protocol=5))
        for place, buffer in zip(places, large, strict=True):
            _write(self._file, buffer, block * _STRIDE + place.start)
        return Shipped(pickled, lengths)


_attached: list[_Attached] = []  # of a worker process: what it was started with


def attach(blocks: Any) -> None:
    """Keep what stands for the parent's blocks in this worker, for all it is to do."""
    _attached[:] = [blocks]


def ship(value: object, block: int | None) -> Shipped:
    """Pickle a value in a worker, its large buffers into a block that the parent borrowed."""
    return _attached[0].ship(value, block)


def _places(lengths: tuple[int, ...]) -> Any:
    start = 0
    for length in lengths:
        yield slice(start, start + length)
        start += -(-length // _ALIGNED) * _ALIGNED


def _write(file: int, buffer: memoryview, position: int) -> None:
    while len(buffer):  # Linux writes 2 GB at once
        written = os.pwrite(file, buffer, position)
        buffer, position = buffer[written:], position + written


def _give_back(free: deque[int], block: int, memory: mmap.mmap) -> None:
    try:
        if len(memory) > _KEPT:
            memory.madvise(mmap.MADV_REMOVE, _KEPT, len(memory) - _KEPT)
    except OSError:
        pass  # a kernel that cannot: the block keeps its memory
    finally:
        free.append(block)
