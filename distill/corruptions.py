"""What may have happened to an image before a network sees it, in five severities.

The kinds are among those of Hendrycks and Dietterich, Benchmarking Neural Network Robustness to
Common Corruptions and Perturbations, ICLR 2019; the severities are our own, for small images too,
so that figures are not comparable with theirs. A kind is one function and one line in `KINDS`.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from index.decoding import Pixels
from index.errors import UsageError, nearest

SEVERITIES = range(1, 6)
ALL = "all"


def jpeg(pixels: Pixels, quality: float, _: np.random.Generator) -> Pixels:
    """Encode and decode again, with libjpeg's chroma subsampling."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=int(quality))
    return np.asarray(Image.open(stream, formats=["JPEG"]))


def noise(pixels: Pixels, sigma: float, random: np.random.Generator) -> Pixels:
    """Add independent Gaussian noise of this standard deviation, in levels of 0..255."""
    return _levels(pixels + random.normal(0, sigma, pixels.shape))


def blur(pixels: Pixels, share: float, _: np.random.Generator) -> Pixels:
    """Blur with a Gaussian whose sigma is this share of the side."""
    radius = share * len(pixels)
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)))


def contrast(pixels: Pixels, factor: float, _: np.random.Generator) -> Pixels:
    """Move each channel this near to its mean: m + factor (x - m)."""
    mean = pixels.mean(axis=(0, 1), keepdims=True, dtype=np.float64)
    return _levels(mean + factor * (pixels - mean))


def brightness(pixels: Pixels, levels: float, _: np.random.Generator) -> Pixels:
    """Add so many levels of 0..255."""
    return _levels(pixels + levels)


def pixelate(pixels: Pixels, share: float, _: np.random.Generator) -> Pixels:
    """Shrink to this share of the side by the mean, and enlarge to blocks."""
    side, small = len(pixels), max(1, round(share * len(pixels)))
    shrunk = Image.fromarray(pixels).resize((small, small), Image.Resampling.BOX)
    return np.asarray(shrunk.resize((side, side), Image.Resampling.NEAREST))


@dataclass(frozen=True)
class Kind:
    """A kind of corruption: what it does, what its setting means, and the five settings."""

    apply: Callable[[Pixels, float, np.random.Generator], Pixels]
    setting: str
    values: tuple[float, float, float, float, float]


KINDS = {
    "jpeg": Kind(jpeg, "quality", (90, 75, 60, 45, 30)),
    "noise": Kind(noise, "sigma", (5, 10, 15, 20, 30)),
    "blur": Kind(blur, "share of side", (0.01, 0.015, 0.02, 0.03, 0.04)),
    "contrast": Kind(contrast, "factor", (0.75, 0.6, 0.45, 0.3, 0.15)),
    "brightness": Kind(brightness, "levels", (12, 25, 38, 51, 76)),
    "pixelate": Kind(pixelate, "share of side", (0.9, 0.8, 0.7, 0.6, 0.5)),
}


@dataclass(frozen=True)
class Corruption:
    """A kind at a severity of 1 to 5, with the seed of what is random in it."""

    kind: str
    severity: int
    seed: int = 0

    @property
    def setting(self) -> str:
        """What the severity stands for, as `quality 75`."""
        kind = KINDS[self.kind]
        return f"{kind.setting} {kind.values[self.severity - 1]:g}"

    def __call__(self, pixels: Pixels) -> Pixels:
        """Corrupt images (N, S, S, 3), each by itself.

        What is random depends on an image's own pixels, not on its place: the same image is
        corrupted alike in any order and batch.
        """
        kind = KINDS[self.kind]
        value = float(kind.values[self.severity - 1])  # an integer would wrap around at 255
        return np.stack([kind.apply(image, value, self._random(image)) for image in pixels])

    def _random(self, image: Pixels) -> np.random.Generator:
        return np.random.default_rng([self.seed, self.severity, zlib.crc32(image.tobytes())])


def parse_corruptions(given: Sequence[str], seed: int = 0) -> list[Corruption]:
    """Read `jpeg` (all five severities), `jpeg:2`, `jpeg,noise:3`, or `all`.

    Raises:
        UsageError: a name or severity that there is not.
    """
    found: dict[tuple[str, int], Corruption] = {}
    for text in ",".join(given).split(",") if given else []:
        name, colon, severity = text.strip().partition(":")
        if name not in (*KINDS, ALL):
            raise UsageError(f"--corrupt {name!r} is unknown: {nearest(name, (*KINDS, ALL))}")
        if colon and severity not in map(str, SEVERITIES):
            raise UsageError(f"--corrupt {text!r}: a severity is 1, 2, 3, 4 or 5")
        for kind in KINDS if name == ALL else (name,):
            for one in [int(severity)] if colon else SEVERITIES:
                found[kind, one] = Corruption(kind, one, seed)
    return list(found.values())


def _levels(values: NDArray[np.floating[Any]]) -> Pixels:
    rounded: Pixels = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return rounded
