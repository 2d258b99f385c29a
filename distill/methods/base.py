"""What a distillation method is: a loss between a frozen teacher and a student that learns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor, nn

from distill.networks.network import Network
from index.errors import MethodError, UsageError

Losses = dict[str, Tensor]


@dataclass(frozen=True)
class TrainDefaults:
    """Optimiser (SGD) and schedule that a method was published with.

    ``step`` multiplies the rate by 0.1 at 150/240, 180/240 and 210/240 of the training.
    """

    lr: float
    momentum: float
    weight_decay: float
    schedule: Literal["step", "cosine", "onecycle"]


class Options(BaseModel):
    """Base of a method's options; unknown ones are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


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
    """

    name: ClassVar[str]
    defaults: ClassVar[TrainDefaults]
    options_type: ClassVar[type[Options]] = Options

    def __init__(
        self, teacher: Network, student: Network, options: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__()
        self._parse_options(options or {})
        self._check_fit(teacher, student)
        self.student = student
        # A list hides the teacher from nn.Module, which registers every module it is given.
        self._hidden = [teacher.requires_grad_(False).eval()]

    @property
    def teacher(self) -> Network:
        """The frozen teacher."""
        return self._hidden[0]

    @abstractmethod
    def loss(
        self, images: Tensor, weights: Tensor, generator: torch.Generator | None = None
    ) -> Losses:
        """Compute the loss of a batch.

        Args:
            images: (B, 3, S, S), normalised by the input spec that both networks share.
            weights: (B,), the weight of each image; the means over the batch are sums of
                weight times loss over B, so that weights of 1 change nothing.
            generator: of what is random in the loss.

        Returns:
            Scalars: ``total``, to be minimised, and the terms that it is made of.
        """

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

    def _parse_options(self, options: Mapping[str, Any]) -> None:
        try:
            self.options = self.options_type.model_validate(dict(options))
        except ValidationError as error:
            problem = error.errors()[0]
            key = ".".join(str(part) for part in problem["loc"])
            known = ", ".join(self.options_type.model_fields) or "none"
            raise UsageError(
                f"method {self.name}, option '{key}': {problem['msg']} (its options: {known})"
            ) from error

    def _check_fit(self, teacher: Network, student: Network) -> None:
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
