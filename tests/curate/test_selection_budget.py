"""What a budget is, how classes share it, and how alike its images may be."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from curate.options import SelectOptions
from curate.pool import Pool
from curate.selection import select
from distill.selection import read_selection
from index.errors import NothingSelectedError, UsageError
from index.vectors import vectors_of

from .helpers import IMAGES, SIZE, query

KD3 = SelectOptions("kd3", budget=20, near_duplicates=0.9999)


def labels(pool: Pool, name: str) -> Counter[int]:
    rows = query(
        pool.catalog.workspace,
        "SELECT pseudo_label FROM decisions WHERE manifest = ? AND selected",
        name,
    )
    return Counter(label for (label,) in rows)


def test_per_class_limits_each_class(pool: Pool) -> None:
    select(pool, "all", SelectOptions("msp"))
    select(pool, "few", SelectOptions("msp", per_class=6))
    assert labels(pool, "few") == {k: min(count, 6) for k, count in labels(pool, "all").items()}
    assert max(labels(pool, "all").values()) > 6


def test_full_balance_takes_the_same_number_of_each_class(pool: Pool) -> None:
    select(pool, "all", SelectOptions("msp"))
    select(pool, "even", SelectOptions("msp", budget=20, balance="full"))
    select(pool, "best", SelectOptions("msp", budget=20))
    assert min(labels(pool, "all").values()) >= 5
    assert labels(pool, "even") == dict.fromkeys(range(4), 5)
    assert labels(pool, "best") != labels(pool, "even")


def test_sqrt_balance_lies_between_proportional_and_full(pool: Pool) -> None:
    shares = {}
    for balance in ("proportional", "sqrt", "full"):
        select(pool, balance, SelectOptions("msp", budget=20, balance=balance))
        shares[balance] = labels(pool, balance)
    select(pool, "all", SelectOptions("msp"))
    there = labels(pool, "all")
    most, least = max(there, key=there.__getitem__), min(there, key=there.__getitem__)
    ratios = [share[most] / share[least] for share in shares.values()]
    assert ratios == sorted(ratios, reverse=True) and ratios[0] > ratios[2]


def test_a_share_of_the_pool_is_one_of_all_images_whatever_is_eligible(pool: Pool) -> None:
    few = SelectOptions("msp", budget="10%", min_size=SIZE + 1)
    with pytest.raises(NothingSelectedError):
        select(pool, None, few)
    found = select(pool, "tenth", replace(KD3, budget="10%"))
    assert (found.selected, found.eligible < found.pool) == (IMAGES // 10, True)
    assert found.options["budget"] == "10%" and found.options["balance"] == "proportional"
    assert found.options["resolved_budget"] == IMAGES // 10
    number = select(pool, "number", replace(KD3, budget=IMAGES // 10))
    assert found.content_hash == number.content_hash
    assert "resolved_budget" not in number.options


def test_an_automatic_budget_explains_itself(pool: Pool, workspace: Path) -> None:
    found = select(pool, "auto", SelectOptions("msp", budget="auto"))
    assert found.selected == found.options["resolved_budget"] < found.eligible
    note = found.options["budget_note"]
    assert note.startswith(f"auto budget: {found.selected} of {IMAGES} eligible images: there ")
    assert "bn_shift" in note
    # In NumPy: 76 images, each its own bin.
    rows = query(
        workspace,
        "SELECT score, components['bn_shift'] FROM decisions ORDER BY score DESC, image_id",
    )
    score, shift = (np.array(column) for column in zip(*rows, strict=True))
    value = (score - score.min()) / (score.max() - score.min())
    cost = (shift - shift.min()) / (shift.max() - shift.min())
    monotone = [
        max(min(cost[a : b + 1].mean() for b in range(i, IMAGES)) for a in range(i + 1))
        for i in range(IMAGES)
    ]
    assert found.selected == 1 + int(np.argmax(value <= monotone))


def test_an_automatic_budget_needs_an_estimate(pool: Pool) -> None:
    with pool.catalog.write() as connection:
        connection.execute("DELETE FROM shifts WHERE estimator <> 'bn_kl'")
    with pytest.raises(UsageError, match=f"--budget auto needs .* {pool.teacher} has none of bn_"):
        select(pool, None, SelectOptions("msp", budget="auto"))


@pytest.mark.parametrize("method", ["kcenter", "facility", "clusters"])
def test_diverse_picks_are_less_alike_than_the_best_scores(pool: Pool, method: str) -> None:
    plain = replace(KD3, balance="full", budget=16)
    diverse = replace(plain, diversity=method)
    first, best = select(pool, "first", diverse), select(pool, "best", plain)
    assert first.content_hash == select(pool, "again", diverse).content_hash != best.content_hash
    assert labels(pool, "first") == labels(pool, "best")
    assert (first.selected, first.eligible) == (best.selected, best.eligible)
    assert (first.embedder, first.options["diversity"]) == (pool.embedder, method)
    reasons = {kind for kind, *_ in why(pool, "first")}
    assert {"selected", "less diverse"} <= reasons

    if method == "facility":
        assert coverage(pool, "first") > coverage(pool, "best")
    else:
        assert crowding(pool, "first") < crowding(pool, "best")


def cosines(pool: Pool, name: str) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Cosines of the eligible to those selected, -1 to other classes; and which are the same."""
    rows = query(
        pool.catalog.workspace,
        "SELECT image_id, pseudo_label, selected FROM decisions WHERE manifest = ? "
        "AND (selected OR why IN ('less diverse', 'class quota full'))",
        name,
    )
    ids, classes, taken = (np.array(column) for column in zip(*rows, strict=True))
    vectors = vectors_of(pool.catalog, str(pool.embedder), ids).astype(np.float64)
    same = classes[:, None] == classes[None]
    return np.where(same, vectors @ vectors.T, -1)[:, taken], np.eye(len(ids), dtype=bool)[:, taken]


