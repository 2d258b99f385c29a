"""Inference over many images, with the cores or the accelerator kept busy."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distill.networks.input import InputSpec, normalise

# On a CPU a batch's maps should stay in the cache, 512 images of 32x32 at once take twice as long
# as in slices of 64; and its input of 224x224 in memory that is used again, which the allocator
# returns to the system where it is larger. An accelerator wants to be filled.
CPU_BATCH, CPU_PIXELS, ACCELERATOR_BATCH = 64, 16 * 224 * 224, 512
Result = TypeVar("Result")
Pixels = NDArray[np.uint8]


def map_batches(
    function: Callable[[Tensor], Result],
    pixels: Pixels,
    spec: InputSpec,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> list[Result]:
    """Apply `function`, in inference mode, to pixels (N, S, S, 3) in normalised slices.

    On a CPU every thread of torch's does slices of its own, so `function` is called by several at
    once. The threads of one pass would wait for each other after every layer: where a decoder
    takes a core, all of them would stand still.
    """
    device = torch.device(device)
    if device.type == "cpu":
        fit = CPU_PIXELS // (pixels.shape[1] * pixels.shape[2])
        slices = _slices(pixels, min(CPU_BATCH, max(1, fit)))
        task = partial(_normalised, function=function, spec=spec, dtype=dtype)
        return list(_lanes().map(task, slices))
    with torch.inference_mode():
        return [
            function(normalise(images, spec, device).to(dtype))
            for images in _prefetched(_slices(pixels, ACCELERATOR_BATCH), device)
        ]


def _normalised(
    images: Tensor, function: Callable[[Tensor], Result], spec: InputSpec, dtype: torch.dtype
) -> Result:
    with torch.inference_mode():
        return function(normalise(images, spec).to(dtype))


def _slices(pixels: Pixels, size: int) -> Iterator[Tensor]:
    for start in range(0, len(pixels), size):
        yield torch.from_numpy(pixels[start : start + size])


def _prefetched(slices: Iterator[Tensor], device: torch.device) -> Iterator[Tensor]:
    """Copy the next slice to the accelerator while the one before is computed on."""
    if device.type != "cuda":
        yield from (images.to(device) for images in slices)
        return
    copies = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def start(images: Tensor) -> tuple[Tensor, torch.cuda.Event]:
        with torch.cuda.stream(copies):
            return images.pin_memory().to(device, non_blocking=True), copies.record_event()

    def arrived(images: Tensor, there: torch.cuda.Event) -> Tensor:
        there.wait()
        images.record_stream(torch.cuda.current_stream(device))
        return images

    ahead: tuple[Tensor, torch.cuda.Event] | None = None
    for images in slices:
        now, ahead = ahead, start(images)
        if now is not None:
            yield arrived(*now)
    if ahead is not None:
        yield arrived(*ahead)


_made: list[ThreadPoolExecutor] = []
_making = threading.Lock()


def _lanes() -> ThreadPoolExecutor:
    """One thread for each that torch may use, each of which computes alone."""
    with _making:
        if not _made:
            threads = torch.get_num_threads()
            ready = threading.Barrier(threads + 1)

            def alone() -> None:
                torch.get_num_threads()  # or the thread's first operation would set it again
                torch.set_num_threads(1)
                ready.wait()

            lanes = ThreadPoolExecutor(threads, "inference", alone)
            for _ in range(threads):  # so that all of them are there before the number is set back
                lanes.submit(int)
            ready.wait()
            torch.set_num_threads(threads)  # of this thread, and of all that are to come
            _made.append(lanes)
    return _made[0]
