"""What the table of networks in the KD3 paper's supplement prints, and how to come to its figures.

Its parameters are those of a classifier of 10 classes; its FLOPs those of one image of 64 pixels
and 200 classes, counted as ``cost.Cost.flops`` says.
"""

from __future__ import annotations

from dataclasses import dataclass

CLASSES, FLOPS_CLASSES, SIZE = 10, 200, 64


@dataclass(frozen=True)
class Printed:
    """Parameters and FLOPs as the table prints them, and where the parameters' classes differ.

    ``why`` explains what a reader of both figures would stumble over.
    """

    params: str
    flops: str
    classes: int = CLASSES
    why: str = ""


PRINTED: dict[str, Printed] = {
    "cifar:resnet32x4": Printed("7.41M", "4.35G"),
    "cifar:resnet8x4": Printed("1.21M", "0.71G"),
    "cifar:mobilenet_v2": Printed(
        "0.81M",
        "29.23M",
        classes=100,
        why="parameters are of 100 classes (of 10: 0.70M); 29.23M counts the global pooling as "
        "1 per channel, 29.25M as 1 per pixel and channel, as for the ResNets",
    ),
    "cifar:shuffle_v1": Printed("0.86M", "168.59M"),
    "cifar:shuffle_v2": Printed("1.26M", "186.82M"),
    "cifar:resnet110x2": Printed(
        "6.89M",
        "4.06G",
        why="6.89M are those of shortcuts without parameters (?shortcut=pad), 6.90M of 1x1 "
        "convolutions with BatchNorm",
    ),
    "cifar:resnet110x2?shortcut=pad": Printed("6.89M", "4.06G"),
    "cifar:resnet110": Printed("1.73M", "1.03G"),
    "cifar:resnet116": Printed("1.83M", "1.09G"),
}


def as_printed(count: int, like: str) -> str:
    """Print a count in the unit (M or G) and with the digits of a printed figure."""
    unit = {"M": 1e6, "G": 1e9}[like[-1]]
    digits = len(like[:-1].partition(".")[2])
    return f"{count / unit:.{digits}f}{like[-1]}"
