"""What a distillation method is: a loss between a frozen teacher and a student that learns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Self

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor, nn

from distill.networks.network import Network
from distill.schedule import SCHEDULES
from index.errors import MethodError, UsageError


@dataclass(frozen=True)
class Batch:
    """What a loss is computed of: B images of the pool, at a moment of the training.

    Args:
        images: (B, 3, S, S), normalised by the input spec that both networks share.
        weights: (B,), the weight of each image.
        places: (B,) int64, the place of each image in the pool, for what is remembered of it;
            None where there is no pool.
        epoch: from 1.
        generator: of what is random in the loss.
        teacher_logits: (B, K), where they are known already.
    """

    images: Tensor
    weights: Tensor
    places: Tensor | None = None
    epoch: int = 1
    generator: torch.Generator | None = None
    teacher_logits: Tensor | None = None


class Losses(NamedTuple):
    """What a batch costs, and what its student said on the way; a tuple, for DDP to look into.

    Args:
        total: a scalar, to be minimised.
        terms: the scalars that it is made of, by name.
        logits: the student's (B, K) of the batch's images as they came, which rounds reuse; None
            where the method computes none.
    """

    total: Tensor
    terms: Mapping[str, Tensor]
    logits: Tensor | None = None

    @classmethod
    def of(cls, found: Any) -> Losses:
        """Take what a method returned: a mapping of ``total`` and terms is as good, less logits.

        Raises:
            MethodError: there is no total in it.
        """
        if isinstance(found, Losses):
            return found
        if not isinstance(found, Mapping) or "total" not in found:
            raise MethodError(
                f"the method's loss returns {type(found).__name__} without a total: return "
                "kdcurate's Losses, or a mapping with 'total'"
            )
        return cls(found["total"], {name: one for name, one in found.items() if name != "total"})

    def scalars(self) -> dict[str, Tensor]:
        """Return total and terms in float32, detached."""
        found = {"total": self.total, **self.terms}
        return {name: scalar.detach().float() for name, scalar in found.items()}


@dataclass(frozen=True)
class TrainDefaults:
    """Optimiser (SGD) and schedule that a method was published with.

    ``schedule`` is a name of ``distill.schedule``.
    """

    lr: float
    momentum: float
    weight_decay: float
    schedule: Literal["step", "two-step", "cosine", "onecycle"]

    def rate(self, progress: float, lr: float | None, schedule: str | None) -> float:
        """Return the learning rate at a share of the training; None: the method's own."""
        return (lr or self.lr) * SCHEDULES[schedule or self.schedule](progress)


# What the comparisons since CRD (Tian et al., ICLR 2020) train all methods with, for 240 epochs.
COMPARED = TrainDefaults(lr=0.05, momentum=0.9, weight_decay=5e-4, schedule="step")


