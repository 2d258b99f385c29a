"""DIST: distillation from a stronger teacher (Huang et al., NeurIPS 2022)."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor
from torch.nn import functional as F

from distill.methods.base import COMPARED, Batch, Losses, Method, Options, TrainDefaults
from distill.methods.kd import hard_loss


class DISTOptions(Options):
    """Weights ``beta`` (inter), ``gamma`` (intra) and ``hard``, and ``temperature`` T."""

    beta: NonNegativeFloat = 1.0
    gamma: NonNegativeFloat = 1.0
    temperature: PositiveFloat = 1.0
    hard: NonNegativeFloat = 1.0


class DIST(Method):
    """L = hard CE(z_s, argmax z_t) + T^2 (beta L_inter + gamma L_intra).

    With p = softmax(z / T) and r Pearson's correlation, L_inter = mean over images of 1 - r of
    their two rows of p, over classes; L_intra = mean over classes of 1 - r of their two columns,
    over the batch, each image counted by its weight. So the student keeps relations and need not
    match probabilities. The paper's CE is on true labels; web images have none, so the teacher's
    class stands for them.
    """

    name: ClassVar[str] = "dist"
    defaults: ClassVar[TrainDefaults] = COMPARED
    options_type: ClassVar[type[Options]] = DISTOptions
    logits_only: ClassVar[bool] = True
    options: DISTOptions

    def loss(self, batch: Batch) -> Losses:
        """Compute ``total`` and its terms ``inter``, ``intra``, ``hard``; see ``Method.loss``."""
        options, weights = self.options, batch.weights
        wanted = self.wanted_logits(batch)
        logits = self.student(batch.images)
        p_t = (wanted.float() / options.temperature).softmax(1)
        p_s = (logits.float() / options.temperature).softmax(1)
        inter = (weights * (1 - correlation(p_t, p_s))).mean()
        # A correlation does not know the weights' size, which the loss shall have.
        intra = weights.mean() * (1 - correlation(p_t.T, p_s.T, weights)).mean()
        hard = (weights * hard_loss(wanted, logits)).mean()
        relations = options.beta * inter + options.gamma * intra
        total = options.hard * hard + options.temperature**2 * relations
        return Losses(total, {"inter": inter, "intra": intra, "hard": hard}, logits)


def correlation(first: Tensor, second: Tensor, weights: Tensor | None = None) -> Tensor:
    """Pearson's correlation of the rows of (N, M), columns weighted by (M,): (N,).

    A row without variance has none, and gets 0.
    """
    if weights is None:
        weights = first.new_ones(first.shape[1])
    shares = weights / weights.sum().clamp_min(torch.finfo(weights.dtype).tiny)
    one, other = (_standardised(rows, shares) for rows in (first, second))
    return (one * other).sum(1)


def _standardised(rows: Tensor, shares: Tensor) -> Tensor:
    centred = rows - (rows * shares).sum(1, keepdim=True)
    return F.normalize(centred * shares.sqrt(), dim=1)
