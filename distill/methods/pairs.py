"""Which stages of teacher and student are compared, and at which size."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from distill.methods.sharing import map_shape
from distill.networks.network import Network
from distill.networks.stages import Stage, find_stages
from index.errors import MethodError


def paired_stages(name: str, teacher: Network, student: Network) -> list[tuple[Stage, Stage]]:
    """Pair (teacher, student) stages from the last backwards, in the order of the networks.

    A network that has more stages leaves its first ones out.

    Args:
        name: of the method that asks.
        teacher: its stages are found by tracing, as the student's are.
        student: may have other resolutions and widths.

    Raises:
        MethodError: one of the two has no pooled feature map, or no map above one pixel.
    """
    found = [
        _stages(name, network, role)
        for network, role in ((teacher, "teacher"), (student, "student"))
    ]
    count = min(len(stages) for stages in found)
    return list(zip(*(stages[-count:] for stages in found), strict=True))


def to_common_size(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Pool the larger of two maps (B, C, H, W) to the other's height and width."""
    size = min(first.shape[2], second.shape[2]), min(first.shape[3], second.shape[3])
    pooled = (F.adaptive_avg_pool2d(one, size) for one in (first, second))
    return next(pooled), next(pooled)


def _stages(name: str, network: Network, role: str) -> list[Stage]:
    map_shape(name, network, role)
    stages = find_stages(network.module, network.card.input.size)
    if not stages:
        raise MethodError(
            f"method {name} compares maps, and none of the {role}'s {network.card.architecture} "
            "has more than one pixel: use method kd"
        )
    return stages
