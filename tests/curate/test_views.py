"""The views that compare: their figures against those worked out from the tables."""

from __future__ import annotations

import math
from collections import Counter
from statistics import fmean, median

import pytest

from curate.options import SelectOptions
from curate.pool import Pool
from curate.query import schema
from curate.selection import select
from index.catalog import insert
from index.duplicates import find_by_hash
from index.progress import Silent

from .helpers import CLASSES, IMAGES, query


def test_every_table_view_and_column_has_a_comment(scored: Pool) -> None:
    rows = schema(scored.catalog)
    mute = {(row["relation"], row["column"]) for row in rows if not row["comment"]}
    mute |= {(row["relation"], None) for row in rows if not row["relation_comment"]}
    assert mute == set()


def divergence(labels: list[int]) -> float:
    shares = [count / len(labels) for count in Counter(labels).values()]
    return sum(p * math.log(p * len(CLASSES)) for p in shares)


def test_manifest_shift_compares_what_was_taken_with_the_pool(pool: Pool) -> None:
    made = select(pool, "second", SelectOptions("kd3", budget=30, alpha=0.5))
    rows = query(
        pool.catalog.workspace,
        "SELECT d.selected, s.value, d.pseudo_label, t.pseudo_label <> u.pseudo_label "
        "FROM decisions d JOIN shifts s USING (image_id) JOIN scores t USING (image_id) "
        "JOIN scores u USING (image_id) WHERE s.estimator = 'bn_shift' "
        "AND s.model = ? AND t.model = ? AND u.model = ?",
        made.teacher,
        made.teacher,
        made.student,
    )
    assert len(rows) == IMAGES
    taken, left = [row for row in rows if row[0]], [row for row in rows if not row[0]]
    expected = [fmean(row[1] for row in some) for some in (rows, taken, left)]
    expected += [median(row[1] for row in some) for some in (rows, taken, left)]
    expected += [divergence([row[2] for row in some]) for some in (rows, taken)]
    expected += [fmean(row[3] for row in some) for some in (rows, taken)]
    (found,) = query(pool.catalog.workspace, "FROM manifest_shift WHERE estimator = 'bn_shift'")
    assert found[:2] == ("second", "bn_shift")
    assert found[2:-2] == pytest.approx(expected, abs=1e-6)
    assert found[-2:] == (None, IMAGES)
    assert 0 < expected[-2] < 1


def test_a_manifest_without_student_or_estimate_has_its_row_too(pool: Pool) -> None:
    select(Pool(pool.catalog, pool.teacher, pool.classes, {}), "alone", SelectOptions("msp"))
    with pool.catalog.write() as connection:
        connection.execute("DELETE FROM shifts")
    (found,) = query(
        pool.catalog.workspace,
        "SELECT estimator, pool_mean, pool_kl, selected_kl, pool_disagreement FROM manifest_shift",
    )
    assert (found[0], found[1], found[4]) == (None, None, None)
    assert found[2] == found[3] >= 0


def test_near_duplicates_are_groups_with_two_of_their_places(pool: Pool) -> None:
    find_by_hash(pool.catalog, 4, Silent())
    rows = query(pool.catalog.workspace, "SELECT group_id, image_id FROM duplicates")
    groups: dict[int, list[int]] = {}
    for group, image in rows:
        groups.setdefault(group, []).append(image)
    found = query(
        pool.catalog.workspace,
        "SELECT group_id, size, members, uris FROM near_duplicates WHERE kind = 'perceptual'",
    )
    assert {row[0]: sorted(groups[row[0]]) for row in found} == {row[0]: row[2] for row in found}
    assert len(found) == len(groups) > 0
    for _, size, members, uris in found:
        places = [
            query(pool.catalog.workspace, "SELECT min(uri) FROM locations WHERE image_id = ?", one)
            for one in members[:2]
        ]
        assert size == len(members)
        assert uris == [place[0][0] for place in places]


def test_runs_stand_beside_their_manifest(pool: Pool) -> None:
    made = select(pool, "m", SelectOptions("msp", budget=20))
    run = {"name": "r", "method": "kd", "teacher": "t", "student": "s", "options": "{}"}
    run |= {"seed": 0, "steps": 9, "accuracy": 0.75, "seconds": 1.5, "code_version": "0"}
    with pool.catalog.write() as connection:
        for manifest in ("m", "deleted"):
            columns = {name: [value] for name, value in run.items()}
            at = connection.execute("SELECT now()::TIMESTAMP").fetchnumpy()
            finished = next(iter(at.values()))
            insert(connection, "runs", {**columns, "manifest": [manifest], "finished_at": finished})
    found = query(
        pool.catalog.workspace,
        "SELECT run, manifest, strategy, content_hash, selected, pool, accuracy "
        "FROM runs_with_manifest ORDER BY manifest",
    )
    assert found == [
        ("r", "deleted", None, None, None, None, 0.75),
        ("r", "m", "msp", made.content_hash, 20, IMAGES, 0.75),
    ]
