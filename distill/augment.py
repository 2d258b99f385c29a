"""The training view: batched tensor augmentation, on the device, from what a step draws."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from distill.draws import Draws

Augment = Callable[[Tensor, Draws], Tensor]


def flip(images: Tensor, draws: Draws) -> Tensor:
    """Mirror each image (B, C, H, W) left to right with probability one half."""
    mirrored = draws.uniform(len(images)) < 0.5
    return torch.where(mirrored.to(images.device)[:, None, None, None], images.flip(3), images)


def shift(images: Tensor, draws: Draws) -> Tensor:
    """Pad by an eighth of the side with the mean colour and crop back at a random place.

    For images that mean something else when mirrored, such as digits and letters.
    """
    count, _, height, width = images.shape
    pad = height // 8
    padded = F.pad(images, (pad, pad, pad, pad))
    shift = draws.integers(2 * pad + 1, 2, count).to(images.device)
    rows = shift[0][:, None] + torch.arange(height, device=images.device)
    columns = shift[1][:, None] + torch.arange(width, device=images.device)
    batch = torch.arange(count, device=images.device)[:, None, None]
    cropped = padded.permute(0, 2, 3, 1)[batch, rows[:, :, None], columns[:, None, :]]
    return cropped.permute(0, 3, 1, 2)


def crop_flip(images: Tensor, draws: Draws) -> Tensor:
    """Shift and flip, the usual view for CIFAR (He et al., CVPR 2016): 4 pixels at 32."""
    return flip(shift(images, draws), draws)


def resized_crop_flip(images: Tensor, draws: Draws) -> Tensor:
    """Crop 8 to 100 % of the area at an aspect of 3/4 to 4/3, resize to the full side, flip.

    The distribution is RandomResizedCrop's (Szegedy et al., CVPR 2015); a crop that would leave
    the image is shortened instead of drawn again.
    """
    count, _, height, width = images.shape
    draw = draws.uniform(4, count).to(images.device)
    area = 0.08 + 0.92 * draw[0]
    aspect = torch.exp((2 * draw[1] - 1) * torch.log(torch.tensor(4 / 3)))
    wide = (area * aspect).sqrt().clamp(max=1)
    high = (area / aspect).sqrt().clamp(max=1)
    theta = torch.zeros(count, 2, 3, device=images.device)
    theta[:, 0, 0], theta[:, 0, 2] = wide, (2 * draw[2] - 1) * (1 - wide)
    theta[:, 1, 1], theta[:, 1, 2] = high, (2 * draw[3] - 1) * (1 - high)
    grid = F.affine_grid(theta, [count, 1, height, width], align_corners=False)
    crops = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    return flip(crops, draws)


def no_augmentation(images: Tensor, draws: Draws) -> Tensor:  # noqa: ARG001
    """Leave the images as they are."""
    return images


AUGMENTATIONS: dict[str, Augment] = {
    "crop": crop_flip,
    "shift": shift,
    "resized-crop": resized_crop_flip,
    "none": no_augmentation,
}
