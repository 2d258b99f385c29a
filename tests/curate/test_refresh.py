"""Which images a round asks the student about again."""

from __future__ import annotations

from dataclasses import replace

import duckdb
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from curate.options import SelectOptions
from curate.pool import Pool
from curate.refresh import SHARE, distances, due
from curate.selection import select
from distill.freshness import NEVER, RecentLogits

NOW = 50


def recent(steps: list[int], trained: int) -> RecentLogits:
    rows = np.zeros((len(steps), 2), np.float16)
    return RecentLogits(rows, np.array(steps, np.int32), lambda _: rows, NOW, trained)


def floats(values: list[float]) -> NDArray[np.float32]:
    return np.array(values, np.float32)


def test_half_are_the_longest_unheard_and_half_the_nearest() -> None:
    steps = [40, NEVER, 10, NEVER, 49, 49, 50]
    distance = floats([0.9, 0.5, 0.8, 0.4, 0.1, 0.2, 0.0])
    # Two oldest: both never heard. Two nearest of the rest: the last was heard just now.
    assert due(recent(steps, int(4 / SHARE)), distance).tolist() == [1, 3, 4, 5]
    # Of an odd number the oldest have one more; of two as old the nearer goes first.
    assert due(recent(steps, int(1 / SHARE)), distance).tolist() == [3]


def test_what_a_filter_rules_out_is_not_asked_about() -> None:
    distance = floats([np.inf, 0.5, np.inf])
    assert due(recent([NEVER, 3, NEVER], 1000), distance).tolist() == [1]


def test_without_training_nothing_is_asked() -> None:
    assert due(recent([NEVER, 3], 0), floats([0.1, 0.2])).tolist() == []


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_the_same_is_due_whatever_lies_between(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 30))
    steps = data.draw(st.lists(st.integers(NEVER, NOW), min_size=count, max_size=count))
    far = st.sampled_from([0.0, 0.1, 0.2, float("inf")])
    distance = floats(data.draw(st.lists(far, min_size=count, max_size=count)))
    trained = data.draw(st.integers(0, 200))
    found = due(recent(steps, trained), distance)
    assert (np.diff(found) > 0).all() and np.isfinite(distance[found]).all()
    assert len(found) <= int(SHARE * trained)
    stale = np.isfinite(distance) & (np.array(steps) < NOW)
    assert len(found) >= min(int(SHARE * trained), stale.sum())
    oldest = (int(SHARE * trained) + 1) // 2
    left = np.setdiff1d(np.flatnonzero(np.isfinite(distance)), found)
    older = [steps[place] for place in found] + [NOW + 1] * oldest
    if len(left):
        assert sorted(older)[: min(oldest, len(found))][-1:] <= [min(steps[one] for one in left)]


def test_a_distance_is_from_what_the_class_has_to_reach(pool: Pool) -> None:
    select(pool, "m", SelectOptions("kd3", budget=24))
    with pool.catalog.read() as connection:
        rows = connection.execute(
            "SELECT pseudo_label, selected, score, threshold FROM decisions ORDER BY image_id"
        ).fetchall()
        found = distances(connection, "(FROM decisions WHERE manifest = 'm')")
    taken: dict[int, list[float]] = {}
    for label, selected, score, _ in rows:
        if selected:
            taken.setdefault(label, []).append(score)
    expected = [abs(s - min(taken.get(k, [t]))) for k, _, s, t in rows]
    np.testing.assert_allclose(found, expected, atol=1e-7)
    assert len(taken) > 1


def test_no_score_brings_back_what_a_filter_rules_out(pool: Pool) -> None:
    options = SelectOptions("kd3", budget=24)
    select(pool, "m", replace(options, where="id % 2 = 0"))
    with pool.catalog.read() as connection:
        found = distances(connection, "(FROM decisions WHERE manifest = 'm')")
        ids = connection.execute("SELECT id FROM images ORDER BY id").fetchnumpy()["id"]
    assert np.array_equal(np.isinf(found), ids % 2 == 1)


def test_a_class_of_which_none_is_selected_has_its_threshold() -> None:
    with duckdb.connect() as connection:
        connection.execute(
            "CREATE TABLE d AS SELECT * FROM (VALUES (2, 0, true, .9, .5, 'selected: x'), "
            "(1, 1, false, .4, .7, 'below class threshold'), (3, 1, false, .6, .7, 'below'), "
            "(4, 1, false, .6, .7, 'placeholder: found at 9 places')) "
            "t(image_id, pseudo_label, selected, score, threshold, reason)"
        )
        found = distances(connection, "d")
    np.testing.assert_allclose(found, [0.3, 0, 0.1, np.inf], atol=1e-6)
