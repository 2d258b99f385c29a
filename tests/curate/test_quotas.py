"""How a budget is shared among the classes."""

from __future__ import annotations

from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from curate.quotas import BALANCES, class_quotas

AVAILABLE = st.lists(st.integers(0, 10_000_000) | st.integers(0, 12), min_size=1, max_size=12)
LEISURELY = settings(deadline=None, max_examples=50)
BUDGET = st.integers(1, 20_000_000) | st.integers(1, 60)


def quotas(available: list[int], budget: int, balance: str) -> list[int]:
    found = class_quotas(np.array(available), budget, balance)
    assert found is not None
    return [int(quota) for quota in found]


def largest_remainder(available: list[int], budget: int) -> list[int]:
    """In exact fractions; equal remainders go to the smaller class number."""
    total = sum(available)
    budget = min(budget, total)
    if not budget:
        return [0] * len(available)
    exact = [Fraction(count * budget, total) for count in available]
    shares = [int(share) for share in exact]
    order = sorted(range(len(exact)), key=lambda k: (shares[k] - exact[k], k))
    for k in order[: budget - sum(shares)]:
        shares[k] += 1
    return shares


def test_no_balance_is_no_quota() -> None:
    assert class_quotas(np.array([3, 1]), 2, "none") is None


@pytest.mark.parametrize("balance", [name for name in BALANCES if name != "none"])
@LEISURELY
@given(available=AVAILABLE, budget=BUDGET)
def test_quotas_spend_the_budget_and_no_more_than_there_is(
    balance: str, available: list[int], budget: int
) -> None:
    found = quotas(available, budget, balance)
    assert sum(found) == min(budget, sum(available))
    assert all(0 <= quota <= there for quota, there in zip(found, available, strict=True))


@LEISURELY
@given(available=AVAILABLE, budget=BUDGET)
def test_the_level_fill_is_fair(available: list[int], budget: int) -> None:
    found = quotas(available, budget, "full")
    # A class gets fewer than another only where it has no more, or by the last odd image.
    short = [quota for quota, there in zip(found, available, strict=True) if quota < there]
    if short:
        assert max(found) <= min(short) + 1


def water(available: list[int], budget: int) -> list[Decimal]:
    """The real shares of `sqrt`: as many square roots as spend the budget, at most all there is.

    The level is found by halving, to 40 digits.
    """
    roots = [Decimal(count).sqrt() for count in available]
    low, high = Decimal(0), Decimal(max(available)).sqrt() + 1
    for _ in range(80):
        level = (low + high) / 2
        poured = sum(min(level * root, count) for root, count in zip(roots, available, strict=True))
        low, high = (level, high) if poured < min(budget, sum(available)) else (low, level)
    return [min(low * root, count) for root, count in zip(roots, available, strict=True)]


@LEISURELY
@given(available=AVAILABLE, budget=BUDGET)
def test_sqrt_is_within_one_image_of_the_water_level(available: list[int], budget: int) -> None:
    with localcontext(prec=40):
        exact = water(available, budget)
    found = quotas(available, budget, "sqrt")
    assert all(abs(quota - share) < 1 for quota, share in zip(found, exact, strict=True))
    # A class with more gets no less; of two that have the same, the smaller number the odd image.
    order = sorted(range(len(found)), key=lambda k: (available[k], -k))
    assert [found[k] for k in order] == sorted(found)


@LEISURELY
@given(available=AVAILABLE, budget=BUDGET)
def test_proportional_is_the_largest_remainder(available: list[int], budget: int) -> None:
    assert quotas(available, budget, "proportional") == largest_remainder(available, budget)


@pytest.mark.parametrize(
    ("available", "budget", "expected"),
    [
        # 4.2, 2.4, 1.4: the one that is left goes to the remainder .4, and of two to class 1.
        ([21, 12, 7], 8, [4, 3, 1]),
        # .75 each: three images for four classes.
        ([5, 5, 5, 5], 3, [1, 1, 1, 0]),
        # 7/6 and 13/6 leave 1/6 each.
        ([7, 13, 16], 6, [1, 2, 3]),
        # 16/3, 4/3, and 34/3: thirds, which no float holds.
        ([8, 2, 17], 18, [6, 1, 11]),
        ([0, 4, 0], 2, [0, 2, 0]),
        ([0, 0], 5, [0, 0]),
        ([3, 2], 100, [3, 2]),
    ],
)
def test_proportional_by_hand(available: list[int], budget: int, expected: list[int]) -> None:
    assert quotas(available, budget, "proportional") == expected


@pytest.mark.parametrize(
    ("available", "budget", "expected"),
    [
        ([100, 100, 100], 6, [2, 2, 2]),
        ([100, 100, 100], 7, [3, 2, 2]),
        ([1, 100, 100], 7, [1, 3, 3]),
        ([1, 2, 100], 10, [1, 2, 7]),
        ([0, 5], 3, [0, 3]),
    ],
)
def test_full_by_hand(available: list[int], budget: int, expected: list[int]) -> None:
    assert quotas(available, budget, "full") == expected


@pytest.mark.parametrize(
    ("available", "budget", "expected"),
    [
        # Roots 1, 2, 3: shares 1 1/3 (it has but 1), 2 2/3, 4; then 7 in the shares 2 to 3.
        ([1, 4, 9], 8, [1, 3, 4]),
        ([100, 400, 900], 60, [10, 20, 30]),
        # 4/3, 8/3 and 4: the odd images go to the remainders 2/3 and 1/3.
        ([100, 400, 900], 8, [1, 3, 4]),
        # All remainders are equal.
        ([16, 16, 16, 16], 6, [2, 2, 1, 1]),
        ([0, 4, 0], 2, [0, 2, 0]),
        ([0, 0], 5, [0, 0]),
        ([3, 2], 100, [3, 2]),
        # 100 million images and more: the products do not fit into 64 bits.
        ([10**16, 4 * 10**16], 3 * 10**12, [10**12, 2 * 10**12]),
    ],
)
def test_sqrt_by_hand(available: list[int], budget: int, expected: list[int]) -> None:
    assert quotas(available, budget, "sqrt") == expected


def test_the_counts_are_left_alone() -> None:
    available: NDArray[np.int64] = np.array([4, 9])
    for balance in BALANCES:
        class_quotas(available, 5, balance)
    assert available.tolist() == [4, 9]
