"""Classifier sharing: a student that ends in its teacher's classifier, behind a projector.

SimKD (Chen et al., CVPR 2022) reuses the classifier and aligns the maps before it; KD3 does too.
"""

from __future__ import annotations

import copy

from torch import Tensor
from torch.nn import functional as F

from distill.networks.card import Head
from distill.networks.network import Network
from distill.networks.shared import SharedClassifierNet
from index.errors import MethodError


def share_classifier(name: str, teacher: Network, student: Network) -> Network:
    """Copy a student, its classifier replaced by a projector and the teacher's, frozen.

    Args:
        name: of the method that asks.
        teacher: its classifier is copied.
        student: it is left as it is.

    Raises:
        MethodError: one of the two has no pooled feature map, or the student ends in a shared
            classifier already.
    """
    if student.card.head is not None:
        raise MethodError(
            f"method {name}: the student {student.key} ends in a shared classifier already: start "
            "from its architecture instead"
        )
    in_channels, _ = map_shape(name, student, "student")
    out_channels, size = map_shape(name, teacher, "teacher")
    head = Head(in_channels=in_channels, out_channels=out_channels, size=size)
    module = SharedClassifierNet(copy.deepcopy(student.module), student.taps, head)
    module.classifier.load_state_dict(teacher.classifier.state_dict())
    module.classifier.requires_grad_(False)
    return Network(module, student.card.model_copy(update={"head": head, "weights": None}))


def shared_net(student: Network) -> SharedClassifierNet:
    """Return what `share_classifier` put into a network."""
    assert isinstance(student.module, SharedClassifierNet)
    return student.module


def map_shape(name: str, network: Network, role: str) -> tuple[int, int]:
    """Channels and side of a network's feature map.

    Raises:
        MethodError: it has none; the message names the method and the role.
    """
    if network.feature_channels is None or network.feature_size is None:
        raise MethodError(
            f"method {name} needs a pooled feature map, and the {role} "
            f"{network.card.architecture} has none: use method kd"
        )
    return network.feature_channels, network.feature_size


def feature_gap(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean square difference of feature maps (B, C, H, W), one value an image: (B,).

    A larger teacher's map is pooled to the student's size (SimKD, KD3).
    """
    height, width = student.shape[-2:]
    pooled = F.adaptive_avg_pool2d(teacher, (height, width))
    return (student.float() - pooled.float()).square().mean((1, 2, 3))
