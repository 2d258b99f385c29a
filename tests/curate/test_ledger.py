"""The ledger on a hand-made table: who is taken, in which order, and why the others are not."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.ledger import Ledger
from curate.quotas import class_quotas
from curate.strategies import Scored


@dataclass(frozen=True)
class Row:
    """An image: id, pseudo-label, score, its near-duplicate group, and whether it is filtered."""

    id: int
    label: int
    score: float
    group: int | None = None
    filtered: bool = False


# Class 0 needs more than .5, class 1 more than .3. 12 ties with 11. 14 is not above its threshold,
# so the better of its group is 17, whose score is lower. 16 is a near-duplicate of 15.
TABLE = [
    Row(11, 0, 0.9),
    Row(12, 0, 0.9),
    Row(13, 0, 0.7),
    Row(14, 0, 0.5, group=14),
    Row(15, 1, 0.8, group=15),
    Row(16, 1, 0.75, group=15),
    Row(17, 1, 0.4, group=14),
    Row(18, 1, 0.25),
]
THRESHOLDS = [0.5, 0.3]
TOO_SMALL = "filtered: shorter side 12 < 16"
Decisions = dict[int, tuple[int | None, str]]


def decided(
    table: list[Row],
    *,
    thresholds: list[float] | None = None,
    budget: int | None = None,
    balance: str = "none",
    per_class: int | None = None,
    batch: int = 3,
) -> tuple[Decisions, tuple[int, int, int]]:
    """Rank and reason by image id, and the counts of the pool, the eligible, and the selected."""
    with tempfile.TemporaryDirectory() as scratch:
        ledger = Ledger(Path(scratch), classes=2)
        try:
            for start in range(0, len(table), batch):
                add(ledger, table[start : start + batch])
            limits = None if thresholds is None else np.array(thresholds)
            ledger.decide(limits, budget, balance, per_class)
            rows = duckdb.sql(
                f"SELECT image_id, rank, reason, selected FROM '{ledger.write_parquet()}'"
            ).fetchall()
            assert all((rank is not None) == selected for _, rank, _, selected in rows)
            return {key: (rank, reason) for key, rank, reason, _ in rows}, ledger.counts()
        finally:
            ledger.close()


def add(ledger: Ledger, rows: list[Row]) -> None:
    ids = np.array([row.id for row in rows])
    score = np.array([row.score for row in rows], np.float32)
    label = np.array([row.label for row in rows], np.int16)
    ledger.add(ids, Scored(score, label), {"teacher_confidence": score})
    grouped = [row for row in rows if row.group is not None]
    if grouped:
        ledger.add_groups(
            np.array([row.id for row in grouped]), np.array([row.group for row in grouped])
        )
    filtered = [row.id for row in rows if row.filtered]
    if filtered:
        path = ledger.scratch / "filtered.parquet"
        found = f"SELECT unnest({filtered}) AS image_id, '{TOO_SMALL}' AS filter"
        duckdb.execute(f"COPY ({found}) TO '{path}' (FORMAT parquet)")
        ledger.add_filtered(path)


def test_every_image_is_decided_with_its_reason() -> None:
    found, counts = decided(TABLE, thresholds=THRESHOLDS, budget=4, balance="full")
    assert found == {
        11: (1, "selected: above class threshold 0.900 > 0.500"),
        12: (2, "selected: above class threshold 0.900 > 0.500"),
        13: (None, "class quota full: place 3 of 2"),
        14: (None, "below class threshold 0.500 <= 0.500"),
        15: (3, "selected: above class threshold 0.800 > 0.300"),
        16: (None, "near-duplicate of 15"),
        17: (4, "selected: above class threshold 0.400 > 0.300"),
        18: (None, "below class threshold 0.250 <= 0.300"),
    }
    assert counts == (8, 5, 4)


def test_the_budget_goes_to_the_best_of_all_classes() -> None:
    found, counts = decided(TABLE, thresholds=THRESHOLDS, budget=3)
    assert {key: rank for key, (rank, _) in found.items() if rank} == {11: 1, 12: 2, 15: 3}
    assert found[13][1] == "budget full: place 4 of 3"
    assert found[17][1] == "budget full: place 5 of 3"
    assert counts == (8, 5, 3)


def test_without_thresholds_and_budget_all_but_near_duplicates_are_taken() -> None:
    found, counts = decided(TABLE)
    ranks = sorted((rank, key) for key, (rank, _) in found.items() if rank)
    assert [key for _, key in ranks] == [11, 12, 15, 13, 14, 18]
    assert found[11][1] == "selected: score within the budget"
    # Nothing rules 14 out here, so it is the one that its group keeps.
    assert found[17] == (None, "near-duplicate of 14")
    assert counts == (8, 6, 6)


def test_per_class_is_the_most_of_a_class() -> None:
    found, _ = decided(TABLE, thresholds=THRESHOLDS, per_class=1)
    assert {key for key, (rank, _) in found.items() if rank} == {11, 15}
    assert found[12][1] == "class quota full: place 2 of 1"
    assert found[17][1] == "class quota full: place 2 of 1"


def test_per_class_holds_beside_a_shared_budget() -> None:
    found, counts = decided(
        TABLE, thresholds=THRESHOLDS, budget=4, balance="proportional", per_class=1
    )
    assert {key for key, (rank, _) in found.items() if rank} == {11, 15}
    assert counts == (8, 5, 2)


def test_what_a_full_class_may_not_give_the_others_do() -> None:
    table = [Row(key, int(key >= 8), 1 - key / 100) for key in range(12)]
    found, _ = decided(table, budget=6, balance="proportional", per_class=3)
    assert sum(rank is not None for key, (rank, _) in found.items() if key < 8) == 3
    assert sum(rank is not None for _, (rank, _) in found.items()) == 6


def test_equal_scores_are_ordered_by_image_id() -> None:
    table = [Row(key, key % 2, 0.5) for key in (9, 2, 7, 4, 5)]
    found, _ = decided(table, budget=3)
    assert {key: rank for key, (rank, _) in found.items() if rank} == {2: 1, 4: 2, 5: 3}


def test_of_equal_near_duplicates_the_smaller_id_stays() -> None:
    found, _ = decided([Row(5, 0, 0.5, group=3), Row(3, 1, 0.5, group=3)])
    assert found[3][0] == 1
    assert found[5] == (None, "near-duplicate of 3")


def test_a_group_below_its_thresholds_has_no_keeper() -> None:
    found, counts = decided(
        [Row(5, 0, 0.5, group=3), Row(3, 1, 0.2, group=3)], thresholds=[0.5, 0.3]
    )
    assert all(reason.startswith("below class threshold") for _, reason in found.values())
    assert counts == (2, 0, 0)


def test_a_filtered_image_keeps_its_score_and_is_not_eligible() -> None:
    best, other = Row(11, 0, 0.9, filtered=True), Row(12, 0, 0.8)
    found, counts = decided([best, other], thresholds=THRESHOLDS)
    assert found[11] == (None, TOO_SMALL)
    assert found[12][0] == 1
    assert counts == (2, 1, 1)


def test_the_filter_is_named_before_threshold_and_group() -> None:
    found, _ = decided([Row(11, 0, 0.1, group=7, filtered=True)], thresholds=THRESHOLDS)
    assert found[11] == (None, TOO_SMALL)


def test_a_filtered_image_keeps_no_other_out_of_its_group() -> None:
    found, _ = decided([Row(11, 0, 0.9, group=7, filtered=True), Row(12, 0, 0.8, group=7)])
    assert found == {11: (None, TOO_SMALL), 12: (1, "selected: score within the budget")}


def test_filtered_images_count_for_no_share_of_their_class() -> None:
    # Three of class 0 and one of class 1 are left: a budget of four in proportion takes 3 and 1.
    table = [Row(key, 0, 0.5, filtered=key < 6) for key in range(9)] + [Row(9, 1, 0.5)]
    found, _ = decided(table, budget=4, balance="proportional")
    assert [key for key, (rank, _) in sorted(found.items()) if rank] == [6, 7, 8, 9]


def test_an_empty_pool_is_decided_too() -> None:
    assert decided([], budget=3, balance="full") == ({}, (0, 0, 0))


def test_class_counts_are_those_of_all_that_is_not_filtered(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, classes=4)
    add(ledger, TABLE)
    assert ledger.class_counts().tolist() == [4, 4, 0, 0]
    add(ledger, [Row(19, 0, 0.5, filtered=True), Row(20, 2, 0.5), Row(21, 2, 0.5, filtered=True)])
    assert ledger.class_counts().tolist() == [4, 4, 1, 0]
    ledger.close()


@pytest.mark.parametrize("seed", range(4))
def test_the_order_of_insertion_is_irrelevant(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shuffled = [TABLE[place] for place in rng.permutation(len(TABLE))]
    options: dict[str, Any] = {"thresholds": THRESHOLDS, "budget": 4, "balance": "proportional"}
    assert decided(shuffled, **options, batch=1 + seed * 2) == decided(TABLE, **options)


def test_selected_images_come_by_rank_with_weight_one(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, classes=2)
    add(ledger, TABLE)
    ledger.decide(np.array(THRESHOLDS), None, "none", None)
    (batch,) = ledger.selected()
    assert batch["image_id"].tolist() == [11, 12, 15, 13, 17]
    assert batch["rank"].tolist() == [1, 2, 3, 4, 5]
    assert batch["pseudo_label"].tolist() == [0, 0, 1, 0, 1]
    assert batch["weight"].tolist() == [1.0] * 5
    ledger.close()


def test_components_are_kept_beside_the_score(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, classes=1)
    score = np.array([0.5], np.float32)
    parts = {"teacher_confidence": score, "bn_shift": np.array([-1.5], np.float32)}
    ledger.add(np.array([7]), Scored(score, np.array([0], np.int16)), parts)
    ledger.decide(None, None, "none", None)
    rows = duckdb.sql(f"SELECT components FROM '{ledger.write_parquet()}'").fetchall()
    assert rows == [({"teacher_confidence": 0.5, "bn_shift": -1.5},)]
    ledger.close()


def test_components_whose_names_differ_in_case_only_stay_apart(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, classes=1)
    score = np.array([0.5, 0.25], np.float32)
    parts = {"Sharp": score, "sharp": -score, 'it\'s "1"': score}
    ledger.add(np.array([7, 8]), Scored(score, np.array([0, 0], np.int16)), parts)
    ledger.decide(None, None, "none", None)
    rows = duckdb.sql(f"SELECT components FROM '{ledger.write_parquet()}'").fetchall()
    assert rows[1] == ({"Sharp": 0.25, "sharp": -0.25, 'it\'s "1"': 0.25},)
    ledger.close()


def test_the_ledger_is_in_order_of_images(tmp_path: Path) -> None:
    ids = np.random.default_rng(0).permutation(5000)
    score = np.random.default_rng(1).random(5000, np.float32)
    ledger = Ledger(tmp_path, classes=3)
    for start in range(0, 5000, 700):
        part = slice(start, start + 700)
        labels = (ids[part] % 3).astype(np.int16)
        ledger.add(ids[part], Scored(score[part], labels), {})
    ledger.decide(np.array([0.2, 0.5, 0.1]), 700, "sqrt", None)
    rows = duckdb.sql(f"SELECT image_id, components FROM '{ledger.write_parquet()}'").fetchall()
    assert rows == [(key, {}) for key in range(5000)]
    ledger.close()


ROWS = st.lists(
    st.builds(
        Row,
        id=st.integers(10, 2**63 - 1),
        label=st.integers(0, 1),
        score=st.sampled_from([0.125, 0.25, 0.5, 0.75]),
        group=st.none() | st.integers(0, 2),
        filtered=st.booleans(),
    ),
    max_size=14,
    unique_by=lambda row: row.id,
)


@settings(max_examples=25, deadline=None)
@given(
    table=ROWS,
    thresholds=st.none() | st.lists(st.sampled_from([0.2, 0.5]), min_size=2, max_size=2),
    budget=st.none() | st.integers(1, 10),
    balance=st.sampled_from(["none", "proportional", "sqrt", "full"]),
    per_class=st.none() | st.integers(1, 4),
)
def test_decisions_are_those_of_a_plain_loop(
    table: list[Row],
    thresholds: list[float] | None,
    budget: int | None,
    balance: str,
    per_class: int | None,
) -> None:
    balance = balance if budget is not None else "none"
    found, counts = decided(
        table, thresholds=thresholds, budget=budget, balance=balance, per_class=per_class
    )
    taken, eligible, reasons = plain_loop(table, thresholds, budget, balance, per_class)
    assert {key: reason for key, (_, reason) in found.items()} == reasons
    ranks = sorted((rank, key) for key, (rank, _) in found.items() if rank)
    assert [key for _, key in ranks] == taken
    assert [rank for rank, _ in ranks] == list(range(1, len(taken) + 1))
    assert set(found) == {row.id for row in table}
    assert counts == (len(table), eligible, len(taken))


def plain_loop(
    table: list[Row],
    thresholds: list[float] | None,
    budget: int | None,
    balance: str,
    per_class: int | None,
) -> tuple[list[int], int, dict[int, str]]:
    """The same decisions, an image at a time: ids taken in order, how many could be, and why."""
    best_first = sorted(table, key=lambda row: (-row.score, row.id))
    kept: list[Row] = []
    groups: dict[int, int] = {}
    reasons = {}
    tau = [None, None] if thresholds is None else [f"{one:.3f}" for one in thresholds]
    for row in best_first:
        if row.filtered:
            reasons[row.id] = TOO_SMALL
        elif thresholds is not None and row.score <= np.float32(thresholds[row.label]):
            reasons[row.id] = f"below class threshold {row.score:.3f} <= {tau[row.label]}"
        elif row.group is not None and row.group in groups:
            reasons[row.id] = f"near-duplicate of {groups[row.group]}"
        else:
            kept.append(row)
            if row.group is not None:
                groups[row.group] = row.id
    most = len(table) if per_class is None else per_class
    available = np.array([min(most, sum(row.label == k for row in kept)) for k in (0, 1)])
    quota = class_quotas(available, budget, balance) if budget is not None else None
    room = quota.tolist() if quota is not None else [most] * 2
    places, overall = [0, 0], 0
    taken: list[int] = []
    for row in kept:
        places[row.label] += 1
        if places[row.label] > room[row.label]:
            place = f"place {places[row.label]} of {room[row.label]}"
            reasons[row.id] = f"class quota full: {place}"
            continue
        overall += 1
        if budget is not None and overall > budget:
            reasons[row.id] = f"budget full: place {overall} of {budget}"
            continue
        taken.append(row.id)
        reasons[row.id] = "selected: score within the budget"
        if thresholds is not None:
            above = f"{row.score:.3f} > {tau[row.label]}"
            reasons[row.id] = f"selected: above class threshold {above}"
    return taken, len(kept), reasons
