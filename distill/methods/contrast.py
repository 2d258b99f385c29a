"""NT-Xent, the contrastive loss of SimCLR (Chen et al. 2020)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Contrast two views (B, D) of the same images: one loss an image, (B,).

    Each of the 2B views has to find its other view, by cosine similarity over temperature, among
    the 2B - 1 others; an image's loss is the mean of its two views'.
    """
    count = len(first)
    views = F.normalize(torch.cat([first, second]).float(), dim=1)
    own = torch.eye(2 * count, dtype=torch.bool, device=views.device)
    similarity = ((views @ views.T).float() / temperature).masked_fill(own, float("-inf"))
    others = torch.arange(2 * count, device=views.device).roll(count)
    losses = F.cross_entropy(similarity, others, reduction="none")
    return losses.view(2, count).mean(0)
