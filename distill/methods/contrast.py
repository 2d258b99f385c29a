"""NT-Xent, the contrastive loss of SimCLR (Chen et al. 2020)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def nt_xent(
    first: Tensor, second: Tensor, temperature: float, present: Tensor | None = None
) -> Tensor:
    """Contrast two views (B, D) of the same images: one loss an image, (B,).

    Each of the 2B views has to find its other view, by cosine similarity over temperature, among
    the 2B - 1 others; an image's loss is the mean of its two views'. An image that is not
    `present` (B,) stands in no other's way; its own loss is there, but means nothing.
    """
    count = len(first)
    views = F.normalize(torch.cat([first, second]).float(), dim=1)
    others = torch.arange(2 * count, device=views.device).roll(count)
    hidden = torch.eye(2 * count, dtype=torch.bool, device=views.device)
    if present is not None:
        hidden = hidden | ~present.repeat(2)
        hidden[torch.arange(2 * count, device=views.device), others] = False
    similarity = ((views @ views.T).float() / temperature).masked_fill(hidden, float("-inf"))
    losses = F.cross_entropy(similarity, others, reduction="none")
    return losses.view(2, count).mean(0)
