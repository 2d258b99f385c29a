"""KD3: knowledge distillation between different distributions (ICCV 2023)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from distill.methods.base import Losses, Method, Options, TrainDefaults
from distill.methods.contrast import nt_xent
from distill.methods.mixdistribution import mix_distribution
from distill.networks.card import Head
from distill.networks.network import Network
from distill.networks.shared import SharedClassifierNet
from index.errors import MethodError


class KD3Options(Options):
    """Weight of the contrast (0 leaves it out), its temperature and its vectors' length."""

    contrast: NonNegativeFloat = 0.001
    temperature: PositiveFloat = 0.3
    embedding: PositiveInt = 128


class KD3(Method):
    """L = L_feat + 0.001 L_con, for a student that ends in the teacher's classifier.

    L_feat = mean w_i (phi(F_s) - F_t)^2 with w_i = sigmoid(||z_s - z_t||_2), detached.
    L_con = NT-Xent between E h_s(x) and E h_s(MixDistribution(x)), h_s the student's own pooled
    features. No cross-entropy and no divergence of logits. Which images to train on is chosen
    elsewhere. The given student is copied.
    """

    name: ClassVar[str] = "kd3"
    defaults: ClassVar[TrainDefaults] = TrainDefaults(
        lr=0.05, momentum=0.9, weight_decay=5e-4, schedule="step"
    )
    options_type: ClassVar[type[Options]] = KD3Options
    options: KD3Options

    def __init__(
        self, teacher: Network, student: Network, options: Mapping[str, Any] | None = None
    ) -> None:
        self._check_fit(teacher, student)
        super().__init__(teacher, share_classifier(teacher, student), options)
        assert self.student.card.head is not None
        self.embed = nn.Linear(self.student.card.head.in_channels, self.options.embedding)

    @property
    def _net(self) -> SharedClassifierNet:
        assert isinstance(self.student.module, SharedClassifierNet)
        return self.student.module

    def loss(
        self, images: Tensor, weights: Tensor, generator: torch.Generator | None = None
    ) -> Losses:
        """Compute ``total`` and its terms ``feature`` and ``contrast``; see ``Method.loss``."""
        with torch.no_grad():
            wanted = self.teacher.outputs(images)
        own_map = self._net.body_map(images)
        projected = self._net.projector(own_map)
        logits = self._net.classify(projected)
        assert wanted.features is not None
        gaps = feature_gap(projected, wanted.features) * gap_weight(logits, wanted.logits)
        feature = (weights * gaps).mean()
        contrast = (weights * self._contrast(own_map, images, generator)).mean()
        total = feature + self.options.contrast * contrast
        return {"total": total, "feature": feature, "contrast": contrast}

    def _contrast(
        self, own_map: Tensor, images: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        if self.options.contrast == 0:
            return images.new_zeros(len(images))
        mixed_map = self._net.body_map(mix_distribution(images, generator))
        own, mixed = self.embed(own_map.mean((2, 3))), self.embed(mixed_map.mean((2, 3)))
        return nt_xent(own, mixed, self.options.temperature)


def feature_gap(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean square difference of feature maps (B, C, H, W), one value an image: (B,).

    A larger teacher's map is pooled to the student's size (KD3 paper).
    """
    height, width = student.shape[-2:]
    pooled = F.adaptive_avg_pool2d(teacher, (height, width))
    return (student.float() - pooled.float()).square().mean((1, 2, 3))


def gap_weight(student: Tensor, teacher: Tensor) -> Tensor:
    """w = sigmoid(||z_s - z_t||_2) of logits (B, K), detached: (B,), from 0.5 to 1."""
    distance: Tensor = torch.linalg.vector_norm((student - teacher).detach(), dim=1)
    return distance.sigmoid()


def share_classifier(teacher: Network, student: Network) -> Network:
    """Copy a student, its classifier replaced by a projector and the teacher's, frozen.

    Raises:
        MethodError: one of the two has no pooled feature map, or the student ends in a shared
            classifier already.
    """
    if student.card.head is not None:
        raise MethodError(
            f"method kd3: the student {student.key} ends in a shared classifier already: start "
            "from its architecture instead"
        )
    in_channels, _ = _map_shape(student, "student")
    out_channels, size = _map_shape(teacher, "teacher")
    head = Head(in_channels=in_channels, out_channels=out_channels, size=size)
    module = SharedClassifierNet(copy.deepcopy(student.module), student.taps, head)
    module.classifier.load_state_dict(teacher.classifier.state_dict())
    module.classifier.requires_grad_(False)
    return Network(module, student.card.model_copy(update={"head": head, "weights": None}))


def _map_shape(network: Network, role: str) -> tuple[int, int]:
    """Channels and side of a network's feature map."""
    if network.feature_channels is None or network.feature_size is None:
        raise MethodError(
            f"method kd3 needs a pooled feature map, and the {role} {network.card.architecture} "
            "has none: use method kd"
        )
    return network.feature_channels, network.feature_size
