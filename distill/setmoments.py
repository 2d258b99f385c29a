"""BatchNorm moments of a set of images: how far all of them together are from the training data."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from distill.moments import BatchNormTaps, Moments, bn_shift
from distill.networks.inference import Pixels, map_batches
from distill.networks.network import Network

_Sums = list[tuple[Tensor, Tensor]]


class SetMoments:
    """Measures sets of images by their moments at the input of every BatchNorm layer.

    Args:
        network: in eval mode; it is moved to `device`.
        device: where the network computes.

    Raises:
        NetworkError: the network has no BatchNorm2d layer with running statistics.
    """

    def __init__(self, network: Network, device: torch.device | str = "cpu") -> None:
        self._taps = BatchNormTaps(network, _sums)
        network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._network = network
        self._device = device

    def distance(self, pixels: Pixels) -> float:
        """Return the mean over layers and channels of |mu - mu^| / sigma^ + |log(sigma / sigma^)|.

        mu = mean_i mu_i and sigma^2 = mean_i (sigma_i^2 + mu_i^2) - mu^2 are the moments of all
        pixels of all images i at a layer's input, by channel; mu^, sigma^ the layer's running
        ones. What an image has too much of makes up for what another lacks, as it did in training.
        The mean over the channels is taken first. Sums are float64.

        Args:
            pixels: (n, S, S, 3) uint8, at least one image, in the view of the network's input.
        """
        with self._taps:
            slices = map_batches(self._one_batch, pixels, self._network.card.input, self._device)
        distances = [
            bn_shift(_moments(sums, len(pixels), layer), layer)
            for layer, sums in zip(self._taps.layers, zip(*slices, strict=True), strict=True)
        ]
        return float(torch.cat(distances).mean())

    def _one_batch(self, images: Tensor) -> _Sums:
        self._network(images)
        return self._taps.latest()


def _sums(moments: Moments, layer: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:  # noqa: ARG001
    """Sums over the images of mu_i and of sigma_i^2 + mu_i^2: (C,) each, on the CPU in float64."""
    mean, variance = moments.mean.cpu().double(), moments.variance.cpu().double()
    return mean.sum(0), (variance + mean.square()).sum(0)


def _moments(sums: Sequence[tuple[Tensor, Tensor]], count: int, layer: nn.BatchNorm2d) -> Moments:
    """Moments of the whole set from the slices' sums: (1, C) each, where the layer is."""
    assert layer.running_mean is not None
    means, squares = zip(*sums, strict=True)
    mean = torch.stack(means).sum(0) / count
    variance = (torch.stack(squares).sum(0) / count - mean.square()).clamp_min(0)
    return Moments(*(one[None].to(layer.running_mean) for one in (mean, variance)))
