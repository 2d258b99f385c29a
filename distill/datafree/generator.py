"""The generator: noise in, images out that are normalised as the teacher expects them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distill.networks import InputSpec
from index.errors import MethodError

_SLOPE = 0.2
_SMALLEST, _DOUBLINGS = 8, 2


class Generator(nn.Module):
    """Linear-BN, then doublings (Up2-Conv3-BN-LReLU), then Conv3(3)-Sigmoid-normalise.

    The generator of DAFL (Chen et al., ICCV 2019), from a map of 2 `width` channels: of 8 pixels
    doubled twice for images of 32, of 7 twice for 28, of 8 three times for 64. The last doubling
    goes to `width` channels.

    Args:
        spec: size and statistics of the images.
        latent: length of the noise.
        width: channels of the last map.

    Raises:
        MethodError: the size cannot be doubled to from 8 pixels or fewer.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, spec: InputSpec, latent: int, width: int) -> None:
        super().__init__()
        doublings, self._start = start_of(spec.size)
        self._wide = 2 * width
        self.linear = nn.Linear(latent, self._wide * self._start**2)
        widths = [self._wide] * doublings + [width]
        steps = zip(widths, widths[1:], strict=False)
        self.body = nn.Sequential(
            nn.BatchNorm2d(self._wide),
            *(_doubling(before, after) for before, after in steps),
            nn.Conv2d(width, 3, 3, padding=1),
        )
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).view(1, 3, 1, 1), persistent=False)

    def forward(self, noise: Tensor) -> Tensor:
        """Map noise (B, latent) to normalised images (B, 3, S, S), float32."""
        maps = self.linear(noise).view(len(noise), self._wide, self._start, self._start)
        pixels = self.body(maps).float().sigmoid()
        images: Tensor = (pixels - self.mean) / self.std
        return images


def start_of(size: int) -> tuple[int, int]:
    """Return how often a map is doubled, twice at least, and its side before.

    Raises:
        MethodError: the size is not so divisible.
    """
    doublings = _doublings(size)
    if not can_double_to(size):
        raise MethodError(
            f"a generator doubles its maps {doublings} times, and the teacher's {size} pixels "
            f"are no multiple of {2**doublings}: use deepinversion, which needs no generator "
            "(--option bn=0 where the teacher has no BatchNorm)"
        )
    return doublings, size // 2**doublings


def can_double_to(size: int) -> bool:
    """Tell whether a generator makes images of this size."""
    return not size % 2 ** _doublings(size)


def _doublings(size: int) -> int:
    doublings = _DOUBLINGS
    while size > _SMALLEST * 2**doublings:
        doublings += 1
    return doublings


def _doubling(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Upsample(scale_factor=2),
        nn.Conv2d(before, after, 3, padding=1),
        nn.BatchNorm2d(after),
        nn.LeakyReLU(_SLOPE, inplace=True),
    )


def pixel_range(spec: InputSpec, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Least and largest normalised value of each channel, (1, 3, 1, 1) each."""
    mean, std = (
        torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (spec.mean, spec.std)
    )
    return -mean / std, (1 - mean) / std


def to_bytes(images: Tensor, spec: InputSpec) -> Tensor:
    """Turn normalised images (B, 3, S, S) into the nearest uint8 (B, S, S, 3), on the CPU."""
    mean, std = (
        torch.tensor(values, device=images.device).view(1, 3, 1, 1)
        for values in (spec.mean, spec.std)
    )
    pixels = ((images.detach().float() * std + mean) * 255).round_().clamp_(0, 255)
    return pixels.to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu()
