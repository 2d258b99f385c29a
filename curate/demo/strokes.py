"""Digits written with a pen: a few shapes for each digit, bent a little differently every time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from curate.demo.fonts import CANVAS

# How people write each digit. A shape is one or more strokes, set apart by "/"; a stroke is points
# "x,y" in per cent of the box, y downwards, that a smooth curve runs through.
SHAPES: tuple[tuple[str, ...], ...] = (
    (
        "50,4 24,25 20,60 45,96 74,75 78,30 50,4",
        "60,6 30,20 22,70 50,95 76,60 68,18 45,10",
    ),
    (
        "52,4 50,96",
        "28,30 56,5 / 56,5 54,96",
        "16,44 58,5 / 58,5 56,96",
        "28,30 54,5 / 54,5 54,95 / 28,95 80,95",
    ),
    (
        "20,26 45,5 74,25 55,62 18,95 / 18,95 84,93",
        "25,14 58,6 70,32 45,70 20,90 30,76 50,88 84,94",
    ),
    (
        "22,12 56,4 72,25 42,46 / 42,46 76,66 56,95 20,86",
        "22,6 76,6 / 76,6 46,42 / 46,42 78,66 55,95 20,86",
    ),
    (
        "30,5 20,35 20,58 / 20,58 86,56 / 68,30 62,96",
        "60,5 14,66 / 14,66 88,64 / 62,36 60,96",
        "62,5 14,64 / 14,64 88,64 / 62,5 62,96",
        "54,4 20,46 28,64 80,58 / 74,34 50,96",
    ),
    (
        "78,6 30,7 / 30,7 26,45 / 26,45 58,40 76,65 54,94 20,86",
        "80,7 36,8 28,42 60,48 72,72 48,95 20,88",
    ),
    (
        "66,4 36,30 22,68 46,96 74,76 56,54 26,70",
        "44,4 28,40 26,80 54,95 76,72 52,54 28,72",
    ),
    (
        "18,8 82,7 / 82,7 52,50 38,96",
        "18,8 80,7 / 80,7 54,50 42,96 / 30,52 76,50",
        "24,18 50,4 78,10 / 78,10 56,50 44,96 / 18,56 82,50",
    ),
    (
        "72,20 48,5 28,22 50,46 75,74 50,96 24,74 50,46 72,20",
        "50,5 30,25 50,46 70,25 50,5 / 50,46 26,72 50,96 76,72 50,46",
        "78,16 46,4 26,24 56,52 62,78 46,96 34,78 56,48 78,16",
    ),
    (
        "72,24 46,6 26,28 48,50 72,24 / 72,24 70,60 60,96",
        "72,24 46,6 26,28 50,50 72,24 72,70 50,95 24,86",
        "74,8 40,6 26,30 50,48 74,8 / 74,8 78,60 60,92 22,92",
    ),
)
_WIDTH = 80
_STEPS = 8


def written(digit: int, rng: np.random.Generator) -> Image.Image:
    """A digit as (128, 128) mask, mode L: 255 where there is ink."""
    shape = SHAPES[digit][rng.integers(len(SHAPES[digit]))]
    pen = round(rng.uniform(8, 19))
    stretch = np.array([rng.uniform(0.6, 1.0), rng.uniform(0.85, 1.05)])
    mask = Image.new("L", (CANVAS, CANVAS))
    draw = ImageDraw.Draw(mask)
    # Points are bent before the curve is laid through them; one that two strokes share moves once.
    bent: dict[str, NDArray[np.float64]] = {}
    for stroke in shape.split(" / "):
        points = []
        for text in stroke.split():
            if text not in bent:
                point = np.array([float(part) for part in text.split(",")]) / 100
                bent[text] = point + rng.normal(0, 0.03, 2)
            points.append(bent[text])
        line = (_smooth(np.array(points)) - 0.5) * stretch * _WIDTH + CANVAS / 2
        draw.line([(x, y) for x, y in line.tolist()], fill=255, width=pen, joint="curve")
        for x, y in (line[0], line[-1]):
            draw.ellipse((x - pen / 2, y - pen / 2, x + pen / 2, y + pen / 2), fill=255)
    return mask


def _smooth(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """A Catmull-Rom spline through (N, 2) points, eight steps from each to the next."""
    closed = bool((points[0] == points[-1]).all())
    before, after = (points[-2], points[1]) if closed else (points[0], points[-1])
    p = np.vstack([before, points, after])
    t = np.linspace(0, 1, _STEPS, endpoint=False)[:, None, None]
    a, b, c, d = p[:-3], p[1:-2], p[2:-1], p[3:]
    curve = 0.5 * (
        2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * (b - c) + d - a) * t**3
    )
    return np.vstack([curve.transpose(1, 0, 2).reshape(-1, 2), points[-1:]])
