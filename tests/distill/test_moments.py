"""The BatchNorm shift, against NumPy in float64."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pytest
import torch
from torch import nn

from distill.moments import MomentTaps, bn_kl, bn_shift, spatial_moments
from distill.networks import load_network, normalise
from index.errors import NetworkError

from .helpers import Mlp, decode, network, noise, tiny


def test_shift_by_hand() -> None:
    layer = nn.BatchNorm2d(2, eps=0.0)
    layer.running_mean = torch.tensor([1.0, 0.0])
    layer.running_var = torch.tensor([4.0, 1.0])
    # Channel 0: mean 3, deviation 1. Channel 1: mean 0, deviation 2.
    maps = torch.tensor([[[[2.0, 4.0]], [[-2.0, 2.0]]]])
    expected = ((2 / 2 + np.log(2)) + (0 + np.log(2))) / 2
    assert bn_shift(spatial_moments(maps), layer).tolist() == pytest.approx([expected])


def test_every_layer_against_numpy() -> None:
    net = tiny()
    images = noise(5, 3, 8, 8)
    with MomentTaps(net) as taps, torch.no_grad():
        net(images)
        found = taps.shifts()["bn_shift"]
    layer = net.module.get_submodule("bn")
    assert isinstance(layer, nn.BatchNorm2d)
    assert layer.running_mean is not None and layer.running_var is not None
    with torch.no_grad():
        maps = net.module.get_submodule("conv")(images).double().numpy()
    expected_std = np.sqrt(layer.running_var.double().numpy() + layer.eps)
    centre = np.abs(maps.mean((2, 3)) - layer.running_mean.double().numpy()) / expected_std
    spread = np.abs(np.log(np.sqrt(maps.var((2, 3)) + layer.eps) / expected_std))
    assert found.shape == (5, 1)
    np.testing.assert_allclose(found[:, 0].numpy(), (centre + spread).mean(1), rtol=1e-5)


def test_an_images_shift_does_not_depend_on_its_batch() -> None:
    net = tiny()
    images = noise(4, 3, 8, 8)
    with MomentTaps(net) as taps, torch.no_grad():
        net(images)
        together = taps.shifts()["bn_shift"]
        net(images[2:3])
        alone = taps.shifts()["bn_shift"]
    torch.testing.assert_close(together[2:3], alone)


def test_a_flat_image_has_a_finite_shift() -> None:
    net = tiny()
    with MomentTaps(net) as taps, torch.no_grad():
        net(torch.zeros(1, 3, 8, 8))
        assert bool(taps.shifts()["bn_shift"].isfinite().all())


def test_the_hooks_go_with_the_context() -> None:
    net = tiny()
    with MomentTaps(net):
        pass
    assert not any(part._forward_pre_hooks for part in net.modules())


def test_a_network_without_batchnorm_is_refused_by_name() -> None:
    with pytest.raises(NetworkError, match="no BatchNorm layer"):
        MomentTaps(network(Mlp(3)))


def test_noise_is_further_from_a_real_teachers_data_than_its_own(data_dir: Path) -> None:
    teacher = load_network(data_dir / "teachers" / "resnet20.toml")
    path = str(data_dir / "cifar10" / "test_5k.parquet")
    rows = duckdb.execute("SELECT image FROM read_parquet(?) LIMIT 32", [path]).fetchall()
    own = torch.from_numpy(np.stack([decode(image) for (image,) in rows]))
    generator = torch.Generator().manual_seed(0)
    strange = torch.randint(256, own.shape, dtype=torch.uint8, generator=generator)
    means = []
    for images in (own, strange):
        with MomentTaps(teacher) as taps, torch.no_grad():
            teacher(normalise(images, teacher.card.input))
            means.append(float(taps.shifts()["bn_shift"].mean()))
    assert means[0] * 1.5 < means[1]


def test_divergence_is_that_of_torchs_normal_distributions() -> None:
    layer = nn.BatchNorm2d(6)
    layer.running_mean, layer.running_var = noise(6), noise(6, seed=1).square() + 0.1
    maps = 2 * noise(5, 6, 4, 3, seed=2).double() + 0.5
    scale = (maps.var((2, 3), correction=0) + layer.eps).sqrt()
    own = torch.distributions.Normal(maps.mean((2, 3)), scale)
    expected_scale = (layer.running_var.double() + layer.eps).sqrt()
    running = torch.distributions.Normal(layer.running_mean.double(), expected_scale)
    expected = torch.distributions.kl_divergence(own, running).mean(1)
    found = bn_kl(spatial_moments(maps), layer)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)
