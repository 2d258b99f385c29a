"""SimKD: the reused teacher classifier (Chen et al., CVPR 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from distill.methods.base import COMPARED, Batch, Losses, Method, TrainDefaults, tapped
from distill.methods.sharing import feature_gap, share_classifier, shared_net
from distill.networks.network import Network


class SimKD(Method):
    """L = mean (phi(F_s) - F_t)^2, for a student that ends in the teacher's classifier.

    phi is the projector 1x1, 3x3, 1x1 with half the teacher's channels in between, F the last
    feature maps; of the two maps the larger is pooled to the smaller. No loss of logits. Student,
    projector and classifier are deployed. The given student is copied.
    """

    name: ClassVar[str] = "simkd"
    defaults: ClassVar[TrainDefaults] = COMPARED

    def __init__(
        self, teacher: Network, student: Network, options: Mapping[str, Any] | None = None
    ) -> None:
        self._check_fit(teacher, student)
        super().__init__(teacher, share_classifier(self.name, teacher, student), options)

    def loss(self, batch: Batch) -> Losses:
        """Compute ``total`` and its one term ``feature``; see ``Method.loss``."""
        with torch.no_grad():
            wanted = self.teacher.outputs(batch.images).features
        net = shared_net(self.student)
        projected = net.projector(net.body_map(batch.images))
        assert wanted is not None
        feature = (batch.weights * feature_gap(projected, wanted)).mean()
        logits = net.classify(projected.detach())  # for rounds only: the loss knows no logits
        return Losses(feature, {"feature": feature}, logits)

    def watched(self) -> tuple[set[str], set[str]]:
        """Return what the loss reads by hooks; see ``Method.watched``."""
        return tapped(self.teacher), {shared_net(self.student).tapped}
