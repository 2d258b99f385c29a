"""What a budget comes to: numbers, shares of the pool, and the knee, worked out by hand."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pytest
from numpy.typing import NDArray

from curate.budget import (
    RankBin,
    check_budget,
    cost_of,
    knee,
    parse_budget,
    rank_bins,
    resolve,
)
from curate.ledger import Ledger
from curate.strategies import Scored
from index.errors import UsageError


@pytest.mark.parametrize(
    ("text", "budget"), [("8000", 8000), ("10%", "10%"), (" 2.5 % ", "2.5 %"), ("auto", "auto")]
)
def test_what_is_typed(text: str, budget: int | str) -> None:
    assert parse_budget(text) == budget


@pytest.mark.parametrize(
    "text", ["0", "-3", "0%", "100.1%", "-5%", "ten", "1.5", "nan%", "1e3", "", "%", "Auto", "10%%"]
)
def test_what_is_no_budget_is_refused_by_name(text: str) -> None:
    with pytest.raises(UsageError, match="--budget is"):
        parse_budget(text)


def test_old_numbers_and_new_words_both_stand_in_options() -> None:
    for budget in (1, 8000, "100%", "0.001%", "auto"):
        check_budget(budget)


def make_ledger(
    folder: Path,
    score: NDArray[np.float64],
    shift: NDArray[np.float64],
    order: NDArray[np.int64],
    filtered_from: int | None = None,
) -> Ledger:
    """Images 1, 2, ... of two classes, added in this order; a filter rules the last ones out."""
    folder.mkdir(exist_ok=True)
    ledger = Ledger(folder, classes=2)
    for some in np.array_split(order, 3):
        far = shift[some].astype(np.float32)
        ledger.add(
            some + 1,
            Scored(score[some].astype(np.float32), (some % 2).astype(np.int16)),
            {"bn_shift": far, "classifier_angle": -far},
        )
    if filtered_from is not None:
        path = folder / "filtered.parquet"
        ids = f"SELECT range AS image_id, 'x' AS filter FROM range({filtered_from}, 10000)"
        duckdb.execute(f"COPY ({ids}) TO '{path}' (FORMAT parquet)")
        ledger.add_filtered(path)
    ledger.mark(None)
    return ledger


@pytest.mark.parametrize(
    ("share", "images"), [("10%", 3), ("1%", 1), ("100%", 37), ("99.9%", 36), ("33.4 %", 12)]
)
def test_a_share_is_one_of_the_pool_rounded_down(tmp_path: Path, share: str, images: int) -> None:
    ledger = make_ledger(tmp_path, np.arange(37.0), np.arange(37.0), np.arange(37), 6)
    found = resolve(share, ledger, None)
    assert found.images == images
    assert found.note == f"{share} of the 37 images of the pool: {images}"
    assert found.as_json() == {"resolved_budget": images, "budget_note": found.note}
    ledger.close()


def test_a_number_needs_no_explanation(tmp_path: Path) -> None:
    ledger = make_ledger(tmp_path, np.arange(9.0), np.arange(9.0), np.arange(9))
    assert resolve(5, ledger, None).as_json() == {} == resolve(None, ledger, None).as_json()
    assert (resolve(5, ledger, None).images, resolve(None, ledger, None).images) == (5, None)
    ledger.close()


# By rank: scores fall 1, .9, .8, .5, .2, 0; shifts 1 3 2 7 6 11 are 0 .2 .1 .6 .5 1 once scaled,
# and 0 .15 .15 .55 .55 1 once monotone. Value is above cost at ranks 1 to 3, .5 <= .55 at rank 4.
SCORE = np.array([1, 0.9, 0.8, 0.5, 0.2, 0])
SHIFT = np.array([1.0, 3, 2, 7, 6, 11])


@pytest.mark.parametrize("seed", range(3))
def test_the_knee_by_hand(tmp_path: Path, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(6)
    ledger = make_ledger(tmp_path, SCORE, SHIFT, order)
    found = resolve("auto", ledger, "bn_shift")
    assert found.images == 4
    assert found.note == (
        "auto budget: 4 of 6 eligible images: there the mean score falls to 0.50 and the mean "
        "shift (bn_shift) rises to 0.55 (scaled over the eligible images)"
    )
    # A cosine, of which less is further.
    assert resolve("auto", ledger, "classifier_angle").images == 4
    ledger.close()
    # Only those that are eligible count: without the last three, scores are 1, .5, 0 and costs
    # 0, .75, .75.
    fewer = make_ledger(tmp_path / "fewer", SCORE, SHIFT, order, 4)
    assert resolve("auto", fewer, "bn_shift").images == 2
    fewer.close()


def test_many_images_share_bins_and_outliers_decide_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    score = rng.random(4000)
    shift = 1 - score + rng.normal(scale=0.05, size=4000)
    ledger = make_ledger(tmp_path, score, shift, rng.permutation(4000))
    bins = rank_bins(ledger.connection, "bn_shift")
    assert [one.images for one in bins] == [4] * 1000
    # In NumPy: sorted, scaled between percentiles, averaged in fours.
    by_score = np.argsort(-score.astype(np.float32), kind="stable")
    for name, values in (("score", score), ("shift", shift)):
        exact = values.astype(np.float32).astype(np.float64)
        low, high = np.sort(exact)[[40, -41]]
        scaled = np.clip((exact - low) / (high - low), 0, 1)[by_score].reshape(1000, 4).mean(1)
        np.testing.assert_allclose([getattr(one, name) for one in bins], scaled, atol=1e-8)
    assert 1900 < (knee(bins, "bn_shift").images or 0) < 2100
    ledger.close()
    shift[:5] = 1e6
    wild = make_ledger(tmp_path / "wild", score, shift, rng.permutation(4000))
    assert 1900 < (resolve("auto", wild, "bn_shift").images or 0) < 2100
    wild.close()


def bins_of(scores: list[float], shifts: list[float]) -> list[RankBin]:
    return [RankBin(2, *pair) for pair in zip(scores, shifts, strict=True)]


@pytest.mark.parametrize(
    ("bins", "why"),
    [
        (bins_of([0.5, 0.5], [0.1, 0.9]), "all 4 eligible images: all have the same score"),
        (bins_of([1, 0.5], [0, 0]), r"all 4 .*: all have the same shift \(bn_shift\)"),
        (bins_of([1, 0.5], [0.1, 0.3]), "all 4 .*: the mean score stays above the mean shift"),
        (bins_of([0.5], [0.5]), "all 2 eligible images: all have the same score"),
        ([], "all 0 eligible images"),
    ],
)
def test_where_there_is_no_knee_all_are_taken_and_it_is_said(bins: list[RankBin], why: str) -> None:
    found = knee(bins, "bn_shift")
    assert found.images == max(1, sum(one.images for one in bins))
    assert found.note is not None
    with pytest.raises(AssertionError, match=why):
        raise AssertionError(found.note)


def test_auto_takes_the_first_estimate_that_there_is_or_says_that_there_is_none() -> None:
    stored = ["null_space", "classifier_angle", "bn_kl"]
    assert cost_of("auto", "t", stored) == "null_space"
    assert cost_of("auto", "t", ["bn_shift", *stored]) == "bn_shift"
    assert cost_of("10%", "t", []) is None
    with pytest.raises(
        UsageError, match="--budget auto needs an estimate of shift, and t has none"
    ):
        cost_of("auto", "t", ["bn_kl"])
