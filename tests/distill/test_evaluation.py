"""Accuracy, counted by hand."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from distill.evaluation import Evaluation, evaluate, predict
from distill.images import LabelledImages
from distill.networks import Card, InputSpec, Network, normalise
from index.errors import DataError

from .helpers import tiny

Pixels = npt.NDArray[np.uint8]


class Brightest(nn.Module):
    """The logits are the mean red, green, and blue of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(3, 3)
        with torch.no_grad():
            self.fc.weight.copy_(torch.eye(3))
            self.fc.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.pool(x).flatten(1))
        return logits


def brightest() -> Network:
    plain = InputSpec(size=4, mean=(0, 0, 0), std=(1, 1, 1))
    return Network(Brightest(), Card(architecture="tests:brightest", input=plain)).eval()


def plain_images(*colours: tuple[int, int, int]) -> Pixels:
    return np.broadcast_to(
        np.array(colours, np.uint8)[:, None, None], (len(colours), 4, 4, 3)
    ).copy()


RED, GREEN, BLUE, PINK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 51, 102)


def labels(*values: int) -> npt.NDArray[np.int64]:
    return np.array(values, dtype=np.int64)


def test_three_of_four() -> None:
    data = LabelledImages(plain_images(RED, GREEN, BLUE, PINK), labels(0, 1, 1, 0))
    assert evaluate(brightest(), data) == Evaluation(accuracy=0.75, correct=3, n=4)


def test_logits_come_in_the_order_of_the_images() -> None:
    found = predict(brightest(), plain_images(PINK, BLUE))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [[1, 0.2, 0.4], [0, 0, 1]], atol=1e-6)


def test_many_images_are_the_same_as_one_at_a_time() -> None:
    network = tiny()
    pixels = np.random.default_rng(0).integers(256, size=(130, 8, 8, 3), dtype=np.uint8)
    found = predict(network, pixels)
    assert found.shape == (130, 3)
    for place in (0, 63, 64, 129):
        alone = predict(network, pixels[place : place + 1])
        np.testing.assert_allclose(found[place : place + 1], alone, atol=1e-5)


@pytest.mark.parametrize(("wrong", "said"), [(3, "from 0 to 3"), (-1, "from -1 to 1")])
def test_labels_without_a_class_are_refused(wrong: int, said: str) -> None:
    data = LabelledImages(plain_images(RED, GREEN, BLUE), labels(0, 1, wrong))
    with pytest.raises(DataError, match=f"labels run {said}, .* classes 0 to 2.*label column"):
        evaluate(brightest(), data)


@pytest.mark.parametrize("training", [True, False])
def test_a_network_is_judged_in_eval_mode_and_left_as_it_was(training: bool) -> None:
    network = tiny().train(training)
    pixels = np.random.default_rng(0).integers(256, size=(6, 8, 8, 3), dtype=np.uint8)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    found = predict(network, pixels)
    assert network.training is training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    with torch.no_grad():
        expected = network.eval()(normalise(torch.from_numpy(pixels), network.card.input))
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)
