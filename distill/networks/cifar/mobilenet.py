"""MobileNetV2 (Sandler et al. 2018) for small images: half as wide, two strides fewer.

As the literature on distillation has it: the second stage does not halve the image, and the first
block, whose expansion is 1, has its 1x1 convolution all the same.
"""

from __future__ import annotations

from torch import Tensor, nn

from distill.networks.cifar.parts import conv1, conv3, initialise

# Output channels at full width, number of blocks and first stride of each stage.
STAGES = ((16, 1, 1), (24, 2, 1), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1))
STEM, LAST = 32, 1280


class InvertedResidual(nn.Module):
    """1x1 expansion, 3x3 depthwise and 1x1 linear projection, added to the input where it fits."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = in_channels * expansion
        self.conv = nn.Sequential(
            *_active(conv1(in_channels, hidden)),
            *_active(conv3(hidden, hidden, stride, groups=hidden)),
            conv1(hidden, out_channels),
            nn.BatchNorm2d(out_channels),
        )
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, out_channels, H / stride, W / stride)."""
        out: Tensor = self.conv(x)
        return x + out if self.residual else out


class MobileNetV2(nn.Module):
    """A stem of stride 2, seven stages in ``blocks``, a 1x1 convolution ``last``, global pool.

    ``width`` scales the channels, but never the last 1,280 down.
    """

    def __init__(self, num_classes: int, width: float = 0.5, expansion: int = 6) -> None:
        super().__init__()
        channels, last = int(STEM * width), int(LAST * max(width, 1))
        self.stem = nn.Sequential(*_active(conv3(3, channels, 2)))
        self.blocks = nn.Sequential()
        for number, (full, depth, first) in enumerate(STAGES):
            for position in range(depth):
                out, stride = int(full * width), first if position == 0 else 1
                factor = expansion if number > 0 else 1
                self.blocks.append(InvertedResidual(channels, out, stride, factor))
                channels = out
        self.last = nn.Sequential(*_active(conv1(channels, last)))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(last, num_classes)
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to logits (B, K)."""
        x = self.last(self.blocks(self.stem(x)))
        logits: Tensor = self.fc(self.pool(x).flatten(1))
        return logits


def _active(conv: nn.Conv2d) -> tuple[nn.Module, ...]:
    return conv, nn.BatchNorm2d(conv.out_channels), nn.ReLU6()


NETWORKS = {"mobilenet_v2": MobileNetV2}
