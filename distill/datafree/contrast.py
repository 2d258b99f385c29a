"""CMI: a round's images are to differ from all that were made before (Fang et al., IJCAI 2021)."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor, nn

from distill.augment import crop_flip, resized_crop_flip
from distill.datafree import terms
from distill.datafree.adversary import BETAS
from distill.datafree.generator import Generator
from distill.datafree.recipe import ContrastRecipe, Recipe
from distill.datafree.rounds import Rounds
from distill.datafree.synthesiser import Compute, Terms
from distill.draws import Draws
from distill.methods import Method


class Contrast(Rounds):
    """bn L_bn + oh CE(z_t, y) - adv mean 1[agree] KL + cr InfoNCE(local crop, global crop).

    Each round has a new generator; its weights and its noise are optimised, and the batch with the
    least loss is kept. The crops are compared by the teacher's penultimate vectors behind two
    linear layers that learn along and stay; the bank holds vectors of the images that were kept.
    """

    recipe: ContrastRecipe
    bank: Tensor
    seen: Tensor

    def __init__(self, learner: Method, recipe: Recipe, compute: Compute, folder: Path) -> None:
        super().__init__(learner, recipe, compute, folder)
        length = self.teacher.classifier.in_features
        self.head = nn.Sequential(
            nn.Linear(length, self.recipe.embedding),
            nn.ReLU(),
            nn.Linear(self.recipe.embedding, self.recipe.embedding),
        )
        self.register_buffer("bank", torch.zeros(self.recipe.bank, length))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self._generator = torch.Generator()
        self.to(compute.device)
        self.optimizers = [
            torch.optim.Adam(self.head.parameters(), self.recipe.generator_lr, betas=BETAS)
        ]

    def make(self, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Optimise a new generator and its noise; return the best batch and its terms."""
        recipe, self._generator = self.recipe, generator
        targets = self.random_targets(generator)
        drawn = torch.randn(recipe.batch, recipe.latent, generator=generator)
        noise = drawn.to(self.compute.device).requires_grad_()
        painter = self._painter()
        optimizer = torch.optim.Adam(
            [noise, *painter.parameters()], recipe.generator_lr, betas=BETAS
        )
        best, kept, least = drawn, dict[str, float](), math.inf
        for _ in range(recipe.steps):
            with self.compute.autocast():
                images = painter(noise)
                found = self.terms(images, targets)
            losses = self.descend(found, optimizer)
            self._learn_head()
            if losses["total"] < least or not kept:
                best, kept, least = images.detach().clone(), losses, losses["total"]
        self._remember(best)
        return best, kept

    def adversarial(self, teacher_logits: Tensor, images: Tensor) -> Tensor:
        """L_adv on those images whose class teacher and student agree on."""
        return terms.agreed_divergence(teacher_logits, self.learner.student_logits(images))

    def more_terms(self, images: Tensor, penultimate: Tensor) -> Terms:  # noqa: ARG002
        """The contrast of two crops of each image, and with what is in the bank."""
        if not self.recipe.cr:
            return {}
        local = resized_crop_flip(images, Draws(self._generator))
        whole = crop_flip(images, Draws(self._generator))
        crops = self.teacher.outputs(torch.cat([local, whole])).penultimate.float()
        first, second = self.head(crops).chunk(2)
        known = self.bank[: min(int(self.seen), len(self.bank))]
        contrast = terms.info_nce(first, second, self.head(known), self.recipe.tau)
        return {"cr": self.recipe.cr * contrast}

    def _painter(self) -> Generator:
        """A generator as at its start; its weights follow from the round's draws."""
        spec, recipe = self.teacher.card.input, self.recipe
        with torch.random.fork_rng(devices=[]):
            seed = torch.randint(2**62, (1,), generator=self._generator)
            torch.manual_seed(int(seed))
            painter = Generator(spec, recipe.latent, recipe.width)
        return painter.to(self.compute.device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]

    def _learn_head(self) -> None:
        """What the images' step left in the head's gradients is its own step, too."""
        self.optimizers[0].step()
        self.optimizers[0].zero_grad(set_to_none=True)

    @torch.no_grad()
    def _remember(self, images: Tensor) -> None:
        """Of the kept images' global crops; the latest take the place of the oldest."""
        with self.compute.autocast():
            seen = self.teacher.outputs(crop_flip(images, Draws(self._generator)))
        vectors = seen.penultimate.float()[-len(self.bank) :]
        places = (self.seen + torch.arange(len(vectors), device=vectors.device)) % len(self.bank)
        self.bank[places] = vectors
        self.seen += len(vectors)