class Options(BaseModel):
    """Base of a method's options; unknown ones are refused, and numbers that are not finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def refused_option(method: str, options: type[Options], error: ValidationError) -> str:
    """Return what is wrong with the first option that a method refused, and those it has."""
    problem = error.errors()[0]
    path, reason, given = problem["loc"], problem["msg"], problem["input"]
    option, known = str(path[0]) if path else "", options.model_fields
    listed = f"(its options: {', '.join(known) or 'none'})"
    if option and option not in known:
        return f"method {method} has no option '{option}' {listed}"
    return f"method {method}, option '{option}': {reason}, not {given!r} {listed}"


class Method(nn.Module, ABC):
    """A loss with what it trains: its parameters that require a gradient.

    The teacher is frozen and in eval mode. It moves with the method but is no submodule, so that
    neither ``parameters()`` nor ``state_dict()`` holds it.

    Args:
        teacher: puts out K logits.
        student: puts out K logits too, and takes the teacher's input.
        options: of this method, as named in its ``Options``.

    Raises:
        UsageError: an unknown option or a bad value.
        MethodError: the networks do not fit each other or the method.
        NetworkError: the student cannot be trained.
    """

    name: ClassVar[str]
    defaults: ClassVar[TrainDefaults]
    options_type: ClassVar[type[Options]] = Options
    # Whether processes may share a batch: what they remember of images, each keeps for itself.
    divides: ClassVar[bool] = True
    # Whether the loss reads nothing of the networks but logits, the teacher's by `wanted_logits`.
    logits_only: ClassVar[bool] = False

    def __init__(
        self, teacher: Network, student: Network, options: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__()
        self.options = self.parse_options(options or {})
        self._check_fit(teacher, student)
        student.check_trains()
        self.student = student
        # A list hides the teacher from nn.Module, which registers every module it is given.
        self._hidden = [teacher.requires_grad_(False).eval()]

    def check_part(self, images: int) -> None:
        """Check that the student trains on so many images at once.

        Raises:
            NetworkError: on one image it does not, as with BatchNorm on a map of one pixel.
        """
        if images == 1:
            self.student.check_trains(images)

    @property
    def teacher(self) -> Network:
        """The frozen teacher."""
        return self._hidden[0]

    @classmethod
    def parse_options(cls, options: Mapping[str, Any]) -> Options:
        """Check options by name, type and value.

        Raises:
            UsageError: it names the first that is wrong, and those there are.
        """
        try:
            return cls.options_type.model_validate(dict(options))
        except ValidationError as error:
            raise UsageError(cls._refusal(error)) from error

    @classmethod
    def _refusal(cls, error: ValidationError) -> str:
        first = error.errors()[0]
        path, given = first["loc"], first["input"]
        if path[:1] == ("without",) and "without" not in cls.options_type.model_fields:
            return f"--without is kd3's: {cls.name} has no parts to leave out"
        if path == ("without",):
            return f"--option without={given}: parts are left out with `distill --without PART`"
        if path[:1] == ("without",) and first["type"] == "literal_error":
            return f"--without {given} is no part of {cls.name}: give {first['ctx']['expected']}"
        return refused_option(cls.name, cls.options_type, error)

    @classmethod
    def selects_once(cls, options: Options) -> bool:  # noqa: ARG003
        """Whether these options forbid that rounds re-select while it trains."""
        return False

    def prepare(self, pool: int) -> None:  # noqa: B027
        """Take note of the pool's number of images, once, before the training.

        For a method that remembers something of each image: a buffer, so that checkpoints hold it.
        """

    def own_optimizer(self) -> torch.optim.Optimizer | None:
        """Return the optimiser of those parameters that the run's SGD shall leave alone.

        It steps after every batch at its own rate, whatever ``--lr`` and ``--schedule`` say, and
        checkpoints hold its state. None, the default, leaves all to the run's.
        """
        return None

    @abstractmethod
    def loss(self, batch: Batch) -> Losses:
        """Compute the loss of a batch.

        The means over the batch are sums of weight times loss over B: weights of 1 change
        nothing, and an image of weight 0 gives no gradient.

        A third party's method may return a mapping of ``total`` and terms instead.
        """

    def wanted_logits(self, batch: Batch) -> Tensor:
        """Return the teacher's logits (B, K): those that are known already, or what it says now."""
        if batch.teacher_logits is not None:
            return batch.teacher_logits
        with torch.no_grad():
            return self.teacher.read(batch.images)[0]

    def watched(self) -> tuple[set[str], set[str]]:
        """Return the paths below teacher's and student's ``module`` that the loss reads by hooks.

        By default what ``Network.outputs`` reads; `--compile` leaves those modules as they are.
        """
        if self.logits_only:
            return set(), set()
        return tapped(self.teacher), tapped(self.student)

    def student_logits(self, images: Tensor) -> Tensor:
        """Logits (B, K) of what would be deployed."""
        logits: Tensor = self.student(images)
        return logits

    def deployed(self) -> Network:
        """Return the student as one network, with the teacher's class names on its card."""
        classes = self.teacher.card.classes
        card = self.student.card.model_copy(
            update={"classes": classes, "num_classes": self.student.num_classes, "weights": None}
        )
        return Network(self.student.module, card)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move or cast the teacher together with the method, as ``.to()`` does."""
        self.teacher._apply(fn, recurse)  # type: ignore[no-untyped-call]
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def _check_fit(self, teacher: Network, student: Network) -> None:
        if teacher.num_classes < 2:
            raise MethodError(
                f"method {self.name}: the teacher {teacher.card.architecture} has one class, so it "
                "says the same of every image: take one with two or more"
            )
        if teacher.num_classes != student.num_classes:
            raise MethodError(
                f"method {self.name}: the teacher has {teacher.num_classes} classes, the student "
                f"{student.num_classes}; build the student with the teacher's number"
            )
        if teacher.card.input != student.card.input:
            raise MethodError(
                f"method {self.name}: teacher and student expect different inputs; build the "
                "student with the teacher's [input]"
            )


def tapped(network: Network) -> set[str]:
    """Paths of the modules that ``Network.outputs`` reads."""
    return {path for path in (network.taps.classifier, network.taps.features) if path is not None}
