"""How a budget is shared among the classes."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
BALANCES = ("none", "proportional", "sqrt", "full")
# Square roots are taken to so many binary places and are integers from there on.
_PLACES = 32


def class_quotas(available: Counts, budget: int, balance: str) -> Counts | None:
    """Return how many images each class may give, (K,), or None for no quota.

    Shares are like water: a class that has no more than its share gives all it has, and its rest
    goes to the others by their shares. All in integers, by largest remainder; of equal remainders
    the smaller class number comes first.

    Args:
        available: (K,) images that could be taken.
        budget: images wanted in all; what is returned sums to it, or to what there is.
        balance: `none`; `proportional`, in the shares of `available`; `sqrt`, in those of its
            square root; or `full`, the same number of each.
    """
    if balance == "none":
        return None
    counts = [int(count) for count in available]
    return np.array(_poured(counts, _weights(counts, balance), budget), np.int64)


def _weights(counts: Sequence[int], balance: str) -> list[int]:
    if balance == "full":
        return [1] * len(counts)
    if balance == "sqrt":
        return [isqrt(count << 2 * _PLACES) for count in counts]
    return list(counts)


def _poured(counts: Sequence[int], weights: Sequence[int], budget: int) -> list[int]:
    """Share in proportion to the weights, at most `counts`; Python's integers do not overflow.

    By size is also by count over weight for every balance, so the classes that come first are
    those that fill up first.
    """
    quotas = list(counts)
    rest, weight = min(budget, sum(counts)), sum(weights)
    by_size = sorted(range(len(counts)), key=counts.__getitem__)
    for filled, k in enumerate(by_size):
        if counts[k] * weight > rest * weights[k]:
            _share(quotas, weights, by_size[filled:], rest)
            break
        rest -= counts[k]
        weight -= weights[k]
    return quotas


def _share(quotas: list[int], weights: Sequence[int], among: list[int], budget: int) -> None:
    """Set the quotas of classes of which none fills up, by largest remainder."""
    # In integers: rounded fractions would order equal remainders at will.
    total, remainders = sum(weights[k] for k in among), {}
    for k in among:
        quotas[k], remainders[k] = divmod(budget * weights[k], total)
    left = budget - sum(quotas[k] for k in among)
    for k in sorted(among, key=lambda k: (-remainders[k], k))[:left]:
        quotas[k] += 1
