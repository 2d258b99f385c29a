"""CRD: contrastive representation distillation (Tian, Krishnan and Isola, ICLR 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from distill.methods.base import COMPARED, Batch, Losses, Method, Options, TrainDefaults
from distill.methods.kd import soft_divergence
from distill.methods.memory import Memory
from distill.networks.network import Network
from index.errors import MethodError


class CRDOptions(Options):
    """``beta`` of the contrast and its settings; ``temperature`` T is the divergence's.

    ``tau`` divides cosines, ``embedding`` is the vectors' length, ``negatives`` N are drawn a
    step, ``momentum`` is the share of an image's old vector that the memory keeps.
    """

    beta: NonNegativeFloat = 0.8
    temperature: PositiveFloat = 4.0
    tau: PositiveFloat = 0.07
    embedding: PositiveInt = 128
    negatives: PositiveInt = 16384
    momentum: float = Field(default=0.5, ge=0, lt=1)


class CRD(Method):
    """L = T^2 KL + beta (L_s + L_t), L = -log h(t_i, s_i) - sum over N others of log (1 - h).

    t and s are unit vectors, linear in the penultimate features; h(t, s) = e^(ts / tau) /
    (e^(ts / tau) + c N) says whether the two are of one image. L_s compares the student's vector
    with the teacher's of other images, L_t the reverse; those come from a memory with a row for
    each image of the pool. c, the mean of e^(ts / tau) over images that do not match, makes h
    the posterior of noise-contrastive estimation; it is taken from the first batch and kept (Wu
    et al., CVPR 2018). One draw of others serves the whole batch. The paper's CE is on true
    labels; web images have none, so the divergence of ``kd`` stands for it.
    """

    name: ClassVar[str] = "crd"
    defaults: ClassVar[TrainDefaults] = COMPARED
    options_type: ClassVar[type[Options]] = CRDOptions
    divides: ClassVar[bool] = False
    options: CRDOptions
    scale: Tensor

    def __init__(
        self, teacher: Network, student: Network, options: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(teacher, student, options)
        length = self.options.embedding
        self.embed_teacher = nn.Linear(teacher.classifier.in_features, length)
        self.embed_student = nn.Linear(student.classifier.in_features, length)
        self.register_buffer("scale", torch.zeros(2))
        self.memory: Memory | None = None

    def prepare(self, pool: int) -> None:
        """Make room for two vectors of each image: at the default length 1 KiB an image."""
        self.memory = Memory(pool, self.options.embedding, self.options.momentum)

    def loss(self, batch: Batch) -> Losses:
        """Compute ``total`` and its terms ``kl`` and ``contrast``; see ``Method.loss``."""
        with torch.no_grad():
            wanted = self.teacher.outputs(batch.images)
        own = self.student.outputs(batch.images)
        divergence = soft_divergence(wanted.logits, own.logits, self.options.temperature)
        kl = (batch.weights * divergence).mean()
        teacher = F.normalize(self.embed_teacher(wanted.penultimate).float(), dim=1)
        student = F.normalize(self.embed_student(own.penultimate).float(), dim=1)
        contrast = (batch.weights * self._contrast(teacher, student, batch)).mean()
        total = kl + self.options.beta * contrast
        return Losses(total, {"kl": kl, "contrast": contrast}, own.logits)

    def _contrast(self, teacher: Tensor, student: Tensor, batch: Batch) -> Tensor:
        if self.memory is None or batch.places is None:
            raise MethodError("method crd remembers images by their place: it needs a pool")
        there = batch.weights > 0
        self.memory.update(batch.places[there], teacher[there], student[there])
        others = self.memory.draw(self.options.negatives, batch.generator)
        valid = (others[None, :] != batch.places[:, None]) & there[:, None]
        match = (teacher * student).sum(1)
        to_teachers = (student @ self.memory.teacher[others].T).float()
        to_students = (teacher @ self.memory.student[others].T).float()
        scores = [to_teachers / self.options.tau, to_students / self.options.tau]
        self._set_scale(scores, valid)
        losses = [
            nce(match / self.options.tau, score, valid, scale)
            for score, scale in zip(scores, self.scale, strict=True)
        ]
        return losses[0] + losses[1]

    @torch.no_grad()
    def _set_scale(self, scores: list[Tensor], valid: Tensor) -> None:
        """Take c of both directions from the first batch that has images that do not match."""
        if not self.scale.any() and valid.any():
            means = [score.detach()[valid].exp().mean() for score in scores]
            self.scale.copy_(torch.stack(means))


def nce(match: Tensor, others: Tensor, valid: Tensor, scale: Tensor) -> Tensor:
    """-log h(match) - sum log (1 - h(others)) of cosines over tau: (B,).

    Args:
        match: (B,), each image's with itself.
        others: (B, N), with what was drawn.
        valid: (B, N), whether that is another image; their number is an image's N.
        scale: c, a scalar.
    """
    prior = (scale * valid.sum(1)).log()
    found = F.logsigmoid(match - prior)
    refused = F.logsigmoid(prior[:, None] - others).masked_fill(~valid, 0.0).sum(1)
    return -found - refused
