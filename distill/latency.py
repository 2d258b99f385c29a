"""How long a network takes for one image on a CPU."""

from __future__ import annotations

import copy
import time

import torch
from torch import nn

LEAST, MOST, BUDGET_S = 5, 100, 1.0


def cpu_latency_ms(module: nn.Module, size: int, *, budget_s: float = BUDGET_S) -> float:
    """Return the least time in ms of a forward pass of one image of size x size pixels.

    In float32, eval mode and on one core, whatever the machine has: what a small device does. Other
    work on the machine can only lengthen a pass, so the shortest says most of the network. Between
    5 and 100 passes after one that is not counted, for about `budget_s` seconds.
    """
    alone = copy.deepcopy(module).cpu().float().eval()
    image = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            alone(image)
            return 1000 * min(_times(alone, image, budget_s))
    finally:
        torch.set_num_threads(threads)


def _times(module: nn.Module, image: torch.Tensor, budget_s: float) -> list[float]:
    times: list[float] = []
    ends = time.monotonic() + budget_s
    while len(times) < LEAST or (len(times) < MOST and time.monotonic() < ends):
        began = time.perf_counter()
        module(image)
        times.append(time.perf_counter() - began)
    return times
