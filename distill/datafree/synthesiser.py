"""What makes images for the student: once in a while it learns or makes some, then it hands out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from distill.datafree import terms
from distill.datafree.generator import can_double_to, to_bytes
from distill.datafree.purposes import Purpose
from distill.datafree.recipe import Recipe
from distill.draws import step_seed
from distill.methods import Method
from distill.moments import BatchNormTaps, batch_moments, bn_distance
from distill.networks import Network
from index.errors import MethodError, NetworkError

Terms = dict[str, Tensor]


@dataclass(frozen=True)
class Compute:
    """Where and in which precision is computed."""

    device: torch.device
    autocast: Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Moment:
    """A step of the student, from 0, of a run with a seed: all that is random follows from both."""

    step: int
    seed: int

    def generator(self, purpose: Purpose) -> torch.Generator:
        """Return the generator of what is drawn for a purpose at this step."""
        return torch.Generator().manual_seed(step_seed(step_seed(self.seed, self.step), purpose))


class Synthesiser(nn.Module, ABC):
    """Makes images that a frozen teacher recognises, for a student that learns meanwhile.

    The teacher and the student's method are no submodules: ``state()`` holds neither.

    Args:
        learner: what the student learns by; L_adv asks it for the student's logits.
        recipe: the method's numbers.
        compute: device and precision.
        folder: of the run, for what does not belong into a checkpoint.

    Raises:
        MethodError: the recipe compares BatchNorm statistics, and the teacher has none.
    """

    # The option whose rate the images, or their generator, learn with.
    rate: ClassVar[str] = "generator_lr"

    def __init__(self, learner: Method, recipe: Recipe, compute: Compute, folder: Path) -> None:
        super().__init__()
        self.recipe = recipe
        self.compute = compute
        self.folder = folder
        self._hidden = [learner]
        self._taps = batch_norm_taps(learner.teacher) if recipe.bn else None
        self.optimizers: list[torch.optim.Optimizer] = []
        # Before its first step the student's BatchNorm statistics fit nothing: in a deep one,
        # logits of any size would drive the images, and Adam would remember them for long.
        self.begun = True

    @property
    def learner(self) -> Method:
        """What the student learns by."""
        return self._hidden[0]

    @property
    def teacher(self) -> Network:
        """The frozen teacher."""
        return self.learner.teacher

    @abstractmethod
    def prepare(self, moment: Moment) -> dict[str, float]:
        """Do what is due before a step of the student; return the terms, none where nothing is.

        L_adv counts once the student has learned. The student is left as it was: its weights,
        statistics, gradients, and mode.
        """

    def is_slow(self, moment: Moment) -> bool:  # noqa: ARG002
        """Tell whether `prepare` takes long, so that it is worth a checkpoint before and after."""
        return False

    def ahead(self, steps: int) -> range:  # noqa: ARG002
        """Of so many steps, those whose `prepare` need not wait for the student to come so far."""
        return range(0)

    @abstractmethod
    def images(self, count: int, moment: Moment) -> Tensor:
        """Hand out images (B, 3, S, S) for a step, normalised and without gradient.

        B is `count`, or what the recipe adds to it.
        """

    def samples(self, count: int, moment: Moment) -> Iterator[Tensor]:
        """Yield different images, (B, S, S, 3) uint8, as they are shown from then on: `count`.

        Of a larger count the first are the same.
        """
        size, apart = self.recipe.batch, self.recipe.student_steps
        for start in range(0, count, size):
            # Steps so far apart that no two of them share their noise.
            images = self.images(size, Moment(moment.step + start * apart, moment.seed))
            yield to_bytes(images[: min(size, count - start)], self.teacher.card.input)

    def terms(self, images: Tensor, targets: Tensor | None = None) -> Terms:
        """The weighted terms of images (B, 3, S, S), with gradients to them.

        Args:
            images: normalised.
            targets: (B,), the classes that are asked for; None is the teacher's own of each image.
        """
        weights, found = self.recipe, Terms()
        if self._taps is None:
            seen = self.teacher.outputs(images)
        else:
            with self._taps:
                seen = self.teacher.outputs(images)
                found["bn"] = weights.bn * torch.stack(self._taps.latest()).sum()
        logits = seen.logits.float()
        if weights.oh:
            wanted = logits.argmax(1) if targets is None else targets
            found["oh"] = weights.oh * nn.functional.cross_entropy(logits, wanted)
        if weights.bal:
            found["bal"] = weights.bal * terms.balance(logits)
        if weights.act:
            found["act"] = weights.act * terms.activation(seen.penultimate)
        if weights.adv:
            asked = self.adversarial(logits, images) if self.begun else 0 * logits.mean()
            found["adv"] = weights.adv * asked
        return {**found, **self.more_terms(images, seen.penultimate)}

    def adversarial(self, teacher_logits: Tensor, images: Tensor) -> Tensor:
        """L_adv, of the student as it would be deployed."""
        student_logits = self.learner.student_logits(images)
        return terms.adversarial(teacher_logits, student_logits, self.recipe.divergence)

    def more_terms(self, images: Tensor, penultimate: Tensor) -> Terms:  # noqa: ARG002
        """Terms of a method's own, weighted: none."""
        return {}

    def descend(self, losses: Terms, optimizer: torch.optim.Optimizer) -> dict[str, float]:
        """Take a step down the sum of these terms; return them and their sum."""
        total = torch.stack(list(losses.values())).sum()
        optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return {"total": total.item(), **{name: value.item() for name, value in losses.items()}}

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, to go on to the last bit."""
        return {
            "module": self.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }

    def restore(self, state: dict[str, Any] | None) -> None:
        """Go on from a checkpoint's state; None: begin anew, whatever lies in the folder."""
        if state is None:
            return
        self.load_state_dict(state["module"])
        for optimizer, stored in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(stored)


@contextmanager
def frozen(learner: Method) -> Iterator[None]:
    """Let gradients pass through the student to the images and leave no trace in it.

    It is in eval mode, as it would be deployed, so that its statistics stay those of its own steps.
    """
    modes = {part: part.training for part in learner.modules()}
    trained = [one for one in learner.parameters() if one.requires_grad]
    learner.eval()
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
        for part, training in modes.items():
            part.training = training


def batch_norm_taps(teacher: Network, *, published: bool = True) -> BatchNormTaps[Tensor]:
    """Return taps that measure L_bn, a value a layer, of a batch.

    Args:
        teacher: whose statistics are compared.
        published: whether the method has L_bn of its own, not by an option alone.

    Raises:
        MethodError: the teacher has no BatchNorm statistics.
    """
    try:
        return BatchNormTaps(teacher, bn_distance, batch_moments)
    except NetworkError as error:
        raise MethodError(f"{error}, {_without_statistics(teacher, published)}") from error


def _without_statistics(teacher: Network, published: bool) -> str:
    """What helps a teacher that has none: another method only where that takes its images."""
    if not published:
        return "and --option bn compares its statistics: leave bn out"
    takes = can_double_to(teacher.card.input.size)
    others = ", or use dafl, dfad or pre, which need none" if takes else ""
    return (
        "and this method makes its images by its statistics: leave that term out with --option "
        f"bn=0{others}"
    )
