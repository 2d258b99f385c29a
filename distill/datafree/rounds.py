"""Methods that make a batch of images a round and let the student learn on all of them."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from distill.datafree.generator import to_bytes
from distill.datafree.pool import ImagePool
from distill.datafree.purposes import Purpose
from distill.datafree.recipe import Recipe, RoundsRecipe
from distill.datafree.synthesiser import Compute, Moment, Synthesiser, frozen
from distill.methods import Method
from distill.networks import normalise


class Rounds(Synthesiser):
    """One for every `student_steps`, before them, up to `most` images; some or all are made ahead.

    Images are kept in 8 bits, as in a file.
    """

    recipe: RoundsRecipe

    def __init__(self, learner: Method, recipe: Recipe, compute: Compute, folder: Path) -> None:
        super().__init__(learner, recipe, compute, folder)
        self.pool = ImagePool(folder / "pool")

    def prepare(self, moment: Moment) -> dict[str, float]:
        """Make a round's images, where there are fewer rounds than are due.

        Images that are no numbers are not kept: their total is none either.
        """
        if not self.is_slow(moment):
            return {}
        self.begun = self.pool.parts >= max(1, self.recipe.warmup)
        with frozen(self.learner):
            images, made = self.make(moment.generator(Purpose.MAKE))
        if not images.isfinite().all():  # no loss was measured after the last step
            return {**made, "total": math.nan}
        self.pool.add(to_bytes(images, self.teacher.card.input))
        return made

    def is_slow(self, moment: Moment) -> bool:
        """Tell whether a round is due: images are made for minutes."""
        due = moment.step // self.recipe.student_steps + 1
        return self.pool.parts < due and len(self.pool) < self.recipe.most

    def ahead(self, steps: int) -> range:
        """The turns of those rounds that are still to be made before the student's first step."""
        turn = self.recipe.student_steps
        return range(self.pool.parts * turn, self.recipe.ahead(steps) * turn, turn)

    @abstractmethod
    def make(self, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Make a round's images (batch, 3, S, S), normalised; return them and their terms."""

    def images(self, count: int, moment: Moment) -> Tensor:
        """Draw from all rounds."""
        pixels = self.pool.draw(count, moment.generator(Purpose.SHOW))
        return normalise(pixels, self.teacher.card.input, self.compute.device)

    def samples(self, count: int, moment: Moment) -> Iterator[Tensor]:
        """Draw without replacement, (B, S, S, 3) uint8 at a time: all where there are no more."""
        return self.pool.samples(count, moment.generator(Purpose.SHOW), self.recipe.batch)

    def random_targets(self, generator: torch.Generator) -> Tensor:
        """Draw a class for each image of a round: (batch,)."""
        drawn = torch.randint(self.teacher.num_classes, (self.recipe.batch,), generator=generator)
        return drawn.to(self.compute.device)

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps; the images themselves are in files already."""
        return {**super().state(), "parts": self.pool.parts}

    def restore(self, state: dict[str, Any] | None) -> None:
        """Go on from a checkpoint's state; None: begin with an empty pool."""
        super().restore(state)
        self.pool.rewind(state["parts"] if state else 0)
