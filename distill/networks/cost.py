"""What a network costs: parameters, multiply-accumulates, and the KD3 paper's FLOPs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from distill.networks import cifar, paper, zoo
from distill.networks.card import card_from_spec

NORMS = (nn.BatchNorm2d, nn.BatchNorm1d)

Row = dict[str, int | str | None]


@dataclass(frozen=True)
class Cost:
    """Number of parameters, and of operations for one image.

    ``macs`` are multiply-accumulates of convolutions and matrix products. ``flops`` are those
    plus 4 per element of a BatchNorm, 1 per element that a module for adaptive (global) average
    pooling reads, and 1 per element that another module for average pooling puts out: so the KD3
    paper's table counts.
    """

    params: int
    macs: int
    flops: int


def cost(module: nn.Module, input_size: int) -> Cost:
    """Count one forward pass, in eval mode, on an image of input_size x input_size pixels."""
    extra: list[int] = []

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        extra.append(_beside_macs(layer, inputs[0], output))

    handles = [
        layer.register_forward_hook(count)
        for layer in module.modules()
        if isinstance(layer, (*NORMS, nn.AdaptiveAvgPool2d, nn.AvgPool2d))
    ]
    training = module.training
    image = next(module.parameters()).new_zeros(1, 3, input_size, input_size)
    counter = FlopCounterMode(display=False)
    try:
        with counter, torch.no_grad():
            module.eval()(image)
    finally:
        module.train(training)
        for handle in handles:
            handle.remove()
    macs = counter.get_total_flops() // 2
    return Cost(params=_params(module), macs=macs, flops=macs + sum(extra))


def _beside_macs(layer: nn.Module, read: Tensor, made: Tensor) -> int:
    if isinstance(layer, NORMS):
        return 4 * made.numel()
    return read.numel() if isinstance(layer, nn.AdaptiveAvgPool2d) else made.numel()


def table() -> list[Row]:
    """Cost of every network of the zoo for small images, in the settings of the paper's table.

    Where the table has the network, its figures stand beside, and ``differs`` names those that
    are not the same when printed alike.
    """
    return [_row(f"cifar:{name}") for name in cifar.names()]


def paper_table() -> list[Row]:
    """Count the networks of the paper's table alone, and say why a figure differs."""
    return [_row(spec) | {"why": printed.why} for spec, printed in paper.PRINTED.items()]


def _row(spec: str) -> Row:
    printed = paper.PRINTED.get(spec)
    classes = printed.classes if printed else paper.CLASSES
    params, counted = _counted(spec, classes)
    return {
        "name": spec,
        "params": params,
        "macs": counted.macs,
        "flops": counted.flops,
        "input": paper.SIZE,
        "classes": classes,
        "flops_classes": paper.FLOPS_CLASSES,
        "paper_params": printed.params if printed else None,
        "paper_flops": printed.flops if printed else None,
        "differs": _differing(params, counted.flops, printed) if printed else None,
    }


@cache
def _counted(spec: str, classes: int) -> tuple[int, Cost]:
    """Parameters with so many classes, and the cost with those of the paper's FLOPs."""
    card = card_from_spec(spec)
    # Nothing is computed on the meta device, so a table of large networks takes no time.
    with torch.device("meta"):
        deployed = zoo.build(card.architecture, paper.FLOPS_CLASSES, card.options)
        counted = cost(deployed, paper.SIZE)
        if classes == paper.FLOPS_CLASSES:
            return counted.params, counted
        return _params(zoo.build(card.architecture, classes, card.options)), counted


def _params(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _differing(params: int, flops: int, printed: paper.Printed) -> str:
    pairs = {"params": (params, printed.params), "flops": (flops, printed.flops)}
    return ", ".join(
        name for name, (count, like) in pairs.items() if paper.as_printed(count, like) != like
    )
