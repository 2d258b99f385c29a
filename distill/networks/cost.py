"""What a network costs: parameters, multiply-accumulates, and the KD3 paper's FLOPs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from distill.networks import cifar, zoo

POOLS = (nn.AdaptiveAvgPool2d, nn.AvgPool2d, nn.MaxPool2d, nn.AdaptiveMaxPool2d)
NORMS = (nn.BatchNorm2d, nn.BatchNorm1d)

# The paper's table: parameters with 10 classes, FLOPs of an image of 64 pixels with 200.
TABLE_CLASSES, TABLE_FLOPS_CLASSES, TABLE_SIZE = 10, 200, 64


@dataclass(frozen=True)
class Cost:
    """Number of parameters, and of operations for one image.

    ``macs`` are multiply-accumulates of convolutions and matrix products. ``flops`` are those
    plus 4 per element of a BatchNorm and 1 per element that a pooling module reads.
    """

    params: int
    macs: int
    flops: int


def cost(module: nn.Module, input_size: int) -> Cost:
    """Count one forward pass, in eval mode, on an image of input_size x input_size pixels."""
    extra: list[int] = []

    def count(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        extra.append(inputs[0].numel() * (4 if isinstance(layer, NORMS) else 1))

    handles = [
        layer.register_forward_pre_hook(count)
        for layer in module.modules()
        if isinstance(layer, (*NORMS, *POOLS))
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
    params = sum(parameter.numel() for parameter in module.parameters())
    return Cost(params=params, macs=macs, flops=macs + sum(extra))


def table() -> list[dict[str, int | str]]:
    """Cost of every network of the zoo for small images, as the KD3 paper's table states it."""
    return [_row(f"cifar:{name}") for name in cifar.PLANS]


def _row(architecture: str) -> dict[str, int | str]:
    # Nothing is computed on the meta device, so a table of large networks takes no time.
    with torch.device("meta"):
        built = zoo.build(architecture, TABLE_CLASSES)
        counted = cost(zoo.build(architecture, TABLE_FLOPS_CLASSES), TABLE_SIZE)
    return {
        "name": architecture,
        "params": sum(parameter.numel() for parameter in built.parameters()),
        "macs": counted.macs,
        "flops": counted.flops,
        "input": TABLE_SIZE,
        "classes": TABLE_CLASSES,
        "flops_classes": TABLE_FLOPS_CLASSES,
    }
