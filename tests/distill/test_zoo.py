"""The networks for small images: sizes, taps, round trips, other implementations, one step each."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models import mobilenetv2, shufflenetv2, vgg

from distill.methods import find_method
from distill.methods.base import Batch
from distill.networks import InputSpec, Network, cifar, load_network, save_student, zoo
from distill.networks.cifar.mobilenet import InvertedResidual
from distill.networks.cifar.parts import shuffle
from distill.networks.cifar.shufflenet import ShuffleUnit
from distill.networks.cifar.shufflenet_v2 import DownUnit, SplitUnit
from distill.networks.cifar.wide_resnet import PreActivation
from index.errors import NetworkError

from .helpers import noise

# Channels, and sides of the last map for images of 28, 32 and 64 pixels.
MAPS = {
    "resnet8x4": (256, 7, 8, 16),
    "wrn16_2": (128, 7, 8, 16),
    "mobilenet_v2": (1280, 2, 2, 4),
    "shuffle_v1": (960, 4, 4, 8),
    "shuffle_v2": (1024, 4, 4, 8),
    "vgg8": (512, 3, 4, 4),
    "lenet5": (84, 1, 2, 10),
}
# Teacher and student: maps that are larger, smaller, wider and narrower than the other's.
PAIRS = [
    ("resnet8", "mobilenet_v2"),
    ("mobilenet_v2", "vgg8"),
    ("vgg8", "shuffle_v1"),
    ("shuffle_v1", "shuffle_v2"),
    ("shuffle_v2", "lenet5"),
    ("lenet5", "wrn16_1"),
    ("wrn16_1", "resnet8"),
]


@pytest.fixture(autouse=True)
def same_weights() -> None:
    """Networks begin with the same weights, whatever ran before."""
    torch.manual_seed(0)


def make(name: str, size: int = 28, seed: int = 0) -> Network:
    card = {"num_classes": 5, "input": InputSpec(size=size), "seed": seed}
    return load_network(f"cifar:{name}", allow_random=True, **card)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", cifar.names())
def test_every_network_takes_any_size(name: str) -> None:
    with torch.device("meta"):
        module = zoo.build(f"cifar:{name}", 5).eval()
        for size in (28, 32, 64):
            assert module(torch.empty(2, 3, size, size)).shape == (2, 5)


@pytest.mark.parametrize("name", MAPS)
def test_the_last_map_and_the_penultimate_vector_are_within_reach(name: str) -> None:
    channels, *sides = MAPS[name]
    for size, side in zip((28, 32, 64), sides, strict=True):
        net = make(name, size)
        assert net.taps.map_shape == (channels, side, side)
        found = net.outputs(noise(1, 3, size, size))
        assert found.features is not None
        torch.testing.assert_close(found.features.mean((2, 3)), found.penultimate)
        assert torch.equal(net.classifier(found.penultimate), found.logits)


@pytest.mark.parametrize("name", MAPS)
def test_a_network_survives_a_round_trip(name: str, tmp_path: Path) -> None:
    net, images = make(name).train(), noise(4, 3, 28, 28)
    net(images)  # moves the running statistics
    net.eval()
    again = load_network(save_student(net, tmp_path, provenance={}))
    assert again.module.state_dict().keys() == net.module.state_dict().keys()
    assert torch.equal(again(images), net(images))


@pytest.mark.parametrize("method", ["kd", "kd3"])
@pytest.mark.parametrize(("teacher", "student"), PAIRS)
def test_one_step_trains_every_weight(method: str, teacher: str, student: str) -> None:
    made = find_method(method)(make(teacher), make(student, seed=1), {}).train()
    trained = {name: p for name, p in made.named_parameters() if p.requires_grad}
    before = {name: p.detach().clone() for name, p in trained.items()}
    generator = torch.Generator().manual_seed(0)
    losses = made.loss(Batch(noise(4, 3, 28, 28), torch.ones(4), generator=generator))
    losses.total.backward()
    torch.optim.SGD(trained.values(), lr=0.1).step()
    for name, p in trained.items():
        assert p.grad is not None and bool(p.isfinite().all()), name
    assert any(not torch.equal(p, before[name]) for name, p in trained.items())
    assert made.eval().deployed()(noise(1, 3, 28, 28)).shape == (1, 5)


def test_channels_are_shuffled_by_hand() -> None:
    x = torch.arange(6.0).view(1, 6, 1, 1)
    assert shuffle(x, 3).flatten().tolist() == [0, 2, 4, 1, 3, 5]
    assert torch.equal(shuffle(shuffle(x, 3), 2), x)


@pytest.mark.parametrize(
    ("channels", "ours", "theirs"),
    [
        (24, DownUnit(24, 116), shufflenetv2.InvertedResidual(24, 116, 2)),
        (116, SplitUnit(116), shufflenetv2.InvertedResidual(116, 116, 1)),
        (16, InvertedResidual(16, 16, 1, 6), mobilenetv2.InvertedResidual(16, 16, 1, 6)),
        (16, InvertedResidual(16, 24, 2, 6), mobilenetv2.InvertedResidual(16, 24, 2, 6)),
    ],
)
def test_blocks_compute_what_torchvisions_do(
    channels: int, ours: nn.Module, theirs: nn.Module
) -> None:
    values = theirs.state_dict().values()
    ours.load_state_dict(dict(zip(ours.state_dict(), values, strict=True)))
    x = noise(2, channels, 8, 8)
    torch.testing.assert_close(ours.train()(x), theirs.train()(x))


def test_vgg_computes_what_torchvisions_does() -> None:
    net = make("vgg11", 64).eval()
    theirs = vgg.make_layers(vgg.cfgs["A"], batch_norm=True)[:-1].eval()
    body = {key: value for key, value in net.module.state_dict().items() if "fc" not in key}
    theirs.load_state_dict(dict(zip(theirs.state_dict(), body.values(), strict=True)))
    x = noise(1, 3, 64, 64)
    torch.testing.assert_close(net.outputs(x).features, theirs(x))


def test_a_shuffle_unit_of_zeros_passes_its_input_by() -> None:
    x = noise(1, 240, 4, 4)
    keep, down = ShuffleUnit(240, 240, 1).eval(), ShuffleUnit(24, 240, 2).eval()
    for unit in (keep, down):
        nn.init.zeros_(unit.conv3.weight)
    assert torch.equal(keep(x), x.relu())
    # Beside 216 channels of zeros stand the means of windows of 3x3, zeros at the border counted.
    means = down(x[:, :24].abs())[:, 216:]
    torch.testing.assert_close(means[0, 0, 1, 1], x[0, 0, 1:4, 1:4].abs().mean())
    torch.testing.assert_close(means[0, 0, 0, 0], x[0, 0, :2, :2].abs().sum() / 9)


def test_a_wide_block_by_its_formula() -> None:
    block, x = PreActivation(4, 8, 2).eval(), noise(2, 4, 6, 6)
    assert block.shortcut is not None
    active = (x / (1 + block.bn1.eps) ** 0.5).relu()
    inner = (block.conv1(active) / (1 + block.bn2.eps) ** 0.5).relu()
    torch.testing.assert_close(block(x), block.conv2(inner) + block.shortcut(active))
    plain = PreActivation(4, 4, 1).eval()
    nn.init.zeros_(plain.conv2.weight)
    assert torch.equal(plain(x), x)


def test_options_and_wrong_names() -> None:
    with torch.device("meta"):
        wide = zoo.build("cifar:mobilenet_v2", 5, {"width": 1.0})
    assert sum(p.numel() for p in wide.parameters()) > 2_000_000
    with pytest.raises(NetworkError, match="depth"):
        zoo.build("cifar:lenet5", 5, {"depth": 3})
    with pytest.raises(NetworkError, match="did you mean 'cifar:wrn40_2'"):
        zoo.check("cifar:wrn-40-2")
    assert len(set(cifar.names())) == len(cifar.names())
