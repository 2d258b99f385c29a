"""The BatchNorm moments of a set, against NumPy in float64 over all pixels at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from distill.networks import normalise
from distill.networks.inference import CPU_BATCH
from distill.setmoments import SetMoments
from index.errors import NetworkError

from .helpers import Mlp, network, tiny


def pictures(count: int, seed: int = 0) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(256, size=(count, 8, 8, 3), dtype=np.uint8)


@pytest.mark.parametrize("count", [1, 7, 2 * CPU_BATCH + 3])
def test_against_numpy(count: int) -> None:
    net = tiny()
    images = pictures(count)
    layer = net.module.get_submodule("bn")
    assert isinstance(layer, nn.BatchNorm2d)
    assert layer.running_mean is not None and layer.running_var is not None
    with torch.no_grad():
        maps = net.module.get_submodule("conv")(normalise(torch.from_numpy(images), net.card.input))
    pixels = maps.double().numpy().transpose(1, 0, 2, 3).reshape(4, -1)
    expected = np.sqrt(layer.running_var.double().numpy() + layer.eps)
    centre = np.abs(pixels.mean(1) - layer.running_mean.double().numpy()) / expected
    spread = np.abs(np.log(np.sqrt(pixels.var(1) + layer.eps) / expected))
    found = SetMoments(net).distance(images)
    assert found == pytest.approx((centre + spread).mean(), rel=1e-5)


def test_a_set_whose_moments_were_learnt_is_at_no_distance() -> None:
    net, images = tiny(), pictures(40)
    layer = net.module.get_submodule("bn")
    assert isinstance(layer, nn.BatchNorm2d) and layer.running_var is not None
    layer.momentum = 1.0
    with torch.no_grad():
        net.train()(normalise(torch.from_numpy(images), net.card.input))
    net.eval()
    layer.running_var *= 1 - 1 / (40 * 16)  # BatchNorm keeps the unbiased one
    assert SetMoments(net).distance(images) == pytest.approx(0, abs=1e-5)
    assert SetMoments(net).distance(images // 2) > 0.1


def test_the_distance_of_a_set_is_not_that_of_its_images() -> None:
    """A dark and a bright half are each far from what together they are."""
    net, images = tiny(), pictures(30)
    halves = np.concatenate([images // 4, 255 - images // 4])
    layer = net.module.get_submodule("bn")
    assert isinstance(layer, nn.BatchNorm2d)
    layer.momentum = 1.0
    with torch.no_grad():
        net.train()(normalise(torch.from_numpy(halves), net.card.input))
    net.eval()
    apart = (SetMoments(net).distance(halves[:30]) + SetMoments(net).distance(halves[30:])) / 2
    assert SetMoments(net).distance(halves) < 0.01 * apart


def test_flat_images_are_at_a_finite_distance() -> None:
    assert np.isfinite(SetMoments(tiny()).distance(np.zeros((3, 8, 8, 3), np.uint8)))


def test_a_network_without_batchnorm_is_refused_by_name() -> None:
    with pytest.raises(NetworkError, match="no BatchNorm layer"):
        SetMoments(network(Mlp(3))).distance(pictures(2))
