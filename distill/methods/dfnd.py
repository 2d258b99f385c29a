"""DFND: learning students in the wild from noisy teacher labels (Chen et al., CVPR 2021)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor, nn

from distill.methods.base import Batch, Losses, Method, Options, TrainDefaults
from distill.methods.kd import soft_divergence
from distill.networks.network import Network


class DFNDOptions(Options):
    """``accuracy`` A of the teacher on its own kind of images; ``temperature`` T; V's rate."""

    accuracy: float = Field(default=0.95, gt=0, lt=1)
    temperature: PositiveFloat = 4.0
    noise_lr: PositiveFloat = 1e-3


class DFND(Method):
    """L = T^2 KL(softmax(z_t / T) || softmax(z_s / T)) - log (softmax(z_s) Q)_c, c = argmax z_t.

    The teacher's class c is a noisy label. Q (K, K) says how likely the true class k is taken for
    j: Q_kk = A, Q_kj = (1 - A) softmax(V_k)_j over the other classes. V (K, K - 1) starts at 0,
    all errors alike, and is learned with the student by an Adam of its own at 1e-3. The paper
    selects its images once, by the teacher's largest probability: strategy ``dfnd``.
    """

    name: ClassVar[str] = "dfnd"
    defaults: ClassVar[TrainDefaults] = TrainDefaults(
        lr=0.1, momentum=0.9, weight_decay=5e-4, schedule="two-step"
    )
    options_type: ClassVar[type[Options]] = DFNDOptions
    logits_only: ClassVar[bool] = True
    options: DFNDOptions

    def __init__(
        self, teacher: Network, student: Network, options: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(teacher, student, options)
        classes = student.num_classes
        self.confusions = nn.Parameter(torch.zeros(classes, classes - 1))

    def own_optimizer(self) -> torch.optim.Optimizer:
        """Adam for V: the student's rate is a hundred times too large for it."""
        return torch.optim.Adam([self.confusions], lr=self.options.noise_lr)

    def loss(self, batch: Batch) -> Losses:
        """Compute ``total`` and its terms ``kl`` and ``noisy``; see ``Method.loss``."""
        wanted = self.wanted_logits(batch)
        logits = self.student(batch.images)
        kl = (batch.weights * soft_divergence(wanted, logits, self.options.temperature)).mean()
        noise = noise_matrix(self.confusions, self.options.accuracy)
        noisy = (batch.weights * noisy_loss(logits, noise, wanted.argmax(1))).mean()
        return Losses(kl + noisy, {"kl": kl, "noisy": noisy}, logits)


def noise_matrix(confusions: Tensor, accuracy: float) -> Tensor:
    """Q (K, K) of V (K, K - 1): `accuracy` on the diagonal, rows that sum to 1."""
    classes = len(confusions)
    others = ~torch.eye(classes, dtype=torch.bool, device=confusions.device)
    errors = (1 - accuracy) * confusions.float().softmax(1)
    diagonal = accuracy * torch.eye(classes, device=confusions.device)
    return diagonal.masked_scatter(others, errors)


def noisy_loss(logits: Tensor, noise: Tensor, labels: Tensor) -> Tensor:
    """-log (softmax(z_s) Q)_c of logits (B, K) and labels c (B,), in nats: (B,).

    Summed as logarithms, so that a student far from its label gets a finite loss.
    """
    joint = logits.float().log_softmax(1) + noise.log().T[labels]
    return -joint.logsumexp(1)
