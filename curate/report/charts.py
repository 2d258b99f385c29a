"""Geometry of the page's charts: numbers in, places on an SVG of 400 x HEIGHT units out.

The page draws them itself: plotly's script weighs 4.5 MB, 20 times what these come to, and it and
matplotlib's SVG need inline styles, which the page's content security policy forbids; nor would
their colours follow the reader's light or dark mode.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from curate.directions import ends_of
from curate.report.distributions import Distribution
from curate.report.embedding import LEFT, ORIGINAL, SELECTED, Panel
from curate.report.training import Curve, Rounds

WIDTH, HEIGHT = 400, 220
_LEFT_EDGE, _RIGHT_EDGE, _TOP, _BOTTOM = 44.0, 392.0, 12.0, 188.0
SIDE, _MARGIN = 400, 10.0  # of a map


@dataclass(frozen=True)
class Tick:
    """A mark on an axis: where, and what it says."""

    at: float
    text: str


@dataclass(frozen=True)
class Line:
    """A polyline with its legend; `series` picks colour and dashes."""

    series: int
    label: str
    points: str
    last: str


@dataclass(frozen=True)
class Lines:
    """Curves over one axis."""

    title: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    lines: list[Line]
    x_label: str


@dataclass(frozen=True)
class Bar:
    """A rectangle, and what it says when pointed at."""

    kind: str
    x: float
    y: float
    width: float
    height: float
    title: str


@dataclass(frozen=True)
class Mirror:
    """Bars up (taken) and down (left) from a middle line, with marks across both.

    `ends` are what stands below the axis at either end.
    """

    bars: list[Bar]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    middle: float
    marks: list[Tick]
    medians: list[tuple[str, float, str]]
    ends: tuple[str, str] = ("", "")


@dataclass(frozen=True)
class Mark:
    """A point of a map: a path, its group, and its image."""

    group: str
    path: str
    image: str


def nice_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return round numbers from low to high, steps of 1, 2 or 5 times a power of ten."""
    raw = (high - low) / about
    if not raw > 0:
        return [low]
    power = 10 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(n * step, 12) for n in range(first, last + 1)]


def short(value: float) -> str:
    """Write a number in few characters: 12, 1.5k, 3.2M, 0.25."""
    for limit, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g}{suffix}"
    return f"{value:.3g}"


def mirror(one: Distribution) -> Mirror:
    """Draw a distribution: heights are logarithms, so that rare values are seen beside frequent."""
    most = max(*one.selected, *one.left, 1)
    middle, half = (_TOP + _BOTTOM) / 2, (_BOTTOM - _TOP) / 2
    width = (_RIGHT_EDGE - _LEFT_EDGE) / len(one.selected)
    span = (one.high - one.low) / len(one.selected)
    bars = []
    for kind, counts, sign in ((SELECTED, one.selected, -1), (LEFT, one.left, 1)):
        for place, count in enumerate(counts):
            if count:
                height = half * _log(count) / _log(most)
                y = middle - height if sign < 0 else middle
                start = one.low + place * span
                said = f"{kind}: {count:,} images, {start:.3g} to {start + span:.3g}"
                x = _LEFT_EDGE + place * width
                bars.append(Bar(kind, _r(x), _r(y), _r(width - 1), _r(height), said))
    scale = _Scale(one.low, one.high, _LEFT_EDGE, _RIGHT_EDGE)
    powers = [10**n for n in range(12) if 10**n <= most and (n % 2 == 0 or most < 5000)]
    y_ticks = [
        Tick(_r(middle - sign * half * _log(power) / _log(most)), short(power))
        for power in powers
        for sign in (1, -1)
    ]
    medians = [
        (kind, _r(scale(value)), f"{value:.3g}")
        for kind, value in ((SELECTED, one.selected_median), (LEFT, one.left_median))
        if value is not None and one.low <= value <= one.high
    ]
    marks = [Tick(_r(scale(t.value)), f"{t.name}: {t.value:.3g}") for t in one.thresholds[:200]]
    return Mirror(bars, scale.ticks(), y_ticks, _r(middle), marks, medians, ends_of(one.what))


def curves(title: str, found: Sequence[Curve], order: Sequence[str]) -> Lines:
    """Draw what several runs measured under one name; `order` of the runs settles the colours."""
    steps = [step for one in found for step in one.steps]
    values = [value for one in found for value in one.values]
    x = _Scale(min(steps), max(steps), _LEFT_EDGE, _RIGHT_EDGE)
    y = _Scale(min(values), max(values), _BOTTOM, _TOP)
    lines = [
        Line(order.index(one.run), one.run, _points(one.steps, one.values, x, y),
             short(one.values[-1]))
        for one in found
    ]  # fmt: skip
    return Lines(title, x.ticks(), y.ticks(), lines, "step")


