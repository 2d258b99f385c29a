"""ShuffleNetV2 at size 1 (Ma et al. 2018) for small images: a 1x1 stem without stride."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.networks.cifar.parts import conv1, conv3, initialise, shuffle

STEM, LAST = 24, 1024
WIDTHS, BLOCKS = (116, 232, 464), (4, 8, 4)


class SplitUnit(nn.Module):
    """Half of the channels pass by, the other half pass three convolutions; then both mix."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = _branch(channels // 2, channels // 2, stride=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        kept, changed = x.chunk(2, dim=1)
        return shuffle(torch.cat([kept, self.branch(changed)], 1), 2)


class DownUnit(nn.Module):
    """All channels pass both ways, each of stride 2, and make half of the output each."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        half = out_channels // 2
        self.shortcut = nn.Sequential(
            conv3(in_channels, in_channels, 2, groups=in_channels),
            nn.BatchNorm2d(in_channels),
            *_active(conv1(in_channels, half)),
        )
        self.branch = _branch(in_channels, half, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, out_channels, H / 2, W / 2)."""
        return shuffle(torch.cat([self.shortcut(x), self.branch(x)], 1), 2)


class ShuffleNetV2(nn.Module):
    """The stem, three stages ``layer1`` ..., a 1x1 convolution ``last``, global average pool."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv1 = conv1(3, STEM)
        self.bn1 = nn.BatchNorm2d(STEM)
        self.layer1 = _stage(STEM, WIDTHS[0], BLOCKS[0])
        self.layer2 = _stage(WIDTHS[0], WIDTHS[1], BLOCKS[1])
        self.layer3 = _stage(WIDTHS[1], WIDTHS[2], BLOCKS[2])
        self.last = nn.Sequential(*_active(conv1(WIDTHS[2], LAST)))
        self.fc = nn.Linear(LAST, num_classes)
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to logits (B, K)."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.last(self.layer3(self.layer2(self.layer1(x))))
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


def _branch(in_channels: int, out_channels: int, *, stride: int) -> nn.Sequential:
    return nn.Sequential(
        *_active(conv1(in_channels, out_channels)),
        conv3(out_channels, out_channels, stride, groups=out_channels),
        nn.BatchNorm2d(out_channels),
        *_active(conv1(out_channels, out_channels)),
    )


def _active(conv: nn.Conv2d) -> tuple[nn.Module, ...]:
    return conv, nn.BatchNorm2d(conv.out_channels), nn.ReLU()


def _stage(in_channels: int, out_channels: int, blocks: int) -> nn.Sequential:
    units = [SplitUnit(out_channels) for _ in range(blocks - 1)]
    return nn.Sequential(DownUnit(in_channels, out_channels), *units)


NETWORKS = {"shuffle_v2": ShuffleNetV2}
