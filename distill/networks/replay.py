"""A frozen network's passes on CUDA as one launch each: CUDA graphs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from distill.networks.taps import Call

Pass = Callable[[Tensor, Sequence[str]], tuple[Tensor, dict[str, Call]]]

# cuDNN and the allocator settle in the first passes. Every recording holds the maps of its pass.
_WARM_UPS, _MOST = 3, 8


@dataclass(frozen=True)
class _Recording:
    """A graph with the memory that it reads its images from and leaves its results in."""

    graph: torch.cuda.CUDAGraph
    images: Tensor
    logits: Tensor
    calls: dict[str, Call]


class Replay:
    """Records each kind of pass (shape, precision, modules that are read) once, then replays it.

    A small network on a GPU is limited by launching its some hundred kernels one by one; a
    recording is launched as one. It computes the same, from the weights as they are at the time,
    where they are at the time of the recording. Without gradients only, and of a network whose
    mode and whose weights' places do not change any more.

    Args:
        run: computes the logits (B, K) of images (B, 3, S, S), and the calls of the modules at
            the paths that are given.
    """

    def __init__(self, run: Pass) -> None:
        self._run = run
        self._recordings: dict[tuple[Any, ...], _Recording | None] = {}

    def __call__(self, images: Tensor, paths: Sequence[str]) -> tuple[Tensor, dict[str, Call]]:
        """Do what `run` does; the results are the caller's, later passes leave them alone."""
        kind = _kind(images, paths)
        if kind not in self._recordings:
            full = len(self._recordings) == _MOST
            self._recordings[kind] = None if full else _record(self._run, images, paths)
        recording = self._recordings[kind]
        if recording is None:
            return self._run(images, paths)
        recording.images.copy_(images)
        recording.graph.replay()
        calls = {path: _copy(call) for path, call in recording.calls.items()}
        return recording.logits.clone(), calls


def _kind(images: Tensor, paths: Sequence[str]) -> tuple[Any, ...]:
    autocast = torch.is_autocast_enabled("cuda") and torch.get_autocast_dtype("cuda")
    mode = torch.is_inference_mode_enabled()  # whose tensors are of no use outside it
    return (*images.shape, *images.stride(), images.dtype, autocast, mode, *paths)


def _record(run: Pass, images: Tensor, paths: Sequence[str]) -> _Recording | None:
    """Record a pass; None of a network that asks the GPU for a value on its way."""
    images = images.clone()
    beside = torch.cuda.Stream(images.device)  # type: ignore[no-untyped-call]
    beside.wait_stream(torch.cuda.current_stream(images.device))
    with torch.cuda.stream(beside):
        for _ in range(_WARM_UPS):
            run(images, paths)
    torch.cuda.current_stream(images.device).wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    try:
        # Other threads may go on allocating: they do not disturb what this one records.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            logits, calls = run(images, paths)
    except RuntimeError:  # the passes before went well, so it is the recording that fails
        return None
    return _Recording(graph, images, logits, calls)


def _copy(call: Call) -> Call:
    return replace(call, input=_cloned(call.input), output=_cloned(call.output))


def _cloned(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.clone()
