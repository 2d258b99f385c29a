"""Parameters and FLOPs: by hand on a small network, and as published for the large ones."""

from __future__ import annotations

import pytest
import torch

from distill.networks.cost import Cost, cost, table

from .helpers import TinyNet


def test_a_small_network_by_hand() -> None:
    params = 3 * 4 * 9 + 2 * 4 + 4 * 3 + 3
    pixels = 4 * 4  # 8 x 8, stride 2
    macs = 3 * 4 * 9 * pixels + 4 * 3
    batch_norm, pool = 4 * (4 * pixels), 4 * pixels
    assert cost(TinyNet(3), 8) == Cost(params, macs, macs + batch_norm + pool)


def test_counting_changes_nothing() -> None:
    module = TinyNet(3).train()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    cost(module, 8)
    assert module.training and not any(part._forward_pre_hooks for part in module.modules())
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())


@pytest.fixture(scope="module")
def rows() -> dict[str, dict[str, int | str]]:
    return {str(row["name"]): row for row in table()}


@pytest.mark.parametrize(
    ("name", "params", "mega_flops"),
    [
        ("resnet32x4", 7_410_730, 4352.9),
        ("resnet8x4", 1_210_410, 714.3),
        ("resnet110", 1_730_714, 1029.6),
        ("resnet116", 1_827_930, 1087.1),
        ("resnet110x2", 6_899_610, 4062.6),
    ],
)
def test_the_published_table(
    rows: dict[str, dict[str, int | str]], name: str, params: int, mega_flops: float
) -> None:
    row = rows[f"cifar:{name}"]
    assert row["params"] == params
    assert round(int(row["flops"]) / 1e6, 1) == mega_flops
    assert int(row["macs"]) < int(row["flops"])
    assert (row["input"], row["classes"], row["flops_classes"]) == (64, 10, 200)
