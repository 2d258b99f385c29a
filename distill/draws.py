"""Random numbers for the images of a step, the same however the step is divided."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Draws:
    """What a step draws for its images, of which `part` of so many equal `parts` is used here.

    The numbers are drawn for all images of the step: each gets the same ones whether one process
    takes them all, or several take a part each.
    """

    generator: torch.Generator
    part: int = 0
    parts: int = 1

    def uniform(self, *shape: int) -> Tensor:
        """Draw from [0, 1); the last dimension counts the images of this part."""
        drawn = torch.rand(self._whole(shape), generator=self.generator)
        return self._own(drawn, shape[-1])

    def integers(self, high: int, *shape: int) -> Tensor:
        """Draw from 0 to `high` - 1; the last dimension counts the images of this part."""
        drawn = torch.randint(high, self._whole(shape), generator=self.generator)
        return self._own(drawn, shape[-1])

    def _whole(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape[:-1], shape[-1] * self.parts)

    def _own(self, drawn: Tensor, count: int) -> Tensor:
        return drawn[..., self.part * count : (self.part + 1) * count]


def step_seed(seed: int, step: int, part: int = 0) -> int:
    """Return the seed of a step, a function of the run's seed and the step's number only.

    `part` is for what is drawn in one part of the step alone; the first has the step's own.
    """
    name = f"{seed}/{step}/{part}" if part else f"{seed}/{step}"
    digest = hashlib.sha256(name.encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
