"""Wide residual networks (Zagoruyko and Komodakis 2016), WRN-DEPTH-WIDTH, without dropout."""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from distill.networks.cifar.parts import conv1, conv3, initialise


class PreActivation(nn.Module):
    """Twice BatchNorm, ReLU and a 3x3 convolution; where the width changes, a 1x1 shortcut."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = conv3(in_channels, out_channels, stride)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv2 = conv3(out_channels, out_channels)
        same = in_channels == out_channels and stride == 1
        self.shortcut = None if same else conv1(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, out_channels, H / stride, W / stride)."""
        active = F.relu(self.bn1(x))
        out: Tensor = self.conv2(F.relu(self.bn2(self.conv1(active))))
        return out + (x if self.shortcut is None else self.shortcut(active))


class WideResNet(nn.Module):
    """A 3x3 stem and three stages ``layer1`` ... of 16, 32 and 64 times ``width`` channels.

    ``depth`` is 6n + 4 for n blocks a stage.
    """

    def __init__(self, depth: int, width: int, num_classes: int) -> None:
        super().__init__()
        self.conv1 = conv3(3, 16)
        self.layer1 = _stage((depth - 4) // 6, 16, 16 * width, stride=1)
        self.layer2 = _stage((depth - 4) // 6, 16 * width, 32 * width, stride=2)
        self.layer3 = _stage((depth - 4) // 6, 32 * width, 64 * width, stride=2)
        self.bn = nn.BatchNorm2d(64 * width)
        self.relu = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(64 * width, num_classes)
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to logits (B, K)."""
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        logits: Tensor = self.fc(self.pool(self.relu(self.bn(x))).flatten(1))
        return logits


def _stage(blocks: int, in_channels: int, out_channels: int, *, stride: int) -> nn.Sequential:
    stage = nn.Sequential(PreActivation(in_channels, out_channels, stride))
    for _ in range(blocks - 1):
        stage.append(PreActivation(out_channels, out_channels, 1))
    return stage


NETWORKS = {
    f"wrn{depth}_{width}": partial(WideResNet, depth, width)
    for depth in (16, 40)
    for width in (1, 2)
}
