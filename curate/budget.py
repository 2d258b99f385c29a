"""How many images a selection takes: a number, a share of the pool, or where the gain ends."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import duckdb
import numpy as np

from curate.ledger import Ledger
from index.catalog import literal
from index.errors import UsageError

AUTO = "auto"
# The estimates of shift that `auto` weighs scores against: the first that the teacher has.
# Of classifier_angle, a cosine, larger is nearer.
COSTS = {"bn_shift": 1, "null_space": 1, "classifier_angle": -1}
BINS = 1000
_SHARE = re.compile(r"(\d+(?:\.\d+)?) ?%")


class RankBin(NamedTuple):
    """Neighbours in rank among the eligible: how many, mean score and mean estimate of shift.

    Both are scaled over the eligible images: 0 is their 1st percentile, 1 their 99th, and what is
    beyond counts as 0 or 1; of fewer than 100 images these are the least and the largest.
    """

    images: int
    score: float
    shift: float


@dataclass(frozen=True)
class Resolved:
    """How many images a budget comes to (None: all that are eligible), and why in words."""

    images: int | None
    note: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return what a manifest's options say of it, where it had to be worked out."""
        if self.note is None:
            return {}
        return {"resolved_budget": self.images, "budget_note": self.note}


def parse_budget(text: str) -> int | str:
    """Read a budget as it is typed: `8000` is a number, `10%` and `auto` stay as they are.

    Raises:
        UsageError: it is none of these.
    """
    try:
        budget: int | str = int(text)
    except ValueError:
        budget = text.strip()
    check_budget(budget)
    return budget


def check_budget(budget: int | str) -> None:
    """Check what does not depend on the pool.

    Raises:
        UsageError: no number of images from 1, share up to 100%, or `auto`.
    """
    if isinstance(budget, int):
        if budget < 1:
            raise UsageError(f"--budget is {budget}: it must be at least 1")
    elif budget != AUTO and not 0 < _percent(budget) <= 100:
        raise UsageError(
            f"--budget is {budget!r}: a number of images, a share of the pool such as 10% (above 0 "
            "and at most 100%), or auto"
        )


def cost_of(budget: int | str | None, teacher: str, estimates: Sequence[str]) -> str | None:
    """Return the estimate that `auto` needs, of those that are stored; None for other budgets.

    Raises:
        UsageError: the teacher has none.
    """
    if budget != AUTO:
        return None
    for name in COSTS:
        if name in estimates:
            return name
    raise UsageError(
        f"--budget auto needs an estimate of shift, and {teacher} has none of {', '.join(COSTS)}: "
        "give a number or a share of the pool"
    )


def resolve(budget: int | str | None, ledger: Ledger, cost: str | None) -> Resolved:
    """Say how many images a budget comes to, once the ledger knows who is eligible.

    A share is one of all images of the pool, eligible or not, rounded down, and at least 1.
    """
    if cost is not None:
        return knee(rank_bins(ledger.connection, cost), cost)
    if not isinstance(budget, str):
        return Resolved(budget)
    pool = ledger.pool_size()
    images = max(1, int(_percent(budget) * pool / 100))
    return Resolved(images, f"{budget} of the {pool:,} images of the pool: {images:,}")


def rank_bins(connection: duckdb.DuckDBPyConnection, cost: str, most: int = BINS) -> list[RankBin]:
    """Return the eligible images of a ledger's database, best score first, in bins of equal length.

    There are at most so many; with fewer images than that, each has its own.
    """
    shift = f"{COSTS[cost]} * components[{literal(cost)}]"
    found = connection.execute(_RANK_BINS.format(shift=shift, most=most)).fetchall()
    return [RankBin(n, score / n / _SCALE, shift / n / _SCALE) for n, score, shift in found]


def knee(bins: Sequence[RankBin], cost: str) -> Resolved:
    """Return the first rank at which a score is worth no more than its image's shift costs.

    The eligible images stand by score, best first, in at most 1,000 bins of equal length. A bin's
    value is its mean score; its cost is the mean estimate of shift, made non-decreasing along the
    ranks by isotonic regression, for what comes later costs no less. Both are scaled, see
    `RankBin`. Where the value stays above the cost, or one of them is the same for all images, all
    are taken.
    """
    from sklearn.isotonic import isotonic_regression  # only here: it takes a second to import

    total = sum(one.images for one in bins)
    value, shift = np.array([one.score for one in bins]), np.array([one.shift for one in bins])
    if bins:
        shift = isotonic_regression(shift, sample_weight=[one.images for one in bins])
    if len(set(value)) < 2 or not shift.any():
        same = "score" if len(set(value)) < 2 else f"shift ({cost})"
        why = f"all have the same {same}"
    elif not (value <= shift).any():
        why = f"the mean score stays above the mean shift ({cost})"
    else:
        first = int(np.argmax(value <= shift))
        images = 1 + sum(one.images for one in bins[:first])
        return Resolved(
            images,
            f"auto budget: {images:,} of {total:,} eligible images: there the mean score falls to "
            f"{value[first]:.2f} and the mean shift ({cost}) rises to {shift[first]:.2f} (scaled "
            "over the eligible images)",
        )
    return Resolved(max(1, total), f"auto budget: all {total:,} eligible images: {why}")


def _percent(share: str) -> Fraction:
    found = _SHARE.fullmatch(share)
    return Fraction(found[1]) if found else Fraction(0)


# Sums of integers: those of floats would depend on the order in which threads add them.
_SCALE = 1 << 30
_RANK_BINS = f"""
WITH ranked AS MATERIALIZED (
    SELECT score::DOUBLE AS score, ({{shift}})::DOUBLE AS shift,
           row_number() OVER (ORDER BY m.score DESC, image_id) - 1 AS place,
           row_number() OVER (ORDER BY shift) - 1 AS farness, count(*) OVER () AS n
    FROM marked m WHERE barrier IS NULL
), bounds AS (
    SELECT min(score) FILTER (place < n - n // 100) AS low,
           max(score) FILTER (place >= n // 100) AS high,
           min(shift) FILTER (farness >= n // 100) AS near,
           max(shift) FILTER (farness < n - n // 100) AS far
    FROM ranked
), scaled AS (
    SELECT place * least(n, {{most}}) // n AS bin,
           coalesce((score - low) / nullif(high - low, 0), 0) AS score,
           coalesce((shift - near) / nullif(far - near, 0), 0) AS shift
    FROM ranked, bounds
)
SELECT count(*), sum((least(greatest(score, 0), 1) * {_SCALE})::BIGINT),
       sum((least(greatest(shift, 0), 1) * {_SCALE})::BIGINT)
FROM scaled GROUP BY bin ORDER BY bin
"""
