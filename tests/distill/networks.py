"""Convolutional networks with stages, small enough to be traced in a moment."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class Inverted(nn.Module):
    """An inverted residual: widened at the input's resolution, narrowed at the output's."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(before, 3 * before, 1)
        self.depthwise = nn.Conv2d(3 * before, 3 * before, 3, stride, 1, groups=3 * before)
        self.project = nn.Conv2d(3 * before, after, 1)

    def forward(self, x: Tensor) -> Tensor:
        narrowed: Tensor = self.project(F.relu6(self.depthwise(F.relu6(self.expand(x)))))
        return narrowed


class Stacked(nn.Module):
    """Stages of two inverted residuals; all but the first start at half of the resolution."""

    def __init__(self, widths: tuple[int, ...], classes: int = 3, first: int = 1) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, widths[0], 3, first, 1)
        channels, self.depth = widths[0], len(widths)
        for number, width in enumerate(widths, 1):
            blocks = [
                Inverted(channels, width, 2 if number > 1 else 1),
                Inverted(width, width, 1),
            ]
            self.add_module(f"stage{number}", nn.Sequential(*blocks))
            channels = width
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for number in range(1, self.depth + 1):
            x = self.get_submodule(f"stage{number}")(x)
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits
