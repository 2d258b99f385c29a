"""DeepInversion: the pixels themselves are optimised (Yin et al., CVPR 2020)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from distill.datafree.generator import pixel_range
from distill.datafree.recipe import InversionRecipe
from distill.datafree.rounds import Rounds
from distill.datafree.synthesiser import Terms
from distill.datafree.terms import total_variation


class Inversion(Rounds):
    """From noise, down CE(z_t, y) + bn L_bn + tv TV + l2 ||x||_2, y random; adaptive with adv > 0.

    Each step sees the images rolled by up to `jitter` pixels; after each they are clipped to
    what an image can be. Targets and noise are new each round.
    """

    rate: ClassVar[str] = "pixel_lr"
    recipe: InversionRecipe

    def make(self, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Optimise a batch of images; the terms are those of the last step."""
        recipe, device = self.recipe, self.compute.device
        targets, size = self.random_targets(generator), self.teacher.card.input.size
        least, largest = pixel_range(self.teacher.card.input, device)
        drawn = torch.randn(recipe.batch, 3, size, size, generator=generator).to(device)
        images = drawn.clamp(least, largest).contiguous(memory_format=torch.channels_last)
        optimizer = torch.optim.Adam([images.requires_grad_()], recipe.pixel_lr)
        losses = dict[str, float]()
        for _ in range(recipe.steps):
            with self.compute.autocast():
                shifted = self._jittered(images, generator)
                found = self.terms(shifted, targets) | self._priors(shifted)
            losses = self.descend(found, optimizer)
            with torch.no_grad():
                images.clamp_(least, largest)
        return images.detach(), losses

    def _jittered(self, images: Tensor, generator: torch.Generator) -> Tensor:
        most = self.recipe.jitter
        down, across = torch.randint(-most, most + 1, (2,), generator=generator).tolist()
        return images.roll((down, across), dims=(2, 3))

    def _priors(self, images: Tensor) -> Terms:
        return {
            "tv": self.recipe.tv * total_variation(images),
            "l2": self.recipe.l2 * torch.linalg.vector_norm(images),
        }
