"""BatchNorm moments of a set of images: how far all of them together are from the training data."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from distill.moments import BatchNormTaps, Moments, bn_shift
from distill.networks.inference import Pixels, map_batches
from distill.networks.network import Network

_Sums = list[tuple[Tensor, Tensor]]


def moment_distance(network: Network, pixels: Pixels, device: torch.device | str = "cpu") -> float:
    """Return the mean over layers of |mu - mu^| / sigma^ + |log(sigma / sigma^)|, its mean a layer.

    mu = mean_i mu_i and sigma^2 = mean_i (sigma_i^2 + mu_i^2) - mu^2 are the moments of all pixels
    of all images at a BatchNorm's input, by channel, of those mu_i, sigma_i of each image; mu^,
    sigma^ are the layer's running ones. An image that is unlike the training data counts as far as
    the set does: its opposite makes up for it. Sums are float64.

    Args:
        network: in eval mode, on `device`.
        pixels: (n, S, S, 3) uint8, at least one image, in the view of the network's input.
        device: where the network computes.

    Raises:
        NetworkError: the network has no BatchNorm2d layer with running statistics.
    """
    taps = BatchNormTaps(network, _sums)

    def one_batch(images: Tensor) -> _Sums:
        network(images)
        return taps.latest()

    with taps:
        slices = map_batches(one_batch, pixels, network.card.input, device)
    distances = [
        bn_shift(_moments(sums, len(pixels), layer), layer)
        for layer, sums in zip(taps.layers, zip(*slices, strict=True), strict=True)
    ]
    return float(torch.cat(distances).mean())


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
