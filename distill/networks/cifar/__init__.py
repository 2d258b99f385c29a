"""Networks for small images: built for 32x32, run at any size, end in a global average pool.

Adding one means writing a file whose ``NETWORKS`` names its constructors, which take the number of
classes and, as keywords, options; and adding one line to ``FAMILIES``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from distill.networks.cifar import (
    lenet,
    mobilenet,
    resnet,
    shufflenet,
    shufflenet_v2,
    vgg,
    wide_resnet,
)

Build = Callable[..., nn.Module]

FAMILIES: tuple[Mapping[str, Build], ...] = (
    resnet.NETWORKS,
    wide_resnet.NETWORKS,
    mobilenet.NETWORKS,
    shufflenet.NETWORKS,
    shufflenet_v2.NETWORKS,
    vgg.NETWORKS,
    lenet.NETWORKS,
)


def names() -> list[str]:
    """Names of all networks."""
    return [name for family in FAMILIES for name in family]


def build(name: str, num_classes: int, options: Mapping[str, Any]) -> nn.Module:
    """Build a network with random weights.

    Raises:
        TypeError, ValueError: an option that it does not take.
        KeyError: no such network.
    """
    makers = {known: make for family in FAMILIES for known, make in family.items()}
    return makers[name](num_classes, **options)
