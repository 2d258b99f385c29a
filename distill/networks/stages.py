"""The stages of a convolutional network: its maps before each loss of resolution, by tracing."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from distill.networks.network import Network
from distill.networks.taps import Call, trace


@dataclass(frozen=True)
class Stage:
    """Path of the module that puts out a stage's last map, and the map's channels and side."""

    path: str
    channels: int
    side: int


def find_stages(module: nn.Module, size: int) -> list[Stage]:
    """Stages from the input on: of each resolution above one pixel the last map.

    What lies inside a block that lowers the resolution, such as the widened map of an inverted
    residual, ends no stage. Traced once, in eval mode, on noise of `size` pixels.

    Raises:
        NetworkError: the module does not run at this size.
    """
    calls = trace(module, size)[1]
    maps = {path: call for path, call in calls.items() if _side(call.output) > 1}
    inner = {path for block in maps for path in _left_behind(block, maps)}
    ends: dict[int, tuple[str, Call]] = {}
    for path, call in sorted(maps.items(), key=lambda item: item[1].finished):
        if path not in inner:
            ends[_side(call.output)] = path, call
    return [_stage(*ends[side]) for side in sorted(ends, reverse=True)]


def run_stages(
    network: Network, stages: list[Stage], images: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """Logits (B, K) of images, and the map (B, C, H, W) of each of these stages."""
    logits, calls = network.read(images, [stage.path for stage in stages])
    maps = [calls[stage.path].output for stage in stages]
    return logits, [found for found in maps if found is not None]


def _left_behind(block: str, maps: dict[str, Call]) -> list[str]:
    """Parts of a block from one resolution to another that still have the first."""
    before, after = _side(maps[block].input), _side(maps[block].output)
    parts = {
        path: _side(call.output) for path, call in maps.items() if path.startswith(f"{block}.")
    }
    if before == after or not set(parts.values()) <= {before, after}:
        return []  # no such block, or a body of several stages
    return [path for path, side in parts.items() if side == before]


def _side(found: Tensor | None) -> int:
    """Side of a square map (B, C, S, S); 0 for anything else."""
    if found is None or found.ndim != 4 or found.shape[2] != found.shape[3]:
        return 0
    return found.shape[3]


def _stage(path: str, call: Call) -> Stage:
    assert call.output is not None
    return Stage(path, call.output.shape[1], call.output.shape[3])
