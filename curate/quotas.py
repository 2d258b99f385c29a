"""How a budget is shared among the classes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
BALANCES = ("none", "proportional", "full")


def class_quotas(available: Counts, budget: int, balance: str) -> Counts | None:
    """Return how many images each class may give, (K,), or None for no quota.

    Args:
        available: (K,) images that could be taken.
        budget: images wanted in all.
        balance: `none`; `proportional`, in the shares of `available`; or `full`, the same
            number of each, where a class with too few gives its rest to the others.
    """
    if balance == "none":
        return None
    budget = min(budget, int(available.sum()))
    if balance == "proportional":
        return _proportional(available, budget)
    return _level(available, budget)


def _proportional(available: Counts, budget: int) -> Counts:
    """Share by largest remainder; equal remainders go to the smaller class number."""
    # In integers: rounded fractions would order equal remainders at will.
    quota, remainder = np.divmod(available * budget, max(1, int(available.sum())))
    rest = np.argsort(-remainder, kind="stable")[: budget - int(quota.sum())]
    quota[rest] += 1
    return quota


def _level(available: Counts, budget: int) -> Counts:
    """Fill all classes evenly, like water, up to what each has."""
    quota = np.zeros_like(available)
    while (rest := budget - int(quota.sum())) > 0:
        open_classes = np.nonzero(quota < available)[0]
        each = rest // len(open_classes)
        if each == 0:
            quota[open_classes[:rest]] += 1
            break
        quota[open_classes] = np.minimum(quota[open_classes] + each, available[open_classes])
    return quota
