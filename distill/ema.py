"""The moving average of a student, which is deployed in its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Ema:
    """Averages of a module's parameters and buffers; whole numbers are taken as they are.

    a <- d a + (1 - d) w with d = min(decay, (1 + n) / (10 + n)) after n steps, so that the
    weights it began with are soon forgotten (as in TensorFlow's ExponentialMovingAverage).
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._decay = decay
        self.weights = snapshot(module)

    @torch.no_grad()
    def update(self, module: nn.Module, steps: int) -> None:
        """Move towards the module as it is after so many steps."""
        share = 1 - min(self._decay, (1 + steps) / (10 + steps))
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                self.weights[name].lerp_(value, share)
            else:
                self.weights[name].copy_(value)

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Go on from stored averages."""
        for name, value in weights.items():
            self.weights[name].copy_(value)


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    """Copy a module's parameters and buffers, by name."""
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


@contextmanager
def holding(module: nn.Module, weights: Mapping[str, Tensor] | None) -> Iterator[None]:
    """Let a module have other weights while the context is open; None leaves it as it is."""
    if weights is None:
        yield
        return
    kept = snapshot(module)
    module.load_state_dict(dict(weights))
    try:
        yield
    finally:
        module.load_state_dict(kept)
