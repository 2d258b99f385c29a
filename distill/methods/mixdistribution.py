"""MixDistribution: give an image the channel statistics between its own and another's."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

CONCENTRATION = 0.1
EPSILON = 1e-6


def mix_distribution(images: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Mix the statistics of each image with those of a random other (KD3 paper, MixDistribution).

    Partner and share lambda ~ Beta(0.1, 0.1) are drawn once an image; the pixels keep their
    place. Takes and returns (B, C, H, W).
    """
    partners = torch.randperm(len(images), generator=generator, device=_device(generator))
    shares = _beta(len(images), generator)
    return mix_with(images, partners.to(images.device), shares.to(images))


def mix_with(images: Tensor, partners: Tensor, shares: Tensor) -> Tensor:
    """Mix with given partners (B,) and shares lambda (B,) of an image's own statistics.

    x~ = sigma~ (x - mu) / sigma + mu~, where mu~ = lambda mu + (1 - lambda) mu_partner, sigma~
    likewise, and sigma = sqrt(var + 1e-6) over the pixels of a channel.
    """
    pixels = images.detach()
    mean = pixels.mean((2, 3), keepdim=True)
    std = (pixels.var((2, 3), correction=0, keepdim=True) + EPSILON).sqrt()
    share = shares.view(-1, 1, 1, 1)
    mixed_mean = share * mean + (1 - share) * mean[partners]
    mixed_std = share * std + (1 - share) * std[partners]
    return mixed_std * (images - mean) / std + mixed_mean


def _beta(count: int, generator: torch.Generator | None) -> Tensor:
    # PyTorch's Beta takes no generator, so NumPy draws, seeded by ours.
    seed = torch.randint(2**62, (), generator=generator, device=_device(generator)).item()
    draws = np.random.default_rng(int(seed)).beta(CONCENTRATION, CONCENTRATION, size=count)
    return torch.from_numpy(draws)


def _device(generator: torch.Generator | None) -> torch.device:
    return generator.device if generator is not None else torch.device("cpu")
