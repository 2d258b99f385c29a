"""What the student learns by on images that were made: a method like any other."""

from __future__ import annotations

from typing import ClassVar

from distill.datafree.recipe import Recipe
from distill.datafree.terms import l1_distance
from distill.methods import Batch, Losses, Method, TrainDefaults
from distill.methods.at import AT
from distill.methods.kd import KD
from distill.networks import Network

# The optimiser that the comparisons since CMI (Fang et al., IJCAI 2021) train all students with.
STUDENT = TrainDefaults(lr=0.1, momentum=0.9, weight_decay=1e-4, schedule="cosine")


class L1(Method):
    """L = mean |z_s - z_t| (DFAD, Fang et al., 2019)."""

    name: ClassVar[str] = "l1"
    defaults: ClassVar[TrainDefaults] = STUDENT
    logits_only: ClassVar[bool] = True

    def loss(self, batch: Batch) -> Losses:
        """Compute ``total`` and its one term ``l1``; see ``Method.loss``."""
        logits = self.student(batch.images)
        distance = l1_distance(self.wanted_logits(batch), logits)
        total = (batch.weights * distance).mean()
        return Losses(total, {"l1": total}, logits)


def make_learner(recipe: Recipe, teacher: Network, student: Network) -> Method:
    """Return the student's loss of a recipe.

    Raises:
        MethodError: the networks do not fit each other, or have no maps to compare.
    """
    match recipe.loss:
        case "l1":
            return L1(teacher, student)
        case "attention":  # AT halves its beta
            options = {"beta": 2 * recipe.attention, "temperature": recipe.temperature}
            return AT(teacher, student, options)
        case "kl":
            return KD(teacher, student, {"temperature": recipe.temperature})
