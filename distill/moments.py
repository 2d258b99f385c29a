"""BatchNorm moments: how far an image is from what a network was trained on, without that data."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn

from distill.networks.network import Network
from index.errors import NetworkError


class MomentTaps:
    """While open, compares the input of every BatchNorm layer with its running statistics.

        with MomentTaps(network) as taps:
            logits = network(images)
            shifts = taps.shift()  # (B, L)

    Args:
        network: in eval mode; a layer that is used several times in a pass counts by its last use.
            Several threads may use it at once: each is told of its own passes.

    Raises:
        NetworkError: the network has no BatchNorm2d layer with running statistics.
    """

    def __init__(self, network: Network) -> None:
        self.layers = [
            layer
            for layer in network.modules()
            if isinstance(layer, nn.BatchNorm2d) and layer.track_running_stats
        ]
        if not self.layers:
            raise NetworkError(
                f"{network.card.architecture} has no BatchNorm layer, which bn_shift needs"
            )
        self._passes = threading.local()
        self._handles: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> Self:
        self._handles = [layer.register_forward_pre_hook(self._record) for layer in self.layers]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._passes = threading.local()

    def shift(self) -> Tensor:
        """Raw shifts (B, L) of the latest forward pass, one column a layer; see ``bn_shift``."""
        shifts: dict[nn.Module, Tensor] = self._passes.shifts
        return torch.stack([shifts.pop(layer) for layer in self.layers], dim=1)

    def _record(self, layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        assert isinstance(layer, nn.BatchNorm2d)
        shifts: dict[nn.Module, Tensor] = vars(self._passes).setdefault("shifts", {})
        shifts[layer] = bn_shift(inputs[0], layer)


def bn_shift(maps: Tensor, layer: nn.BatchNorm2d) -> Tensor:
    """Mean over channels of |mu - mu^| / sigma^ + |log(sigma / sigma^)|, one value an image: (B,).

    mu and sigma are an image's moments over the pixels of a BatchNorm's input (B, C, H, W), mu^
    and sigma^ the layer's running ones. The layer's epsilon is added to both variances, so that a
    flat image or a dead channel gives a finite value.
    """
    assert layer.running_mean is not None and layer.running_var is not None
    mean, variance = _spatial_moments(maps.float())
    expected = (layer.running_var + layer.eps).sqrt()
    centre = (mean - layer.running_mean).abs() / expected
    spread = ((variance + layer.eps).sqrt() / expected).log().abs()
    return (centre + spread).mean(1)


def _spatial_moments(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance over the pixels: (B, C) each.

    In two passes: on a CPU torch.var_mean over the pixels of channels_last maps takes some ten
    times as long, more than the network itself.
    """
    mean = maps.mean((2, 3), keepdim=True)
    return mean.flatten(1), (maps - mean).square_().mean((2, 3))
