"""Single pictures as a crawl meets them: digits in print and by hand, letters, photographs."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from curate.demo.digits import missing_extra
from curate.demo.fonts import CANVAS, faces, glyph
from curate.demo.strokes import written

# O, o, I, i, l and | are left out: in many faces nothing tells them from 0 and 1.
LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghjkmnpqrstuvwxyz"
SYMBOLS = "&%#@?!+=*$("
SMALLEST, LARGEST = 24, 96
_LEAST_CONTRAST = 90


def printed(character: str, rng: np.random.Generator) -> Image.Image:
    """A character in a random face, size, colour and turn on a random background, mode RGB."""
    face = faces()[rng.integers(len(faces()))]
    mask = _bend(glyph(character, face, int(rng.integers(0, 4))), rng, turn=15, shear=0.1)
    side = int(rng.integers(SMALLEST, LARGEST + 1))
    if rng.random() < 0.3:
        return _on(_white_on_black(rng, side), mask, rng, ink=_light(rng))
    return _on(_background(rng, side), mask, rng)


def handwritten(digit: int, rng: np.random.Generator) -> Image.Image:
    """A digit with a thick, unsteady stroke, mode RGB.

    Half of them look like fields cut from a scanned form, light on dark, of few pixels enlarged,
    and as high as their frame; the others are loosely framed, in ink on paper or in chalk.
    """
    if rng.random() < 0.8:
        mask = written(digit, rng)
    else:
        face = faces()[rng.integers(len(faces()))]
        mask = glyph(str(digit), face, int(rng.integers(2, 6)))
    mask = _bend(mask, rng, turn=12, shear=0.25)
    side = int(rng.integers(SMALLEST, LARGEST + 1))
    if rng.random() < 0.5:
        image = _on(_white_on_black(rng, side), mask, rng, ink=_light(rng), fill=(0.92, 1.0))
        few = int(rng.integers(8, 12))
        small = image.resize((few, few), Image.Resampling.BOX)
        return small.resize((side, side), Image.Resampling.BICUBIC)
    if rng.random() < 0.5:
        return _on(_white_on_black(rng, side), mask, rng, ink=_light(rng))
    return _on(_paper(rng, side), mask, rng, ink=rng.integers(0, 90, 3))


def photograph(rng: np.random.Generator, side: int | None = None) -> Image.Image:
    """A square part of one of scikit-learn's two sample photographs, mode RGB.

    Raises:
        UsageError: scikit-learn is not installed.
    """
    photo = _photographs()[rng.integers(2)]
    reach = int(rng.integers(60, 260))
    left = int(rng.integers(0, photo.width - reach))
    top = int(rng.integers(0, photo.height - reach))
    if side is None:
        side = int(rng.integers(SMALLEST, LARGEST + 1))
    box = (left, top, left + reach, top + reach)
    part = photo.resize((side, side), Image.Resampling.BILINEAR, box=box, reducing_gap=2.0)
    return part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else part


def spacer(rng: np.random.Generator) -> Image.Image:
    """A bullet or spacer of a web page: 1 to 12 pixels a side, one colour, mode RGB."""
    width, height = (int(n) for n in rng.integers(1, 13, 2))
    return Image.new("RGB", (width, height), _rgb(rng.integers(0, 256, 3)))


def _bend(mask: Image.Image, rng: np.random.Generator, *, turn: float, shear: float) -> Image.Image:
    """Turns (degrees, one standard deviation, cut at two) and shears the ink, then trims it."""
    angle = np.deg2rad(np.clip(rng.normal(0, turn / 2), -turn, turn))
    cos, sin, slant = np.cos(angle), np.sin(angle), rng.uniform(-shear, shear)
    a, b, d, e = cos, slant * cos - sin, sin, slant * sin + cos
    middle = CANVAS / 2
    matrix = (a, b, middle - middle * (a + b), d, e, middle - middle * (d + e))
    bent = mask.transform(mask.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    return bent.crop(bent.getbbox())


def _on(
    ground: NDArray[np.uint8],
    mask: Image.Image,
    rng: np.random.Generator,
    *,
    ink: NDArray[np.int64] | None = None,
    fill: tuple[float, float] = (0.6, 0.95),
) -> Image.Image:
    """Inks the trimmed mask onto a (S, S, 3) ground; `fill` bounds its longer side's share of S."""
    side = len(ground)
    scale = side * rng.uniform(*fill) / max(mask.size)
    width, height = (max(1, round(length * scale)) for length in mask.size)
    small = mask.resize((width, height), Image.Resampling.BOX, reducing_gap=2.0)
    left = int(rng.integers(0, side - width + 1)) if rng.random() < 0.3 else (side - width) // 2
    top = int(rng.integers(0, side - height + 1)) if rng.random() < 0.3 else (side - height) // 2
    image = Image.fromarray(ground)
    colour = _far_from(ground, rng) if ink is None else ink
    image.paste(_rgb(colour), (left, top), small)
    if rng.random() < 0.25:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.015 * side + 0.4)))
    return image