def coverage(pool: Pool, name: str) -> float:
    """The mean cosine of each eligible image to the nearest that is selected of its class."""
    return float(cosines(pool, name)[0].max(axis=1).mean())


def crowding(pool: Pool, name: str) -> float:
    """The mean cosine of each selected image to the nearest other one of its class."""
    near, itself = cosines(pool, name)
    return float(np.where(itself, -1, near)[itself.any(axis=1)].max(axis=1).mean())


def why(pool: Pool, name: str) -> list[tuple[Any, ...]]:
    return query(
        pool.catalog.workspace,
        "SELECT why, count(*) FROM decisions WHERE manifest = ? GROUP BY 1",
        name,
    )


def test_diversity_without_a_budget_is_within_per_class(pool: Pool) -> None:
    select(pool, "all", SelectOptions("msp"))
    select(pool, "few", SelectOptions("msp", per_class=6, diversity="kcenter"))
    assert labels(pool, "few") == {k: min(count, 6) for k, count in labels(pool, "all").items()}
    assert select(pool, "best", SelectOptions("msp", per_class=6, diversity="none"))
    assert read_selection(pool.catalog, "few").ids.tolist() != (
        read_selection(pool.catalog, "best").ids.tolist()
    )


def test_diversity_needs_an_index(pool: Pool) -> None:
    with pytest.raises(UsageError, match="--diversity facility needs an index"):
        select(
            replace(pool, embedder=None), None, SelectOptions("msp", budget=5, diversity="facility")
        )


def test_kd3_shares_its_budget_in_proportion(pool: Pool) -> None:
    select(pool, "kept", replace(KD3, budget=None))
    select(pool, "shared", KD3)
    kept, shared = labels(pool, "kept"), labels(pool, "shared")
    for label, count in kept.items():
        assert abs(shared[label] - 20 * count / sum(kept.values())) < 1
