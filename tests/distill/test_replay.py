"""Passes that are recorded on CUDA and replayed say what the network says."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from distill.networks import Network, load_network
from distill.networks.replay import Replay
from distill.networks.taps import Call

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU with CUDA")


def teacher(device: str) -> Network:
    network = load_network("cifar:resnet20", num_classes=10, allow_random=True)
    return network.requires_grad_(False).to(device)


def images(count: int, seed: int, device: str) -> Tensor:
    drawn = torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    return drawn.to(device)


def test_without_cuda_a_pass_is_run_each_time() -> None:
    network = teacher("cpu")
    network.replay()
    shown = images(4, 0, "cpu")
    with torch.no_grad():
        plain, read = network(shown), network.read(shown)[0]
        network.classifier.weight.zero_()
        assert torch.equal(plain, read)
        assert not torch.equal(network.read(shown)[0], plain)


@gpu
@pytest.mark.parametrize("half", [False, True])
def test_what_is_replayed_is_what_the_network_says(half: bool) -> None:
    """Of several batches, shapes and precisions in turns."""
    network = teacher("cuda")
    expected, found = [], []
    for replays in (False, True):
        if replays:
            network.replay()
        for seed, count in enumerate((8, 8, 5, 8, 5)):
            with torch.no_grad(), torch.autocast("cuda", torch.bfloat16, enabled=half):
                outputs = network.outputs(images(count, seed, "cuda"))
                logits = network.read(images(count, seed, "cuda"))[0]
            assert outputs.features is not None
            one = [outputs.logits, outputs.features, outputs.penultimate, logits]
            (found if replays else expected).extend(one)
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(other, one)


@gpu
def test_a_later_pass_leaves_earlier_results_alone() -> None:
    network = teacher("cuda")
    network.replay()
    with torch.no_grad():
        first = network.outputs(images(8, 0, "cuda"))
        assert first.features is not None
        before = first.logits.clone(), first.features.clone(), first.penultimate.clone()
        network.outputs(images(8, 1, "cuda"))
        after = first.logits, first.features, first.penultimate
    assert all(torch.equal(*pair) for pair in zip(before, after, strict=True))


@gpu
def test_a_pass_with_gradients_is_never_replayed() -> None:
    network = teacher("cuda")
    network.replay()
    shown = images(8, 0, "cuda").requires_grad_()
    network.outputs(shown).logits.sum().backward()
    assert shown.grad is not None and float(shown.grad.abs().sum()) > 0


@gpu
def test_weights_that_change_in_place_are_followed() -> None:
    network = teacher("cuda")
    network.replay()
    shown = images(8, 0, "cuda")
    with torch.no_grad():
        network.read(shown)
        network.classifier.weight.mul_(2)
        torch.testing.assert_close(network.read(shown)[0], network(shown))


@gpu
def test_a_network_that_asks_for_a_value_on_its_way_is_run_each_time() -> None:
    calls = []

    class Asking(nn.Module):
        def forward(self, shown: Tensor) -> Tensor:
            calls.append(float(shown.sum()))
            return shown.flatten(1) * calls[-1]

    module = Asking()

    def run(shown: Tensor, paths: object) -> tuple[Tensor, dict[str, Call]]:  # noqa: ARG001
        return module(shown), {}

    replay = Replay(run)
    for seed in range(3):
        shown = images(2, seed, "cuda")
        with torch.no_grad():
            torch.testing.assert_close(replay(shown, ())[0], shown.flatten(1) * float(shown.sum()))
