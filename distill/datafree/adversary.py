"""A generator that learns beside the student: DAFL, DFAD, ZSKT, DFQ, DDAD differ in weights."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from distill.datafree.generator import Generator
from distill.datafree.purposes import Purpose
from distill.datafree.recipe import GeneratorRecipe, Recipe
from distill.datafree.synthesiser import Compute, Moment, Synthesiser, frozen
from distill.methods import Method

BETAS = (0.5, 0.999)


class Adversary(Synthesiser):
    """One step of the generator, then `student_steps` of the student on fresh noise.

    Of ZSKT (Micaelli and Storkey, NeurIPS 2019), on the same noise: `same_noise`.
    """

    recipe: GeneratorRecipe

    def __init__(self, learner: Method, recipe: Recipe, compute: Compute, folder: Path) -> None:
        super().__init__(learner, recipe, compute, folder)
        latent, width = self.recipe.latent, self.recipe.width
        self.generator = Generator(self.teacher.card.input, latent, width)
        self.to(compute.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizers = [
            torch.optim.Adam(self.generator.parameters(), self.recipe.generator_lr, betas=BETAS)
        ]

    def prepare(self, moment: Moment) -> dict[str, float]:
        """Let the generator learn, where its turn has come."""
        if moment.step % self.recipe.student_steps:
            return {}
        self.begun = moment.step > 0
        noise = self._noise(self.recipe.batch, moment, Purpose.MAKE)
        with frozen(self.learner):
            with self.compute.autocast():
                losses = self.terms(self.generator(noise))
            return self.descend(losses, self.optimizers[0])

    @torch.no_grad()
    def images(self, count: int, moment: Moment) -> Tensor:
        """Make them, as the generator is now."""
        with self.compute.autocast():
            images: Tensor = self.generator(self._noise(count, moment, Purpose.SHOW))
        return images

    def _noise(self, count: int, moment: Moment, purpose: Purpose) -> Tensor:
        if not self.recipe.same_noise:
            return self._drawn(count, moment.generator(purpose))
        turn = moment.step - moment.step % self.recipe.student_steps
        # As many whatever they are for: the first of a larger draw may be others.
        most = max(count, self.recipe.batch)
        return self._drawn(most, Moment(turn, moment.seed).generator(Purpose.MAKE))[:count]

    def _drawn(self, count: int, generator: torch.Generator) -> Tensor:
        return torch.randn(count, self.recipe.latent, generator=generator).to(self.compute.device)
