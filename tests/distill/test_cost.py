"""Parameters and FLOPs: by hand on a small network, and as published for the large ones."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from distill.networks import paper, zoo
from distill.networks.cost import Cost, Row, cost, paper_table, table

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


def test_average_pooling_by_hand() -> None:
    module = nn.Sequential(nn.Conv2d(3, 2, 1), nn.AvgPool2d(2), nn.MaxPool2d(2), nn.Flatten())
    assert cost(module, 8).flops - cost(module, 8).macs == 2 * 4 * 4


@pytest.fixture(scope="module")
def rows() -> dict[str, Row]:
    return {str(row["name"]): row for row in table()}


@pytest.mark.parametrize(
    ("name", "params", "mega_flops"),
    [
        ("resnet32x4", 7_410_730, 4352.9),
        ("resnet8x4", 1_210_410, 714.3),
        ("resnet110", 1_730_714, 1029.6),
        ("resnet116", 1_827_930, 1087.1),
        ("resnet110x2", 6_899_610, 4062.6),
        ("mobilenet_v2", 812_836, 29.25),
        ("shuffle_v1", 862_768, 168.59),
        ("shuffle_v2", 1_263_278, 186.82),
    ],
)
def test_the_published_table(
    rows: dict[str, Row], name: str, params: int, mega_flops: float
) -> None:
    row = rows[f"cifar:{name}"]
    assert row["params"] == params
    assert isinstance(row["flops"], int) and isinstance(row["macs"], int)
    assert round(row["flops"] / 1e6, len(str(mega_flops).partition(".")[2])) == mega_flops
    assert row["macs"] < row["flops"]
    classes = 100 if name == "mobilenet_v2" else 10
    assert (row["input"], row["classes"], row["flops_classes"]) == (64, classes, 200)


@pytest.mark.parametrize(
    ("name", "params"),
    [
        # LeCun et al.'s 61,706 (of grey images, its second layer wholly connected) and 2 channels.
        ("lenet5", 61_706 + 2 * 6 * 25),
        # As published for 100 classes, less 90 rows of the classifier.
        ("wrn16_2", 703_284 - 90 * 129),
        ("wrn40_1", 569_780 - 90 * 65),
        ("wrn40_2", 2_255_156 - 90 * 129),
        ("vgg8", 3_965_028 - 90 * 513),
        ("vgg13", 9_462_180 - 90 * 513),
    ],
)
def test_the_parameters_of_other_networks(rows: dict[str, Row], name: str, params: int) -> None:
    assert rows[f"cifar:{name}"]["params"] == params


def test_only_two_printed_figures_differ_and_the_table_says_why() -> None:
    found = {row["name"]: row for row in paper_table()}
    differing = {name: row["differs"] for name, row in found.items() if row["differs"]}
    assert differing == {"cifar:resnet110x2": "params", "cifar:mobilenet_v2": "flops"}
    assert all(found[name]["why"] for name in differing)


def test_what_the_explanations_say_is_so(rows: dict[str, Row]) -> None:
    mobile = rows["cifar:mobilenet_v2"]["flops"]
    assert isinstance(mobile, int)
    channels, pixels = 1280, 4 * 4
    assert paper.as_printed(mobile - channels * pixels + channels, "29.23M") == "29.23M"
    with torch.device("meta"):
        few = cost(zoo.build("cifar:mobilenet_v2", 10), 32).params
    assert paper.as_printed(few, "0.81M") == "0.70M"


@pytest.mark.parametrize(
    ("count", "like", "printed"),
    [(7_410_730, "7.41M", "7.41M"), (4_352_886_784, "4.4G", "4.4G"), (499_999, "1M", "0M")],
)
def test_counts_are_printed_like_the_paper(count: int, like: str, printed: str) -> None:
    assert paper.as_printed(count, like) == printed
