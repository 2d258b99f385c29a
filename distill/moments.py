"""BatchNorm moments: how far an image is from what a network was trained on, without that data."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Generic, NamedTuple, Self, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from distill.networks.network import Network
from index.errors import NetworkError

Measured = TypeVar("Measured")


class BatchNormTaps(Generic[Measured]):
    """While open, measures the moments of every BatchNorm layer's input.

        with BatchNormTaps(network, measure) as taps:
            logits = network(images)
            measured = taps.latest()  # measure(moments, layer), one a layer

    Args:
        network: in eval mode; a layer that is used several times in a pass counts by its last use.
            Several threads may use it at once: each is told of its own passes.
        measure: what is kept of a layer's moments.
        moments: ``spatial_moments`` of each image, (B, C), or ``batch_moments`` of all of them,
            (1, C). The latter keep their gradient where the pass has one.

    Raises:
        NetworkError: the network has no BatchNorm2d layer with running statistics.
    """

    def __init__(
        self,
        network: Network,
        measure: Callable[[Moments, nn.BatchNorm2d], Measured],
        moments: Callable[[Tensor], Moments] | None = None,
    ) -> None:
        self.layers = [
            layer
            for layer in network.modules()
            if isinstance(layer, nn.BatchNorm2d) and layer.track_running_stats
        ]
        if not self.layers:
            raise NetworkError(
                f"{network.card.architecture} has no BatchNorm layer with running statistics"
            )
        self._measure = measure
        self._moments = moments or spatial_moments
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

    def latest(self) -> list[Measured]:
        """Return what was measured in the latest forward pass of this thread, one a layer."""
        found: dict[nn.Module, Measured] = self._passes.measured
        return [found.pop(layer) for layer in self.layers]

    def _record(self, layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        assert isinstance(layer, nn.BatchNorm2d)
        found: dict[nn.Module, Measured] = vars(self._passes).setdefault("measured", {})
        found[layer] = self._measure(self._moments(inputs[0]), layer)


class MomentTaps(BatchNormTaps[tuple[Tensor, Tensor]]):
    """Taps that compare each image's moments with the layers' running statistics.

    with MomentTaps(network) as taps:
        logits = network(images)
        shifts = taps.shifts()  # {"bn_shift": (B, L), "bn_kl": (B, L)}
    """

    def __init__(self, network: Network) -> None:
        super().__init__(
            network, lambda found, layer: (bn_shift(found, layer), bn_kl(found, layer))
        )

    def shifts(self) -> dict[str, Tensor]:
        """Raw ``bn_shift`` and ``bn_kl`` of the latest forward pass, (B, L): a column a layer."""
        shift, divergence = zip(*self.latest(), strict=True)
        return {"bn_shift": torch.stack(shift, dim=1), "bn_kl": torch.stack(divergence, dim=1)}


class Moments(NamedTuple):
    """Mean and variance over the pixels of each map, (B, C) each; of a whole batch (1, C)."""

    mean: Tensor
    variance: Tensor


def bn_shift(moments: Moments, layer: nn.BatchNorm2d) -> Tensor:
    """Mean over channels of |mu - mu^| / sigma^ + |log(sigma / sigma^)|, one value an image: (B,).

    mu and sigma are the moments of an image's maps at a BatchNorm's input, mu^ and sigma^ the
    layer's running ones. The layer's epsilon is added to both variances, so that a flat image or
    a dead channel gives a finite value.
    """
    centre, ratio = _standardised(moments, layer)
    return (centre.abs() + 0.5 * ratio.log().abs()).mean(1)


def bn_kl(moments: Moments, layer: nn.BatchNorm2d) -> Tensor:
    """Mean over channels of KL(N(mu, sigma^2) || N(mu^, sigma^^2)) in nats, one an image: (B,).

    That is ((mu - mu^)^2 + sigma^2) / (2 sigma^^2) - 1/2 - log(sigma / sigma^), of the same moments
    as ``bn_shift``.
    """
    centre, ratio = _standardised(moments, layer)
    return 0.5 * (centre.square() + ratio - 1 - ratio.log()).mean(1)


def bn_distance(moments: Moments, layer: nn.BatchNorm2d) -> Tensor:
    """||mu - mu^||_2 + ||sigma^2 - sigma^^2||_2 of the moments of a batch (1, C): a scalar.

    One layer's share of DeepInversion's feature distribution loss (Yin et al., CVPR 2020).
    """
    assert layer.running_mean is not None and layer.running_var is not None
    mean, variance = (found.flatten() for found in moments)
    gaps = (mean - layer.running_mean).norm(), (variance - layer.running_var).norm()
    return torch.stack(gaps).sum()


def _standardised(moments: Moments, layer: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """(mu - mu^) / sigma^ and sigma^2 / sigma^^2 of each image and channel: (B, C) each."""
    assert layer.running_mean is not None and layer.running_var is not None
    expected = layer.running_var + layer.eps
    centre = (moments.mean - layer.running_mean) / expected.sqrt()
    return centre, (moments.variance + layer.eps) / expected


def spatial_moments(maps: Tensor) -> Moments:
    """Mean and variance over the pixels of maps (B, C, H, W).

    In two passes: on a CPU torch.var_mean over the pixels of channels_last maps takes some ten
    times as long, more than the network itself.
    """
    maps = maps.float()
    mean = maps.mean((2, 3), keepdim=True)
    return Moments(mean.flatten(1), (maps - mean).square_().mean((2, 3)))


def batch_moments(maps: Tensor) -> Moments:
    """Mean and (biased) variance over images and pixels of maps (B, C, H, W), with gradients."""
    mean, variance = _BatchMoments.apply(maps)
    return Moments(mean[None], variance[None])


class _BatchMoments(torch.autograd.Function):
    """The moments (C,) of maps x, with dL/dx = (dL/dmu + 2 (x - mu) dL/dvar) / N, N = B H W.

    In one pass over x, which the layer itself keeps for its gradient. Recorded step by step, the
    same moments keep two copies of each map and take as long as the network.
    """

    @staticmethod
    def forward(context: Any, maps: Tensor) -> tuple[Tensor, Tensor]:
        wide = maps.float()
        mean = wide.mean((0, 2, 3), keepdim=True)
        context.save_for_backward(maps, mean)
        return mean.flatten(), (wide - mean).square_().mean((0, 2, 3))

    @staticmethod
    @once_differentiable
    def backward(context: Any, of_mean: Tensor, of_variance: Tensor) -> Tensor:
        maps, mean = context.saved_tensors
        count = maps.numel() // maps.shape[1]
        slope = (2 / count * of_variance).view_as(mean)
        found = torch.addcmul(of_mean.view_as(mean) / count - slope * mean, maps, slope)
        return found.to(maps.dtype)
