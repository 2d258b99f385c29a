"""AT: attention transfer (Zagoruyko and Komodakis, ICLR 2017)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor
from torch.nn import functional as F

from distill.methods.base import COMPARED, Batch, Losses, Method, Options, TrainDefaults
from distill.methods.kd import soft_divergence
from distill.methods.pairs import paired_stages, to_common_size
from distill.networks.network import Network
from distill.networks.stages import run_stages


class ATOptions(Options):
    """``beta``, the weight of attention, and ``temperature`` T of the divergence beside it."""

    beta: NonNegativeFloat = 1000.0
    temperature: PositiveFloat = 4.0


class AT(Method):
    """L = T^2 KL + beta / 2 sum over stages of mean (Q_s / ||Q_s||_2 - Q_t / ||Q_t||_2)^2.

    Q (H W) is a stage's attention map: the sum of F^2 over channels, so widths may differ; of two
    sizes the larger is pooled. The paper's beta is 10^3 over the number of elements in the map
    and the batch, hence a mean here. Its CE is on true labels; web images have none, so the
    divergence of ``kd`` stands for it.
    """

    name: ClassVar[str] = "at"
    defaults: ClassVar[TrainDefaults] = COMPARED
    options_type: ClassVar[type[Options]] = ATOptions
    options: ATOptions

    def __init__(
        self, teacher: Network, student: Network, options: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(teacher, student, options)
        pairs = paired_stages(self.name, teacher, student)
        self._of_teacher, self._of_student = (list(stages) for stages in zip(*pairs, strict=True))

    def watched(self) -> tuple[set[str], set[str]]:
        """Return what the loss reads by hooks; see ``Method.watched``."""
        of_both = (self._of_teacher, self._of_student)
        teacher, student = ({stage.path for stage in stages} for stages in of_both)
        return teacher, student

    def loss(self, batch: Batch) -> Losses:
        """Compute ``total`` and its terms ``kl`` and ``attention``; see ``Method.loss``."""
        with torch.no_grad():
            wanted, teacher_maps = run_stages(self.teacher, self._of_teacher, batch.images)
        logits, student_maps = run_stages(self.student, self._of_student, batch.images)
        kl = (batch.weights * soft_divergence(wanted, logits, self.options.temperature)).mean()
        gaps = [attention_gap(*pair) for pair in zip(student_maps, teacher_maps, strict=True)]
        attention = (batch.weights * torch.stack(gaps).sum(0)).mean()
        total = kl + self.options.beta / 2 * attention
        return Losses(total, {"kl": kl, "attention": attention}, logits)


def attention_gap(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean square difference of the attention of maps (B, C, H, W), one value an image: (B,)."""
    sums = (found.float().square().sum(1, keepdim=True) for found in (student, teacher))
    own, wanted = (F.normalize(attention.flatten(1), dim=1) for attention in to_common_size(*sums))
    return (own - wanted).square().mean(1)
