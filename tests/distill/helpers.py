"""Networks small enough to be worked out by hand."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn

from distill.methods import Batch
from distill.networks import Card, InputSpec, Network

TINY = InputSpec(size=8)


class TinyNet(nn.Module):
    """Two convolutions with BatchNorm; maps of a half of the input, or of all of it."""

    def __init__(self, num_classes: int, channels: int = 4, stride: int = 2) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 3, stride, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.pool(self.bn(self.conv(x)).relu_()).flatten(1))
        return logits


class Mlp(nn.Module):
    """A classifier without feature maps and without BatchNorm."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(3 * 8 * 8, 5), nn.Linear(5, num_classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layers(x)
        return logits


def network(module: nn.Module, classes: list[str] | None = None) -> Network:
    return Network(module, Card(architecture="tests:net", classes=classes, input=TINY)).eval()


def tiny(seed: int = 0, *, channels: int = 4, stride: int = 2, num_classes: int = 3) -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = TinyNet(num_classes, channels, stride)
        # Running statistics as after training: neither zero nor one.
        module.bn.running_mean.normal_()  # type: ignore[union-attr]
        module.bn.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    return network(module, [f"class {k}" for k in range(num_classes)])


def batch(images: Tensor, weights: Tensor | None = None, seed: int = 0) -> Batch:
    """Images as the first of a pool, at a late epoch."""
    return Batch(
        images,
        torch.ones(len(images)) if weights is None else weights,
        torch.arange(len(images)),
        epoch=240,
        generator=torch.Generator().manual_seed(seed),
    )


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def decode(image: bytes) -> npt.NDArray[np.uint8]:
    with Image.open(io.BytesIO(image)) as opened:
        return np.asarray(opened.convert("RGB"))
