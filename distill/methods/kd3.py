"""KD3: knowledge distillation between different distributions (ICCV 2023)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from distill.methods.base import COMPARED, Batch, Losses, Method, Options, TrainDefaults, tapped
from distill.methods.contrast import nt_xent
from distill.methods.kd import soft_divergence
from distill.methods.mixdistribution import mix_distribution
from distill.methods.sharing import feature_gap, map_shape, share_classifier, shared_net
from distill.networks.network import Network
from distill.networks.shared import projector

Part = Literal["classifier_sharing", "weighting", "mix_distribution", "dynamic"]
# Of the divergence that takes the place of the shared classifier; kd's default.
TEMPERATURE = 4.0


class KD3Options(Options):
    """Weight of the contrast (0 leaves it out), its temperature and its vectors' length.

    ``without`` names the parts that are left out, for ablations; see ``KD3``.
    """

    contrast: NonNegativeFloat = 0.001
    temperature: PositiveFloat = 0.3
    embedding: PositiveInt = 128
    without: tuple[Part, ...] = ()


class Passed(NamedTuple):
    """A student's own map (B, C_s, H, W), its projection (B, C_t, H, W), and logits (B, K)."""

    own: Tensor
    projected: Tensor
    logits: Tensor


class KD3(Method):
    """L = L_feat + 0.001 L_con, for a student that ends in the teacher's classifier.

    L_feat = mean w_i (phi(F_s) - F_t)^2 with w_i = sigmoid(||z_s - z_t||_2), detached.
    L_con = NT-Xent between E h_s(x) and E h_s(MixDistribution(x)), h_s the student's own pooled
    features. No cross-entropy and no divergence of logits. Which images to train on is chosen
    elsewhere. The given student is copied.

    Left out by ``without``: ``weighting``, w_i = 1; ``mix_distribution``, no L_con; ``dynamic``,
    no rounds; ``classifier_sharing``, the student keeps a classifier of its own. L_feat then
    trains its body through phi, which is not deployed, and since nothing else would reach the
    classifier, T^2 KL of ``kd`` at T = 4 is added to L. The paper does not say what its ablation
    trained the classifier with: this is inferred.
    """

    name: ClassVar[str] = "kd3"
    defaults: ClassVar[TrainDefaults] = COMPARED
    options_type: ClassVar[type[Options]] = KD3Options
    options: KD3Options

    def __init__(
        self, teacher: Network, student: Network, options: Mapping[str, Any] | None = None
    ) -> None:
        self._check_fit(teacher, student)
        without = self._known(options).without
        shares = "classifier_sharing" not in without
        super().__init__(
            teacher, share_classifier(self.name, teacher, student) if shares else student, options
        )
        channels, _ = map_shape(self.name, student, "student")
        wanted, self._size = map_shape(self.name, teacher, "teacher")
        self.projector = None if shares else projector(channels, wanted)
        contrasts = self.options.contrast > 0 and "mix_distribution" not in without
        self.embed = nn.Linear(channels, self.options.embedding) if contrasts else None

    @classmethod
    def selects_once(cls, options: Options) -> bool:
        """Whether ``dynamic`` is left out."""
        assert isinstance(options, KD3Options)
        return "dynamic" in options.without

    def loss(self, batch: Batch) -> Losses:
        """Compute ``total`` and its terms: ``feature``, ``contrast``, and without classifier
        sharing ``kl``; see ``Method.loss``.
        """
        with torch.no_grad():
            wanted = self.teacher.outputs(batch.images)
        assert wanted.features is not None
        found = self._pass(batch.images)
        gaps = feature_gap(found.projected, wanted.features)
        if "weighting" not in self.options.without:
            gaps = gaps * gap_weight(found.logits, wanted.logits)
        feature = (batch.weights * gaps).mean()
        contrast = (batch.weights * self._contrast(found.own, batch)).mean()
        terms = {"feature": feature, "contrast": contrast}
        total = feature + self.options.contrast * contrast
        if self.projector is not None:
            divergence = soft_divergence(wanted.logits, found.logits, TEMPERATURE)
            terms["kl"] = (batch.weights * divergence).mean()
            total = total + terms["kl"]
        return Losses(total, terms, found.logits)

    def watched(self) -> tuple[set[str], set[str]]:
        """Return what the loss reads by hooks; see ``Method.watched``."""
        if self.projector is not None:
            return super().watched()
        return tapped(self.teacher), {shared_net(self.student).tapped}

    def _pass(self, images: Tensor) -> Passed:
        if self.projector is None:
            net = shared_net(self.student)
            own = net.body_map(images)
            projected = net.projector(own)
            return Passed(own, projected, net.classify(projected))
        outputs = self.student.outputs(images)
        own = self._fitted(outputs.features)
        return Passed(own, self.projector(own), outputs.logits)

    def _own_map(self, images: Tensor) -> Tensor:
        if self.projector is None:
            return shared_net(self.student).body_map(images)
        return self._fitted(self.student.outputs(images).features)

    def _fitted(self, found: Tensor | None) -> Tensor:
        """Pool a map that is larger than the teacher's to its size, as a shared one is."""
        assert found is not None
        return F.adaptive_avg_pool2d(found, self._size) if found.shape[-1] > self._size else found

    def _contrast(self, own_map: Tensor, batch: Batch) -> Tensor:
        if self.embed is None:
            return batch.weights.new_zeros(len(batch.images))
        mixed_map = self._own_map(mix_distribution(batch.images, batch.generator))
        own, mixed = self.embed(own_map.mean((2, 3))), self.embed(mixed_map.mean((2, 3)))
        return nt_xent(own, mixed, self.options.temperature, batch.weights > 0)

    @classmethod
    def _known(cls, options: Mapping[str, Any] | None) -> KD3Options:
        parsed = cls.parse_options(options or {})
        assert isinstance(parsed, KD3Options)
        return parsed


def gap_weight(student: Tensor, teacher: Tensor) -> Tensor:
    """w = sigmoid(||z_s - z_t||_2) of logits (B, K), detached: (B,), from 0.5 to 1."""
    distance: Tensor = torch.linalg.vector_norm((student - teacher).detach(), dim=1)
    return distance.sigmoid()
