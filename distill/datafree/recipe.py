"""What a method that makes its own images is made of: numbers, most of them weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from distill.methods.base import Options


@dataclass(frozen=True)
class Reader:
    """What reads an option that not every recipe reads: another option with one of these values.

    Without values it is one that is above 0.
    """

    option: str
    values: tuple[str, ...] = ()

    def reads(self, recipe: Recipe) -> bool:
        """Tell whether a recipe has what reads the option."""
        found = getattr(recipe, self.option)
        return found in self.values if self.values else bool(found)

    @property
    def wanted(self) -> str:
        """The value that it takes, in words."""
        return f"{self.option} {' or '.join(self.values) or 'above 0'}"


class Weights(Options):
    """L = bn L_bn + oh L_oh + adv L_adv + bal L_bal + act L_act; a weight of 0 costs nothing.

    ``weighed`` are the options that weigh terms of the images; one at least is above 0.
    """

    weighed: ClassVar[tuple[str, ...]] = ("bn", "oh", "adv", "bal", "act")
    bn: NonNegativeFloat = 0.0
    oh: NonNegativeFloat = 0.0
    adv: NonNegativeFloat = 0.0
    bal: NonNegativeFloat = 0.0
    act: NonNegativeFloat = 0.0


class Recipe(Weights):
    """What all of them share.

    ``divergence`` is D of L_adv, ``batch`` the images made at once, ``student_steps`` the steps of
    the student for one of the images'. ``loss`` is what the student learns by: T^2 KL with T the
    ``temperature``, that with ``attention`` times the gap of attention maps, or L1 on logits.

    ``read_by`` says of an option that not every recipe reads what does, or in words why nothing
    can.
    """

    read_by: ClassVar[dict[str, Reader | str]] = {
        "divergence": Reader("adv"),
        "temperature": Reader("loss", ("kl", "attention")),
        "attention": Reader("loss", ("attention",)),
    }
    divergence: Literal["kl", "l1", "js"] = "kl"
    batch: PositiveInt = 256
    student_steps: PositiveInt = 5
    loss: Literal["kl", "attention", "l1"] = "kl"
    temperature: PositiveFloat = 1.0
    attention: NonNegativeFloat = 250.0

    def limit(self, steps: int) -> int | None:  # noqa: ARG002
        """How many different images there are after so many steps; None: as many as wanted."""
        return None

    def fitted(self, steps: int) -> Self:  # noqa: ARG002
        """Return the recipe of a training of so many steps."""
        return self

    def planned(self, steps: int) -> dict[str, int]:
        """What there is to do for the images in so many steps of the student, by name."""
        return {"image_steps": -(-steps // self.student_steps)}

    def why_unread(self, option: str) -> str | None:
        """Why nothing reads an option here, and what to do about it; None where something does."""
        if option not in self.read_by:
            return None
        reader = self.read_by[option]
        if isinstance(reader, str):
            return f"nothing reads it, {reader}: leave it out"
        if reader.reads(self):
            return None
        found = getattr(self, reader.option)
        value = found if isinstance(found, str) else f"{found:g}"
        return (
            f"nothing reads it where {reader.option} is {value}: leave it out, or give "
            f"{reader.wanted} too"
        )


class GeneratorRecipe(Recipe):
    """A generator that learns while the student does.

    ``latent`` is the length of its noise, ``width`` the channels of its last map, ``generator_lr``
    Adam's rate; with ``same_noise`` the student is shown the noise that the generator learned on.
    """

    latent: PositiveInt = 100
    width: PositiveInt = 64
    generator_lr: PositiveFloat = 1e-3
    same_noise: bool = False


class ReplayRecipe(GeneratorRecipe):
    """A generator, and a VAE that remembers what it made: ``replayed`` images a batch.

    ``remembered`` is how many latent vectors are kept, ``kld`` the weight of the VAE's prior.
    """

    replayed: PositiveInt = 128
    remembered: PositiveInt = 4096
    kld: NonNegativeFloat = 1e-5


class RoundsRecipe(Recipe):
    """A batch of images a round, of ``steps`` of their own, until ``most`` are made in all.

    ``warmup`` rounds at least are before the student's first step, or all where L_adv does not ask
    it: the images are then the same whenever they are made.
    """

    read_by: ClassVar[dict[str, Reader | str]] = Recipe.read_by | {"warmup": Reader("adv")}
    steps: PositiveInt
    most: PositiveInt = 51200
    warmup: NonNegativeInt = 0

    def limit(self, steps: int) -> int:
        """The images of all rounds that are due in so many steps of the student."""
        return self.rounds(steps) * self.batch

    def fitted(self, steps: int) -> Self:
        """Return it with a warmup of two thirds of the rounds at most: L_adv counts in the rest."""
        warmup = min(self.warmup, self.rounds(steps) * 2 // 3)
        return self.model_copy(update={"warmup": warmup}) if self.adv else self

    def planned(self, steps: int) -> dict[str, int]:
        """Rounds, those before the student's first step, steps of all rounds, and images."""
        return {
            "image_rounds": self.rounds(steps),
            "image_rounds_before_student": self.ahead(steps),
            "image_steps": self.rounds(steps) * self.steps,
            "images": self.limit(steps),
        }

    def rounds(self, steps: int) -> int:
        """How many there are in so many steps of the student: one for ``student_steps``."""
        return min(-(-steps // self.student_steps), -(-self.most // self.batch))

    def ahead(self, steps: int) -> int:
        """How many of them are before the student's first."""
        due = self.rounds(steps)
        return min(self.warmup, due) if self.adv else due


class InversionRecipe(RoundsRecipe):
    """Pixels that are optimised by Adam at ``pixel_lr``.

    ``tv`` and ``l2`` weigh the total variation and the norm of the images, ``jitter`` is by how
    many pixels they are shifted at most before each step.
    """

    weighed: ClassVar[tuple[str, ...]] = (*Weights.weighed, "tv", "l2")
    steps: PositiveInt = 2000
    pixel_lr: PositiveFloat = 0.05
    tv: NonNegativeFloat = 2.5e-5
    l2: NonNegativeFloat = 3e-8
    jitter: int = Field(default=2, ge=0)


class ContrastRecipe(RoundsRecipe):
    """A new generator a round, which learns with its noise, and a memory bank for contrast.

    ``cr`` weighs the contrast, ``tau`` is its temperature, ``bank`` how many negatives are kept,
    ``embedding`` the length of what is compared. Its L_adv is one of KL, whatever ``divergence``.
    """

    read_by: ClassVar[dict[str, Reader | str]] = RoundsRecipe.read_by | {
        "divergence": "as its L_adv is always KL, where teacher and student agree",
        "tau": Reader("cr"),
        "bank": Reader("cr"),
        "embedding": Reader("cr"),
    }
    weighed: ClassVar[tuple[str, ...]] = (*Weights.weighed, "cr")
    steps: PositiveInt = 500
    latent: PositiveInt = 100
    width: PositiveInt = 64
    generator_lr: PositiveFloat = 1e-3
    cr: NonNegativeFloat = 0.8
    tau: PositiveFloat = 0.2
    bank: PositiveInt = 4096
    embedding: PositiveInt = 128