def _background(rng: np.random.Generator, side: int) -> NDArray[np.uint8]:
    """One colour, a slope between two, coarse noise, or a faded photograph."""
    first, second = rng.integers(0, 256, (2, 3))
    kind = rng.random()
    if kind < 0.4:
        ground = np.broadcast_to(first, (side, side, 3)).astype(np.float64)
    elif kind < 0.65:
        ramp = np.linspace(0, 1, side)
        ramp = ramp[:, None, None] if rng.random() < 0.5 else ramp[None, :, None]
        ground = first + (0.5 * (second - first)) * ramp + np.zeros((side, side, 3))
    elif kind < 0.85:
        coarse = np.clip(first + rng.normal(0, 18, (6, 6, 3)), 0, 255).astype(np.uint8)
        ground = np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))
    else:
        ground = 0.35 * np.asarray(photograph(rng, side)) + 0.65 * first
    return np.clip(ground, 0, 255).astype(np.uint8)


def _white_on_black(rng: np.random.Generator, side: int) -> NDArray[np.uint8]:
    noise = rng.normal(0, rng.uniform(0, 6), (side, side, 1))
    return np.clip(rng.uniform(0, 40) + noise + np.zeros(3), 0, 255).astype(np.uint8)


def _paper(rng: np.random.Generator, side: int) -> NDArray[np.uint8]:
    noise = rng.normal(0, rng.uniform(0, 8), (side, side, 1))
    return np.clip(rng.uniform(190, 255, 3) + noise, 0, 255).astype(np.uint8)


def _light(rng: np.random.Generator) -> NDArray[np.int64]:
    tint = rng.integers(0, 30, 3) if rng.random() < 0.3 else np.zeros(3, dtype=np.int64)
    return rng.integers(180, 256) - tint


def _far_from(ground: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.int64]:
    """A colour whose brightness differs clearly from the ground's."""
    there = _brightness(ground.reshape(-1, 3).mean(axis=0))
    for _ in range(20):
        colour = rng.integers(0, 256, 3)
        if abs(_brightness(colour) - there) >= _LEAST_CONTRAST:
            return colour
    return np.full(3, 0 if there > 127 else 255)


def _brightness(colour: NDArray[np.float64] | NDArray[np.int64]) -> float:
    return float(colour @ np.array([0.299, 0.587, 0.114]))


def _rgb(colour: NDArray[np.int64]) -> tuple[int, int, int]:
    red, green, blue = (int(part) for part in colour)
    return red, green, blue


@cache
def _photographs() -> tuple[Image.Image, ...]:
    try:
        from sklearn import datasets
    except ImportError as error:
        raise missing_extra("scikit-learn") from error
    names = ("china.jpg", "flower.jpg")
    return tuple(Image.fromarray(datasets.load_sample_image(name)) for name in names)
