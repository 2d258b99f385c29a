"""Accuracy, counted by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from distill.corruptions import parse_corruptions
from distill.evaluation import evaluate, evaluate_on, predict
from distill.labelled import LabelledImages, load_labelled
from distill.networks import Card, InputSpec, Network, normalise
from index.errors import DataError, UsageError

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
    found = evaluate(brightest(), data)
    assert (found.accuracy, found.correct, found.n) == (0.75, 3, 4)
    assert (found.top5, found.agreement) == (None, None)
    assert found.confusion.tolist() == [[2, 0, 0], [0, 1, 1], [0, 0, 0]]


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
    with pytest.raises(DataError, match=f"labels run {said}, .* classes 0 to 2.*check the labels"):
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


def save_colours(folder: Path, *colours: tuple[int, int, int]) -> str:
    """Write each colour as a picture of the class of its brightest channel."""
    for place, colour in enumerate(colours):
        path = folder / str(int(np.argmax(colour))) / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 6), colour).save(path)
    return str(folder)


class Swapped(Brightest):
    """Answers blue where Brightest answers green, and the other way round."""

    def __init__(self) -> None:
        super().__init__()
        with torch.no_grad():
            self.fc.weight.copy_(torch.eye(3)[[0, 2, 1]])


def swapped(size: int, classes: list[str] | None = None) -> Network:
    plain = InputSpec(size=size, mean=(0, 0, 0), std=(1, 1, 1))
    return Network(Swapped(), Card(architecture="tests:s", input=plain, classes=classes)).eval()


@pytest.mark.parametrize("size", [4, 6])
def test_agreement_with_a_teacher_that_sees_another_size(tmp_path: Path, size: int) -> None:
    source = save_colours(tmp_path, RED, PINK, GREEN, BLUE)
    report = evaluate_on(brightest(), source, teacher=swapped(size))
    assert (report.clean.accuracy, report.clean.agreement, report.shifted) == (1, 0.5, [])


def test_each_corrupted_copy_is_judged(tmp_path: Path) -> None:
    source = save_colours(tmp_path, RED, GREEN, (120, 100, 90))
    corruptions = parse_corruptions(["noise:5", "contrast:1"])
    report = evaluate_on(brightest(), source, corruptions=corruptions, teacher=brightest())
    assert [one for one, _ in report.shifted] == corruptions
    assert all(found.n == 3 and found.agreement == 1 for _, found in report.shifted)
    images = load_labelled(source, brightest().card.input.view())
    for corruption, found in report.shifted:
        logits = predict(brightest(), corruption(images.pixels))
        assert found.correct == int((logits.argmax(1) == images.labels).sum())
    # A factor about each channel's own mean leaves one colour as it is.
    assert report.shifted[1][1].accuracy == 1


@pytest.mark.parametrize(
    ("teacher", "said"),
    [
        (tiny(num_classes=4), "teacher has 4 classes, the network 3"),
        (swapped(4, ["red", "blue", "green"]), "class 'green' is the teacher's 'blue'"),
    ],
)
def test_a_teacher_of_other_classes_is_refused(tmp_path: Path, teacher: Network, said: str) -> None:
    network = brightest()
    network.card = network.card.model_copy(update={"classes": ["red", "green", "blue"]})
    with pytest.raises(UsageError, match=said):
        evaluate_on(network, save_colours(tmp_path, RED), teacher=teacher)
