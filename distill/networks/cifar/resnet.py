"""Residual networks for small images (He et al. 2016), built for 32x32 but for any size."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from distill.networks.cifar.parts import conv1, conv3, initialise

Shortcut = Literal["conv", "pad"]


@dataclass(frozen=True)
class Plan:
    """Stem width, the stages' widths and numbers of blocks, and whether blocks are bottlenecks."""

    stem: int
    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    bottleneck: bool = False


def _thin(depth: int, widths: tuple[int, int, int, int] = (16, 16, 32, 64)) -> Plan:
    """Three stages of basic blocks: depth = 6n + 2."""
    return Plan(stem=widths[0], widths=widths[1:], blocks=((depth - 2) // 6,) * 3)


PLANS: dict[str, Plan] = {
    **{f"resnet{depth}": _thin(depth) for depth in (8, 14, 20, 32, 44, 56, 110, 116)},
    **{f"resnet{depth}x4": _thin(depth, (32, 64, 128, 256)) for depth in (8, 32)},
    "resnet110x2": _thin(110, (16, 32, 64, 128)),
    "resnet18": Plan(64, (64, 128, 256, 512), (2, 2, 2, 2)),
    "resnet34": Plan(64, (64, 128, 256, 512), (3, 4, 6, 3)),
    "resnet50": Plan(64, (64, 128, 256, 512), (3, 4, 6, 3), bottleneck=True),
}


class PadShortcut(nn.Module):
    """Option A of the ResNet paper: strided identity with zero channels added on both sides."""

    def __init__(self, extra: int, stride: int) -> None:
        super().__init__()
        self.before, self.after = extra // 2, extra - extra // 2
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C + extra, H / stride, W / stride)."""
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.after))


def _shortcut(in_channels: int, out_channels: int, stride: int, kind: Shortcut) -> nn.Module:
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    if kind == "pad":
        return PadShortcut(out_channels - in_channels, stride)
    return nn.Sequential(conv1(in_channels, out_channels, stride), nn.BatchNorm2d(out_channels))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int, shortcut: Shortcut) -> None:
        super().__init__()
        self.conv1 = conv3(in_channels, width, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv3(width, width)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(in_channels, width, stride, shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, width, H / stride, W / stride)."""
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.downsample(x))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut; the output is four times as wide."""

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int, shortcut: Shortcut) -> None:
        super().__init__()
        out_channels = width * self.expansion
        self.conv1 = conv1(in_channels, width)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv3(width, width, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = conv1(width, out_channels)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample = _shortcut(in_channels, out_channels, stride, shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, 4 width, H / stride, W / stride)."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        return F.relu(self.bn3(self.conv3(out)) + self.downsample(x))


class ResNet(nn.Module):
    """A 3x3 stem without pooling, stages ``layer1`` ..., global average pool, classifier ``fc``."""

    def __init__(self, plan: Plan, num_classes: int, shortcut: Shortcut = "conv") -> None:
        super().__init__()
        if shortcut not in ("conv", "pad"):
            raise ValueError(f"shortcut is 'conv' or 'pad', not {shortcut!r}")
        block = Bottleneck if plan.bottleneck else BasicBlock
        self.conv1 = conv3(3, plan.stem)
        self.bn1 = nn.BatchNorm2d(plan.stem)
        self.stages: list[str] = []
        channels = plan.stem
        for number, (width, depth) in enumerate(zip(plan.widths, plan.blocks, strict=True), 1):
            stage = nn.Sequential()
            for position in range(depth):
                stride = 2 if number > 1 and position == 0 else 1
                stage.append(block(channels, width, stride, shortcut))
                channels = width * block.expansion
            self.stages.append(f"layer{number}")
            self.add_module(self.stages[-1], stage)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, num_classes)
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to logits (B, K)."""
        x = F.relu(self.bn1(self.conv1(x)))
        for stage in self.stages:
            x = self.get_submodule(stage)(x)
        logits: Tensor = self.fc(self.pool(x).flatten(1))
        return logits


NETWORKS = {name: partial(ResNet, plan) for name, plan in PLANS.items()}
