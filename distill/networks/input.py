"""What a network expects of an image, and the step from stored bytes to its input."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from index.decoding import View

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class InputSpec(BaseModel):
    """Size in pixels and channel statistics (of values in 0..1) of a network's input.

    ``resize`` is the length given to the shorter side before the centre crop to ``size``; without
    it, ``size`` itself.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: PositiveInt
    resize: PositiveInt | None = None
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = IMAGENET_STD
    interpolation: Literal["bilinear", "bicubic", "nearest"] = "bilinear"

    @model_validator(mode="after")
    def _crop_fits(self) -> Self:
        if self.resize is not None and self.resize < self.size:
            raise ValueError(f"resize = {self.resize} is less than size = {self.size}")
        return self

    def view(self) -> View:
        """Return the part that is done while decoding: size, resize, interpolation."""
        return View(self.size, self.resize, self.interpolation)


def normalise(images: Tensor, spec: InputSpec, device: torch.device | str = "cpu") -> Tensor:
    """Turn uint8 images (B, S, S, 3) into float32 (B, 3, S, S) in channels_last order on device."""
    count, height, width, channels = images.shape
    mean, scale = _of_a_row(spec, width, torch.device(device))
    rows = images.to(device, non_blocking=True).reshape(count, height, width * channels)
    scaled = rows.float().sub_(mean).mul_(scale).view(count, height, width, channels)
    # A permuted NHWC tensor already is channels_last: nothing is copied.
    return scaled.permute(0, 3, 1, 2)


@lru_cache(maxsize=64)
def _of_a_row(spec: InputSpec, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and 1 / standard deviation of every value of a row of pixels.

    Of a whole row, or every step would run over three values at a time; and kept, for each is a
    copy to the device that a training step would wait for.
    """
    with torch.inference_mode(False):  # what is made in inference mode is of no use outside
        mean = torch.tensor(spec.mean, device=device).mul_(255).repeat(width)
        scale = torch.tensor(spec.std, device=device).mul_(255).reciprocal_().repeat(width)
    return mean, scale
