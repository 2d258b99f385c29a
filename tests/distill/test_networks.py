"""Networks: taps inside classifiers, loading, keys, saving and loading again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn

from distill.networks import (
    InputSpec,
    Network,
    load_network,
    network_key,
    normalise,
    save_student,
)
from distill.networks.card import card_from_spec, write_card
from distill.networks.cifar.resnet import PadShortcut
from index.errors import NetworkError

from .helpers import TINY, Mlp, TinyNet, network, noise, tiny


def student(spec: str = "cifar:resnet8?shortcut=pad", seed: int = 0) -> Network:
    return load_network(spec, num_classes=4, input=TINY, seed=seed, allow_random=True)


def test_normalise_by_hand() -> None:
    images = torch.tensor([[[[0, 51, 255]]]], dtype=torch.uint8)
    spec = InputSpec(size=1, mean=(0.5, 0.2, 0.0), std=(0.5, 0.1, 2.0))
    found = normalise(images, spec)
    assert found.shape == (1, 3, 1, 1)
    assert found.flatten().tolist() == pytest.approx([-1.0, 0.0, 0.5])


def test_normalise_gives_channels_last_and_leaves_the_bytes_alone() -> None:
    images = torch.full((2, 4, 4, 3), 7, dtype=torch.uint8)
    found = normalise(images, InputSpec(size=4))
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert bool((images == 7).all())


@pytest.mark.parametrize(
    ("spec", "size", "shape"),
    [
        ("cifar:resnet8", 32, (64, 8, 8)),
        ("cifar:resnet50", 16, (2048, 2, 2)),
        ("torchvision:mobilenet_v2", 64, (1280, 2, 2)),
        ("timm:resnet18", 64, (512, 2, 2)),
        ("timm:vit_tiny_patch16_224", 224, None),
    ],
)
def test_taps_are_found_in_any_classifier(
    spec: str, size: int, shape: tuple[int, int, int] | None
) -> None:
    found = load_network(spec, num_classes=5, input=InputSpec(size=size), allow_random=True)
    outputs = found.outputs(noise(2, 3, size, size))
    assert found.taps.map_shape == shape
    assert outputs.logits.shape == (2, 5)
    assert outputs.penultimate.shape == (2, found.classifier.in_features)
    assert torch.equal(found.classifier(outputs.penultimate), outputs.logits)
    if shape is not None:
        assert outputs.features is not None
        assert outputs.features.shape[1:] == shape
        torch.testing.assert_close(outputs.features.mean((2, 3)), outputs.penultimate)
        assert (found.feature_channels, found.feature_size) == (shape[0], shape[-1])


def test_taps_carry_gradients_and_leave_no_hooks() -> None:
    net = tiny().train()
    features = net.outputs(noise(2, 3, 8, 8)).features
    assert features is not None
    features.sum().backward()
    assert net.module.get_submodule("conv").weight.grad is not None
    assert not any(part._forward_hooks for part in net.modules())


def test_a_network_without_maps_has_no_features() -> None:
    net = network(Mlp(3))
    outputs = net.outputs(noise(2, 3, 8, 8))
    assert outputs.features is None
    assert net.feature_channels is None
    assert outputs.penultimate.shape == (2, 5)


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 8), nn.Flatten()), "final linear layer"),
        (nn.Conv2d(3, 4, 8), "no image classifier"),
        (nn.Sequential(nn.Flatten(), nn.Linear(5, 2)), "does not run on images of 8 pixels"),
        (
            nn.Sequential(nn.Conv2d(1, 4, 8), nn.Flatten(), nn.Linear(4, 2)),
            "^tests:net: takes grey images, of one channel, and images of a crawl have three: wrap",
        ),
    ],
)
def test_what_is_no_classifier_is_refused(module: nn.Module, said: str) -> None:
    with pytest.raises(NetworkError, match=said):
        network(module)


def test_weights_that_give_no_numbers_are_named_as_the_cause() -> None:
    module = TinyNet(3)
    module.fc.weight.data[0, 0] = float("inf")
    with pytest.raises(NetworkError, match="tests:net: its logits are not finite: .*lower --lr"):
        network(module)


def test_the_modes_are_as_they_were_after_tracing() -> None:
    module = TinyNet(3).train()
    module.bn.eval()
    before = module.bn.running_mean.clone()  # type: ignore[union-attr]
    network_ = Network(module, tiny().card)
    assert (network_.module.training, module.bn.training) == (True, False)
    assert torch.equal(module.bn.running_mean, before)  # type: ignore[arg-type]


def test_option_a_shortcut_by_hand() -> None:
    x = torch.arange(16.0).view(1, 1, 4, 4)
    found = PadShortcut(extra=2, stride=2)(x)
    assert found[0, 1].tolist() == [[0, 2], [8, 10]]
    assert found[0, [0, 2]].abs().sum() == 0


def test_random_weights_come_from_the_seed_alone() -> None:
    state = torch.random.get_rng_state()
    first, again, other = student(seed=1), student(seed=1), student(seed=2)
    x = noise(1, 3, 8, 8)
    assert torch.equal(first(x), again(x))
    assert not torch.equal(first(x), other(x))
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("cifar:resnet8", "would be random"),
        ("cifar:resnet9", "did you mean"),
        ("resnet8", "no architecture"),
        ("open_clip:ViT-B-32", "no classifier"),
        ("cifar:resnet8?shortcut=zero", "'conv' or 'pad'"),
        ("cifar:resnet8?depth=3", "depth"),
        ("torchvision:resnet18?pretrained=NO_SUCH", "no weights 'NO_SUCH'"),
        ("tests:no_such_factory", "no_such_factory"),
    ],
)
def test_bad_specs_are_refused(spec: str, said: str) -> None:
    with pytest.raises(NetworkError, match=said):
        load_network(spec, num_classes=3, allow_random=said != "would be random")


def test_the_number_of_classes_must_be_known_and_agree(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match="number of classes"):
        load_network("cifar:resnet8", allow_random=True)
    card = card_from_spec("cifar:resnet8", num_classes=3)
    write_card(card, tmp_path / "net.toml")
    with pytest.raises(NetworkError, match="3 classes, not 4"):
        load_network(tmp_path / "net.toml", num_classes=4, allow_random=True)


def test_a_saved_student_loads_with_the_same_logits(tmp_path: Path) -> None:
    net = student().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    path = save_student(net, tmp_path / "run", provenance={"manifest": 'ab"c', "teacher": "t-1"})
    again = load_network(path).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = noise(2, 3, 8, 8)
    assert torch.equal(again(x), net(x))
    assert again.card.provenance == {"manifest": 'ab"c', "teacher": "t-1"}
    assert again.card.input == net.card.input
    assert not again.training
    with safe_open(tmp_path / "run" / "student.safetensors", "pt") as file:
        assert json.loads(file.metadata()["provenance"]) == again.card.provenance
    names = sorted(file.name for file in path.parent.iterdir())
    assert names == ["student.safetensors", "student.toml"]


def test_the_same_student_is_saved_as_the_same_bytes(tmp_path: Path) -> None:
    provenance = {name: name * 3 for name in ("manifest", "teacher", "method", "seed", "run")}
    files = [
        save_student(student(), tmp_path / str(n), provenance=provenance).with_suffix(
            ".safetensors"
        )
        for n in range(6)
    ]
    assert len({file.read_bytes() for file in files}) == 1


def test_a_key_changes_with_what_is_computed_and_with_nothing_else(tmp_path: Path) -> None:
    net = student()
    first = load_network(save_student(net, tmp_path / "a", provenance={"run": "1"}))
    same = load_network(save_student(net, tmp_path / "b", provenance={"run": "1"}))
    other = load_network(save_student(student(seed=9), tmp_path / "c", provenance={}))
    assert first.key == same.key == network_key(first.card)
    assert first.key.startswith("resnet8-") and len(first.key) == len("resnet8-") + 8
    resized = first.card.model_copy(update={"input": InputSpec(size=16)})
    option = first.card.model_copy(update={"options": {"shortcut": "conv"}})
    keys = {first.key, other.key, network_key(resized), network_key(option)}
    assert len(keys) == 4


def test_the_published_teachers_load(data_dir: Path) -> None:
    teacher = load_network(data_dir / "teachers" / "resnet20.toml")
    assert teacher.key.startswith("resnet20-")
    assert teacher.num_classes == 10
    raw = torch.load(
        data_dir / "teachers" / "resnet20-12fca82f.th", map_location="cpu", weights_only=True
    )
    assert torch.equal(teacher.classifier.weight, raw["state_dict"]["module.linear.weight"])
    assert json.dumps(teacher.card.classes).startswith('["airplane"')
