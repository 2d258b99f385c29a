"""What several networks for small images are made of."""

from __future__ import annotations

from torch import Tensor, nn


def conv3(in_channels: int, out_channels: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """3x3 convolution without bias that keeps the size, or halves it (rounding up)."""
    return nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, groups=groups, bias=False)


def conv1(in_channels: int, out_channels: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """1x1 convolution without bias."""
    return nn.Conv2d(in_channels, out_channels, 1, stride, groups=groups, bias=False)


def shuffle(x: Tensor, groups: int) -> Tensor:
    """Mix the channels of (B, C, H, W): the first of each group, the second of each, and so on."""
    batch, channels, height, width = x.shape
    grouped = x.reshape(batch, groups, channels // groups, height, width)
    return grouped.transpose(1, 2).flatten(1, 2)


def initialise(module: nn.Module) -> None:
    """He et al.'s normal weights for one convolution or linear layer; use with ``apply``."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight)
