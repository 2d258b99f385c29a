"""Knowledge distillation on logits (Hinton, Vinyals and Dean 2015)."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, PositiveFloat
from torch import Tensor
from torch.nn import functional as F

from distill.methods.base import Batch, Losses, Method, Options, TrainDefaults


class KDOptions(Options):
    """``temperature`` T, and the share ``hard`` (0 to 1) of the teacher's hard labels."""

    temperature: PositiveFloat = 4.0
    hard: float = Field(default=0.0, ge=0, le=1)


class KD(Method):
    """L = (1 - hard) T^2 KL(softmax(z_t / T) || softmax(z_s / T)) + hard CE(z_s, argmax z_t)."""

    name: ClassVar[str] = "kd"
    defaults: ClassVar[TrainDefaults] = TrainDefaults(
        lr=0.05, momentum=0.9, weight_decay=5e-4, schedule="cosine"
    )
    options_type: ClassVar[type[Options]] = KDOptions
    logits_only: ClassVar[bool] = True
    options: KDOptions

    def loss(self, batch: Batch) -> Losses:
        """Compute ``total`` and its terms ``kl`` and ``hard``; see ``Method.loss``."""
        wanted = self.wanted_logits(batch)
        logits = self.student(batch.images)
        kl = (batch.weights * soft_divergence(wanted, logits, self.options.temperature)).mean()
        hard = (batch.weights * hard_loss(wanted, logits)).mean()
        share = self.options.hard
        return Losses((1 - share) * kl + share * hard, {"kl": kl, "hard": hard}, logits)


def soft_divergence(teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
    """T^2 KL(softmax(z_t / T) || softmax(z_s / T)) of logits (B, K), one value an image: (B,).

    T^2 keeps the gradient's size when T changes (Hinton et al. 2015, sec. 2).
    """
    wanted = F.log_softmax(teacher.float() / temperature, dim=1)
    found = F.log_softmax(student.float() / temperature, dim=1)
    divergence = F.kl_div(found, wanted, reduction="none", log_target=True).sum(1)
    return divergence * temperature**2


def hard_loss(teacher: Tensor, student: Tensor) -> Tensor:
    """CE(z_s, argmax z_t) of logits (B, K), the teacher's class as label: (B,)."""
    return F.cross_entropy(student.float(), teacher.argmax(1), reduction="none")