def alphas(one: Rounds) -> Lines:
    """Draw the teacher's share and the middle threshold of a run's rounds, both from 0 to 1."""
    numbers = [row.round for row in one.rounds]
    x = _Scale(min(numbers), max(numbers), _LEFT_EDGE, _RIGHT_EDGE)
    y = _Scale(0.0, 1.0, _BOTTOM, _TOP)
    series = [("teacher's share (alpha)", [row.alpha for row in one.rounds])]
    for name, values in (
        ("largest threshold of a class", [row.most_threshold for row in one.rounds]),
        ("median threshold", [row.median_threshold for row in one.rounds]),
        ("least threshold", [row.least_threshold for row in one.rounds]),
    ):
        known = [value for value in values if value is not None]
        if len(known) == len(values) and all(0 <= value <= 1 for value in known):
            series.append((name, known))
    lines = [
        Line(place, name, _points(numbers, values, x, y), f"{values[-1]:.2f}")
        for place, (name, values) in enumerate(series)
    ]
    return Lines("Teacher's share and thresholds", x.ticks(whole=True), y.ticks(), lines, "round")


def flows(one: Rounds) -> Mirror:
    """Draw the images that entered (up) and left (down) in each round of a run."""
    most = max(1, *(max(row.entered, row.left) for row in one.rounds))
    middle, half = (_TOP + _BOTTOM) / 2, (_BOTTOM - _TOP) / 2
    pitch = (_RIGHT_EDGE - _LEFT_EDGE) / len(one.rounds)
    bars, ticks = [], []
    for place, row in enumerate(one.rounds):
        x, width = _LEFT_EDGE + (place + 0.15) * pitch, 0.7 * pitch
        up, down = half * row.entered / most, half * row.left / most
        said = f"round {row.round}: {row.entered:,} entered, {row.left:,} left"
        bars.append(Bar(SELECTED, _r(x), _r(middle - up), _r(width), _r(up), said))
        bars.append(Bar(LEFT, _r(x), _r(middle), _r(width), _r(down), said))
        if len(one.rounds) <= 12 or place % math.ceil(len(one.rounds) / 12) == 0:
            ticks.append(Tick(_r(x + width / 2), str(row.round)))
    y_ticks = [
        Tick(_r(middle - sign * half * value / most), short(value))
        for value in nice_ticks(0, most, 2)
        for sign in ((1, -1) if value else (1,))
    ]
    return Mirror(bars, ticks, y_ticks, _r(middle), [], [])


def marks(one: Panel) -> list[Mark]:
    """Draw a map's points: originals triangles, taken circles, left squares."""
    found = []
    for group in (LEFT, ORIGINAL, SELECTED):
        ids, positions = one.groups[group]
        for image, (across, up) in zip(ids, positions.tolist(), strict=True):
            x = _MARGIN + across * (SIDE - 2 * _MARGIN)
            y = SIDE - _MARGIN - up * (SIDE - 2 * _MARGIN)
            found.append(Mark(group, f"M{x:.0f} {y:.0f}{_SHAPES[group]}", str(image)))
    return found


_SHAPES = {
    SELECTED: "m-3 0a3 3 0 1 0 6 0a3 3 0 1 0-6 0",
    LEFT: "m-2-2h4v4h-4z",
    ORIGINAL: "m0-4l3.5 6.5h-7z",
}


class _Scale:
    """Maps values from [low, high] to [start, end]."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        if not high > low:
            low, high = low - 0.5, high + 0.5
        self._low, self._high, self._start, self._end = low, high, start, end

    def __call__(self, value: float) -> float:
        share = (value - self._low) / (self._high - self._low)
        return self._start + share * (self._end - self._start)

    def ticks(self, *, whole: bool = False) -> list[Tick]:
        values = nice_ticks(self._low, self._high)
        return [Tick(_r(self(v)), short(v)) for v in values if not whole or v == int(v)]


def _points(xs: Sequence[float], ys: Sequence[float], x: _Scale, y: _Scale) -> str:
    return " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in zip(xs, ys, strict=True))


def _log(count: int) -> float:
    return math.log10(1 + 9 * count)


def _r(value: float) -> float:
    return round(value, 1)
