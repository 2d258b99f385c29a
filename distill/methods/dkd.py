"""DKD: decoupled knowledge distillation (Zhao et al., CVPR 2022)."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat
from torch import Tensor
from torch.nn import functional as F

from distill.methods.base import COMPARED, Batch, Losses, Method, Options, TrainDefaults
from distill.methods.kd import hard_loss


class DKDOptions(Options):
    """Weights ``alpha``, ``beta`` and ``hard``, ``temperature`` T, and ``warmup`` in epochs."""

    alpha: NonNegativeFloat = 1.0
    beta: NonNegativeFloat = 8.0
    temperature: PositiveFloat = 4.0
    hard: NonNegativeFloat = 1.0
    warmup: NonNegativeInt = 20


class DKD(Method):
    """L = hard CE(z_s, c) + min(epoch / 20, 1) (alpha TCKD + beta NCKD), c = argmax z_t.

    TCKD = T^2 KL((p_c, 1 - p_c)_t || (p_c, 1 - p_c)_s) and NCKD = T^2 KL(p^_t || p^_s), where
    p = softmax(z / T) and p^ is p among the classes other than c. The paper's c is the true class;
    web images have none, so the teacher's stands for it, in CE too.
    """

    name: ClassVar[str] = "dkd"
    defaults: ClassVar[TrainDefaults] = COMPARED
    options_type: ClassVar[type[Options]] = DKDOptions
    logits_only: ClassVar[bool] = True
    options: DKDOptions

    def loss(self, batch: Batch) -> Losses:
        """Compute ``total`` and its terms ``target``, ``other``, ``hard``; see ``Method.loss``."""
        options = self.options
        wanted = self.wanted_logits(batch)
        logits = self.student(batch.images)
        labels = wanted.argmax(1)
        target, other = decoupled(wanted, logits, labels, options.temperature)
        target, other = (batch.weights * target).mean(), (batch.weights * other).mean()
        hard = (batch.weights * hard_loss(wanted, logits)).mean()
        share = min(batch.epoch / options.warmup, 1.0) if options.warmup else 1.0
        total = options.hard * hard + share * (options.alpha * target + options.beta * other)
        return Losses(total, {"target": target, "other": other, "hard": hard}, logits)


def decoupled(
    teacher: Tensor, student: Tensor, labels: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """TCKD and NCKD of logits (B, K) and the target classes (B,): (B,) each.

    With p_c the teacher's, TCKD + (1 - p_c) NCKD is the divergence that ``kd`` minimises.
    """
    targets = F.one_hot(labels, teacher.shape[1]).bool()
    binary_t, others_t = _split(teacher.float() / temperature, targets)
    binary_s, others_s = _split(student.float() / temperature, targets)
    scale = temperature**2
    return scale * _divergence(binary_t, binary_s), scale * _divergence(others_t, others_s)


def _split(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities of target and rest (B, 2), and of the others among themselves (B, K-1)."""
    others = logits[~targets].view(len(logits), -1)
    binary = torch.stack([logits[targets], others.logsumexp(1)], dim=1)
    return binary.log_softmax(1), others.log_softmax(1)


def _divergence(wanted: Tensor, found: Tensor) -> Tensor:
    return F.kl_div(found, wanted, reduction="none", log_target=True).sum(1)
