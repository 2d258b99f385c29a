"""Students and teachers that no method can do anything with: refused before any image is read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.methods import METHODS, find_method
from distill.methods.kd import KD
from index.errors import MethodError, NetworkError

from .helpers import TinyNet, network, tiny
from .training import run


@pytest.mark.parametrize("name", METHODS)
def test_one_class_says_nothing_of_an_image(name: str) -> None:
    with pytest.raises(MethodError, match=f"method {name}: the teacher tests:net has one class"):
        find_method(name)(tiny(0, num_classes=1), tiny(1, num_classes=1), {})


class WithAuxiliary(TinyNet):
    """As torchvision's GoogLeNet: in training a second classifier answers too."""

    aux_logits = True

    def forward(self, x: Tensor) -> Tensor:
        logits = super().forward(x)
        return (logits, logits) if self.training else logits  # type: ignore[return-value]


class TooDeepInTraining(TinyNet):
    """Runs in eval mode, and in training only on larger images."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.avg_pool2d(x, 16) if self.training else x)


@pytest.mark.parametrize("name", METHODS)
def test_students_that_do_not_train_are_refused_at_once(name: str) -> None:
    small = network(TooDeepInTraining(3))
    before = {key: value.clone() for key, value in small.state_dict().items()}
    with pytest.raises(NetworkError, match=r"tests:net does not train on images of 8 pixels \("):
        find_method(name)(tiny(0), small, {})
    assert not small.module.training
    assert all(torch.equal(value, before[key]) for key, value in small.state_dict().items())


class NormalisedVector(TinyNet):
    """Ends in a BatchNorm over a map of one pixel, which has no variance in a batch of one."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.last = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + 0 * self.last(F.adaptive_avg_pool2d(x, 1)))


@pytest.mark.parametrize(("size", "accumulate"), [(1, 1), (4, 4)])
def test_parts_of_one_image_are_refused_where_a_student_needs_two(
    size: int, accumulate: int, tmp_path: Path
) -> None:
    options = {"batch_size": size, "accumulate": accumulate, "max_steps": 1}
    method = KD(tiny(0), network(NormalisedVector(3)), {})
    with pytest.raises(NetworkError, match=r"not train on one image at a time \(.*--accumulate"):
        run(tmp_path, method, **options)
    run(tmp_path / "plain", KD(tiny(0), tiny(1), {}), **options)
    two = {"batch_size": 2 * size, "accumulate": accumulate, "max_steps": 1}
    run(tmp_path / "two", KD(tiny(0), network(NormalisedVector(3)), {}), **two)


def test_auxiliary_logits_are_refused_with_the_way_out() -> None:
    with pytest.raises(NetworkError, match=r"puts out tuple in training.*aux_logits=false"):
        KD(tiny(0), network(WithAuxiliary(3)), {})
