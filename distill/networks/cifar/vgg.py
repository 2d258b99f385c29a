"""VGG networks (Simonyan and Zisserman 2015) with BatchNorm and one linear layer."""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from distill.networks.cifar.parts import initialise

WIDTHS = (64, 128, 256, 512, 512)
# The literature pools a fourth time at 64 pixels and not at 32: both end in maps of 4x4.
SMALLEST_TO_POOL = 5


class Vgg(nn.Module):
    """Five blocks of 3x3 convolutions, halved in between, then a global average pool.

    The last halving is left out where the map is 4x4 or smaller, as it is for 32-pixel images.
    """

    def __init__(self, depths: tuple[int, int, int, int, int], num_classes: int) -> None:
        super().__init__()
        channels = 3
        self.blocks = nn.ModuleList()
        for width, depth in zip(WIDTHS, depths, strict=True):
            self.blocks.append(_block(channels, width, depth))
            channels = width
        self.halve = nn.MaxPool2d(2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, num_classes)
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to logits (B, K)."""
        first, second, third, fourth, fifth = self.blocks
        x = self.halve(third(self.halve(second(self.halve(first(x))))))
        x = fourth(x)
        x = fifth(self.halve(x) if x.shape[-1] >= SMALLEST_TO_POOL else x)
        logits: Tensor = self.fc(self.pool(x).flatten(1))
        return logits


def _block(in_channels: int, width: int, depth: int) -> nn.Sequential:
    block = nn.Sequential()
    for _ in range(depth):
        block.extend(
            (nn.Conv2d(in_channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        )
        in_channels = width
    return block


NETWORKS = {
    "vgg8": partial(Vgg, (1, 1, 1, 1, 1)),
    "vgg11": partial(Vgg, (1, 1, 2, 2, 2)),
    "vgg13": partial(Vgg, (2, 2, 2, 2, 2)),
}
