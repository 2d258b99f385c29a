"""The classifier's row space: how much of a penultimate vector the logits can see, and how well."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


class RowSpace:
    """What the final linear layer says of a penultimate vector h, without any data.

    Args:
        weight: (K, D) of the layer; its rows are the classes' directions.
    """

    def __init__(self, weight: Tensor) -> None:
        exact = weight.detach().double().cpu()
        self._directions = F.normalize(exact, dim=1).to(weight.device, torch.float32)
        classes, width = weight.shape
        self._basis = (
            _row_basis(exact).to(weight.device, torch.float32) if classes < width else None
        )

    def estimates(self, penultimate: Tensor) -> dict[str, Tensor]:
        """Return ``null_space`` and ``classifier_angle`` of h (B, D), (B, 1) each.

        Where K >= D every h lies in the row space: there is no ``null_space`` then.
        """
        hidden = penultimate.float()
        found = {"classifier_angle": classifier_angle(hidden, self._directions)[:, None]}
        if self._basis is not None:
            found["null_space"] = null_space(hidden, self._basis)[:, None]
        return found


def null_space(hidden: Tensor, basis: Tensor) -> Tensor:
    """Norm of h's part outside the row space over the norm of h, in [0, 1]: (B,).

    The part that no logit sees, and in which training left little (Cook, Zare and Gader, null
    space analysis, 2020). A zero h has no direction and counts as wholly outside: 1.

    Args:
        hidden: h (B, D).
        basis: (D, r), orthonormal columns that span the row space.
    """
    outside = hidden - (hidden @ basis) @ basis.T
    norm = hidden.norm(dim=1)
    share = outside.norm(dim=1) / norm.clamp_min(torch.finfo(torch.float32).tiny)
    return torch.where(norm > 0, share.clamp_max(1.0), torch.ones_like(norm))


def classifier_angle(hidden: Tensor, directions: Tensor) -> Tensor:
    """Largest cosine of h (B, D) with a class's direction, unit rows (K, D); 0 for a zero h: (B,).

    A zero row of the classifier has no direction either, and the cosine 0.
    """
    cosines: Tensor = F.normalize(hidden, dim=1) @ directions.T
    return cosines.amax(dim=1)


def _row_basis(weight: Tensor) -> Tensor:
    """Orthonormal columns (D, r) that span the rows of a float64 weight (K, D), by SVD."""
    _, values, right = torch.linalg.svd(weight, full_matrices=False)
    # Weights were trained in float32: what is below its resolution is rounding, not a direction.
    kept = values > values.max() * max(weight.shape) * torch.finfo(torch.float32).eps
    basis: Tensor = right[kept].T.contiguous()
    return basis
