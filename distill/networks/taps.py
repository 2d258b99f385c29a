"""Where a classifier's penultimate vector and last feature map can be read, found by tracing."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from index.errors import NetworkError


@dataclass(frozen=True)
class Taps:
    """Paths of the final linear layer and of the module whose map is pooled into its input.

    ``map_shape`` is (C, H, W) of that map at the traced size; it and ``features`` are None where
    no map's spatial mean is the penultimate vector, as in vision transformers.
    """

    classifier: str
    features: str | None
    map_shape: tuple[int, int, int] | None


@dataclass
class Call:
    """First input and the output of a module's latest call; None before it is called.

    ``finished`` counts the calls that ended up to then, among the modules that are watched.
    """

    input: Tensor | None = None
    output: Tensor | None = None
    finished: int = 0


@contextmanager
def watch(module: nn.Module, paths: Iterable[str]) -> Iterator[dict[str, Call]]:
    """Record the latest call of the submodules at these paths while the context is open.

    Only the calls of this thread: others may use the same module meanwhile.
    """
    calls = {path: Call() for path in paths}
    count = itertools.count(1)
    handles = [_record(module.get_submodule(path), call, count) for path, call in calls.items()]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def find_taps(module: nn.Module, size: int) -> Taps:
    """Trace a classifier once, in eval mode, on noise of the given size in pixels.

    Raises:
        NetworkError: it does not run at this size, its logits are not finite, or no linear layer
            puts them out.
    """
    logits, calls = trace(module, size)
    if not logits.isfinite().all():
        raise NetworkError(
            "its logits are not finite: its weights are damaged, or its training diverged (lower "
            "--lr)"
        )
    for path, layer in module.named_modules():
        call = calls.get(path)
        if isinstance(layer, nn.Linear) and call and _same(call.output, logits):
            assert call.input is not None
            return _with_features(path, _pooled_into(call.input, calls), calls)
    raise NetworkError("its logits do not come from a final linear layer: use another network")


def trace(module: nn.Module, size: int) -> tuple[Tensor, dict[str, Call]]:
    """Run a classifier once, in eval mode, on noise of `size` pixels; return logits and all calls.

    Raises:
        NetworkError: it does not run at this size, takes grey images, or does not put out logits.
    """
    device = next(module.parameters()).device
    noise = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0)).to(device)
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        with watch(module, [path for path, _ in module.named_modules()]) as calls, torch.no_grad():
            logits = module(noise)
    except (RuntimeError, AssertionError, ValueError) as error:
        if _runs(module, noise[:, :1]):
            raise NetworkError(
                "takes grey images, of one channel, and images of a crawl have three: wrap it in a "
                "network that averages them, or use another"
            ) from error
        reason = str(error).partition("\n")[0]
        raise NetworkError(f"does not run on images of {size} pixels ({reason})") from error
    finally:
        for part, training in modes.items():
            part.training = training
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        raise NetworkError("does not put out logits (B, K): it is no image classifier")
    return logits, calls


@torch.no_grad()
def _runs(module: nn.Module, images: Tensor) -> bool:
    try:
        module(images)
    except (RuntimeError, AssertionError, ValueError):
        return False
    return True


def _record(
    module: nn.Module, call: Call, count: Iterator[int]
) -> torch.utils.hooks.RemovableHandle:
    owner = threading.get_ident()

    def hook(_: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        if threading.get_ident() != owner:
            return
        call.input = inputs[0] if inputs and isinstance(inputs[0], Tensor) else None
        call.output = output if isinstance(output, Tensor) else None
        call.finished = next(count)

    return module.register_forward_hook(hook)


def _pooled_into(penultimate: Tensor, calls: dict[str, Call]) -> str | None:
    """Path of the largest map whose spatial mean is the penultimate vector.

    The largest, because the output of the pooling layer itself is such a map too, of one pixel.
    """
    maps = {
        path: call.output.shape[-1]
        for path, call in calls.items()
        if call.output is not None
        and call.output.ndim == 4
        and _same(call.output.mean((2, 3)), penultimate)
    }
    return max(maps, key=lambda path: maps[path], default=None)


def _with_features(classifier: str, features: str | None, calls: dict[str, Call]) -> Taps:
    found = calls[features].output if features is not None else None
    if found is None:
        return Taps(classifier, None, None)
    _, channels, height, width = found.shape
    return Taps(classifier, features, (channels, height, width))


def _same(found: Tensor | None, expected: Tensor) -> bool:
    return (
        found is not None
        and found.shape == expected.shape
        and torch.allclose(found, expected, rtol=1e-4, atol=1e-5)
    )
