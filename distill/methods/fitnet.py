"""FitNets: hints for thin deep nets (Romero et al., ICLR 2015)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import nn

from distill.methods.base import COMPARED, Batch, Losses, Method, Options, TrainDefaults
from distill.methods.kd import soft_divergence
from distill.methods.pairs import paired_stages, to_common_size
from distill.networks.network import Network
from distill.networks.stages import Stage, run_stages
from index.errors import MethodError


class FitNetOptions(Options):
    """``stage`` from 1 (default: the middle), ``beta`` of the hint, ``temperature`` T."""

    stage: PositiveInt | None = None
    beta: NonNegativeFloat = 100.0
    temperature: PositiveFloat = 4.0


class FitNet(Method):
    """L = T^2 KL(softmax(z_t / T) || softmax(z_s / T)) + beta mean (r(F_s) - F_t)^2.

    F are the maps at the end of a stage, r a 1x1 convolution from the student's channels to the
    teacher's and a BatchNorm, trained along and not deployed; of two sizes the larger is pooled.
    The paper trains the hint first and distils afterwards; the sum, with beta = 100 and the
    BatchNorm, without which it diverges in deep networks, is the form that Tian et al. (ICLR 2020)
    compare with.
    """

    name: ClassVar[str] = "fitnet"
    defaults: ClassVar[TrainDefaults] = COMPARED
    options_type: ClassVar[type[Options]] = FitNetOptions
    options: FitNetOptions

    def __init__(
        self, teacher: Network, student: Network, options: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(teacher, student, options)
        self._hint, self._guided = self._pick(paired_stages(self.name, teacher, student))
        widen = nn.Conv2d(self._guided.channels, self._hint.channels, 1, bias=False)
        self.regressor = nn.Sequential(widen, nn.BatchNorm2d(self._hint.channels))

    def watched(self) -> tuple[set[str], set[str]]:
        """Return what the loss reads by hooks; see ``Method.watched``."""
        return {self._hint.path}, {self._guided.path}

    def loss(self, batch: Batch) -> Losses:
        """Compute ``total`` and its terms ``kl`` and ``hint``; see ``Method.loss``."""
        with torch.no_grad():
            wanted, (target,) = run_stages(self.teacher, [self._hint], batch.images)
        logits, (own,) = run_stages(self.student, [self._guided], batch.images)
        own, target = to_common_size(own, target)
        gaps = (self.regressor(own).float() - target.float()).square().mean((1, 2, 3))
        kl = (batch.weights * soft_divergence(wanted, logits, self.options.temperature)).mean()
        hint = (batch.weights * gaps).mean()
        return Losses(kl + self.options.beta * hint, {"kl": kl, "hint": hint}, logits)

    def _pick(self, pairs: list[tuple[Stage, Stage]]) -> tuple[Stage, Stage]:
        number = self.options.stage or (len(pairs) + 1) // 2
        if number > len(pairs):
            raise MethodError(
                f"method fitnet: there is no stage {number}, teacher and student share "
                f"{len(pairs)}: give --option stage=N from 1 to {len(pairs)}"
            )
        return pairs[number - 1]
