"""What CRD remembers: one teacher's and one student's vector of each image of the pool."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Memory(nn.Module):
    """Unit vectors by an image's place, moving averages of those that were seen (Wu et al. 2018).

    Buffers, so that checkpoints hold them: 2 D + 1 float32 or bool an image.
    """

    teacher: Tensor
    student: Tensor
    seen: Tensor

    def __init__(self, images: int, length: int, momentum: float) -> None:
        super().__init__()
        self._momentum = momentum
        self.register_buffer("teacher", torch.zeros(images, length))
        self.register_buffer("student", torch.zeros(images, length))
        self.register_buffer("seen", torch.zeros(images, dtype=torch.bool))

    @torch.no_grad()
    def update(self, places: Tensor, teacher: Tensor, student: Tensor) -> None:
        """Move the rows of distinct places (B,) towards these unit vectors (B, D)."""
        for rows, vectors in ((self.teacher, teacher), (self.student, student)):
            kept = self._momentum * rows[places] + (1 - self._momentum) * vectors
            rows[places] = F.normalize(kept, dim=1)
        self.seen[places] = True

    def draw(self, count: int, generator: torch.Generator | None) -> Tensor:
        """Places of `count` seen images, drawn with replacement; all where there are no more."""
        seen = self.seen.nonzero().flatten()
        if len(seen) <= count:
            return seen
        chosen = torch.randint(len(seen), (count,), generator=generator)
        return seen[chosen.to(seen.device)]
