"""ShuffleNet with 3 groups (Zhang et al. 2018) for small images: a 1x1 stem without stride."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.networks.cifar.parts import conv1, conv3, initialise, shuffle

STEM, GROUPS = 24, 3
WIDTHS, BLOCKS = (240, 480, 960), (4, 8, 4)


class ShuffleUnit(nn.Module):
    """Grouped 1x1, shuffle, 3x3 depthwise and grouped 1x1 convolutions, at a quarter of the width.

    At stride 1 the result is added to the input; at stride 2 it stands beside the input's means.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        made = out_channels - in_channels if stride == 2 else out_channels
        middle = made // 4
        # The stem's channels are too few to be parted (section 3.2 of the paper).
        self.groups = 1 if in_channels == STEM else GROUPS
        self.conv1 = conv1(in_channels, middle, groups=self.groups)
        self.bn1 = nn.BatchNorm2d(middle)
        self.conv2 = conv3(middle, middle, stride, groups=middle)
        self.bn2 = nn.BatchNorm2d(middle)
        self.conv3 = conv1(middle, made, groups=GROUPS)
        self.bn3 = nn.BatchNorm2d(made)
        self.shortcut = nn.AvgPool2d(3, stride, padding=1) if stride == 2 else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, out_channels, H / stride, W / stride)."""
        out = shuffle(F.relu(self.bn1(self.conv1(x))), self.groups)
        out = self.bn3(self.conv3(F.relu(self.bn2(self.conv2(out)))))
        if self.shortcut is None:
            return F.relu(out + x)
        return F.relu(torch.cat([out, self.shortcut(x)], 1))


class ShuffleNet(nn.Module):
    """The stem, three stages ``layer1`` ... that each halve the image, global average pool."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv1 = conv1(3, STEM)
        self.bn1 = nn.BatchNorm2d(STEM)
        self.layer1 = _stage(STEM, WIDTHS[0], BLOCKS[0])
        self.layer2 = _stage(WIDTHS[0], WIDTHS[1], BLOCKS[1])
        self.layer3 = _stage(WIDTHS[1], WIDTHS[2], BLOCKS[2])
        self.fc = nn.Linear(WIDTHS[2], num_classes)
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to logits (B, K)."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


def _stage(in_channels: int, out_channels: int, blocks: int) -> nn.Sequential:
    stage = nn.Sequential(ShuffleUnit(in_channels, out_channels, 2))
    for _ in range(blocks - 1):
        stage.append(ShuffleUnit(out_channels, out_channels, 1))
    return stage


NETWORKS = {"shuffle_v1": ShuffleNet}
