"""Stages of a network, found by tracing."""

from __future__ import annotations

import pytest
from torch import Tensor, nn

from distill.networks import zoo
from distill.networks.stages import Stage, find_stages

from .helpers import Mlp, TinyNet
from .networks import Inverted, Stacked


def test_a_stage_ends_before_a_block_that_lowers_the_resolution() -> None:
    assert find_stages(Stacked((4, 6, 8)), 8) == [
        Stage("stage1", 4, 8),
        Stage("stage2", 6, 4),
        Stage("stage3", 8, 2),
    ]


def test_a_body_in_one_sequence_has_all_its_stages() -> None:
    class Chain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            blocks = [Inverted(3, 4, 1), Inverted(4, 5, 2), Inverted(5, 5, 1), Inverted(5, 6, 2)]
            self.features = nn.Sequential(*blocks)
            self.fc = nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.fc(self.features(x).mean((2, 3)))
            return logits

    assert find_stages(Chain(), 16) == [
        Stage("features.0", 4, 16),
        Stage("features.2", 5, 8),
        Stage("features", 6, 4),
    ]


@pytest.mark.parametrize(
    ("name", "widths"), [("resnet8", (16, 32, 64)), ("resnet8x4", (64, 128, 256))]
)
def test_stages_of_the_zoos_residual_networks(name: str, widths: tuple[int, ...]) -> None:
    found = find_stages(zoo.build(f"cifar:{name}", 10), 32)
    sides = (32, 16, 8)
    expected = [Stage(f"layer{n}", w, s) for n, w, s in zip((1, 2, 3), widths, sides, strict=True)]
    assert found == expected


def test_pooling_to_one_pixel_is_no_stage_and_vectors_have_none() -> None:
    assert [(one.channels, one.side) for one in find_stages(TinyNet(3), 8)] == [(4, 4)]
    assert find_stages(Mlp(3), 8) == []
