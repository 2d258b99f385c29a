"""What a report says, against what SQL and NumPy say of the same workspace."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import duckdb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.query import run_query, sandbox
from curate.report import ledger
from curate.report.balance import tally
from curate.report.content import Content
from curate.report.distributions import BINS
from curate.report.embedding import LEFT, ORIGINAL, SELECTED, tsne
from curate.report.features import Features
from curate.report.grids import NEARLY
from curate.report.ledger import draw_sample
from curate.report.thumbnails import make_thumbnails
from index.catalog import Catalog
from index.progress import Silent

from ..helpers import query
from .conftest import FIRST, RUN, SECOND


def asked(catalog: Catalog, text: str, *parameters: object) -> list[tuple[object, ...]]:
    return query(catalog.workspace, text, *parameters)


def test_the_funnel_counts_what_the_tables_hold(harmful: Catalog, content: Content) -> None:
    ((places, failed, images),) = asked(
        harmful,
        "SELECT (SELECT count(*) FROM locations), (SELECT count(*) FROM failures), "
        "(SELECT count(*) FROM images)",
    )
    for funnel in content.funnels:
        steps = {name: count for name, count, _ in funnel.steps}
        assert list(steps) == ["found", "readable", "unique", "eligible", "selected"]
        ((selected,),) = asked(
            harmful,
            "SELECT count(*) FROM decisions WHERE manifest = ? AND selected",
            funnel.manifest.name,
        )
        assert (steps["readable"], steps["unique"], steps["selected"]) == (places, images, selected)
        assert steps["found"] == places + failed  # type: ignore[operator]
        assert sum(reason.images for reason in funnel.reasons) == funnel.manifest.pool
        assert sum(r.images for r in funnel.reasons if r.selected) == selected
    assert sum(reason.images for reason in content.crawl.failures) == failed


def test_rounds_are_shown_with_their_run_and_not_as_manifests(content: Content) -> None:
    assert [one.name for one in content.scope.manifests] == [FIRST, SECOND]
    (rounds,) = content.rounds
    assert [row.round for row in rounds.rounds] == [1, 2]
    assert all(row.median_threshold is not None for row in rounds.rounds)


def test_grids_hold_what_they_say(harmful: Catalog, content: Content) -> None:
    for grid in content.grids:
        rows = asked(
            harmful,
            "SELECT image_id, pseudo_label, selected, score, why FROM decisions WHERE manifest = ?",
            grid.manifest.name,
        )
        for one in grid.rows:
            here = [row for row in rows if row[1] == one.label]
            assert (one.pool, one.taken) == (len(here), sum(bool(row[2]) for row in here))
            taken = sorted(row[0] for row in here if row[2])  # type: ignore[type-var]
            left = sorted(row[0] for row in here if not row[2])  # type: ignore[type-var]
            assert (one.selected, one.left) == (taken[:8], left[:8])
            near = [row for row in here if not row[2] and row[4] in NEARLY]
            near.sort(key=lambda row: (-row[3], row[0]))  # type: ignore[operator]
            assert one.nearly == [row[0] for row in near[:8]]


def test_originals_stand_by_the_class_that_the_teacher_gives_them(content: Content) -> None:
    assert content.originals is not None
    labels = content.maps.original_labels[content.scope.manifests[0].teacher]
    assert len(labels) == len(content.originals.places) == 20
    wanted = Counter(labels)
    for row in content.grids[0].rows:
        assert len(row.original) == min(8, wanted[row.label])


def test_histograms_count_every_image_once(harmful: Catalog, content: Content) -> None:
    for one in [*content.scores, *content.shifts]:
        assert len(one.selected) == len(one.left) == BINS
        assert sum(one.selected) == one.manifest.selected
        assert sum(one.selected) + sum(one.left) == one.manifest.pool
    one = content.scores[0]
    values = [
        value
        for (value,) in asked(
            harmful,
            "SELECT score::DOUBLE FROM decisions WHERE manifest = ? AND selected",
            one.manifest.name,
        )
    ]
    expected, _ = np.histogram(values, bins=BINS, range=(one.low, one.high))
    assert np.abs(np.cumsum(expected) - np.cumsum(one.selected)).max() <= 1  # a value on an edge
    assert one.selected_median == pytest.approx(np.median(values))  # type: ignore[arg-type]
    assert {s.what for s in content.shifts} >= {"bn_shift"}


def test_thresholds_are_those_of_the_ledger(harmful: Catalog, content: Content) -> None:
    found = dict(
        asked(
            harmful,
            "SELECT DISTINCT pseudo_label, threshold::DOUBLE FROM decisions WHERE manifest = ?",
            FIRST,
        )
    )
    assert {one.label: one.value for one in content.scores[0].thresholds} == found


def test_the_balance_is_that_of_the_view(harmful: Catalog, content: Content) -> None:
    for one in content.balances:
        rows = asked(
            harmful,
            "SELECT pseudo_label, pool, selected FROM class_balance WHERE manifest = ? ORDER BY 1",
            one.manifest.name,
        )
        assert [(row.label, row.pool, row.selected) for row in one.classes] == rows
        assert one.others is None


def test_agreement_is_that_of_the_view_and_of_the_mapped_images(
    harmful: Catalog, content: Content
) -> None:
    stored, mapped = content.agreements
    ((agree, images),) = asked(
        harmful,
        "SELECT count(*) FILTER (agrees), count(*) FROM agreement WHERE manifest = ?",
        SECOND,
    )
    assert (stored.agree, stored.images) == (agree, images)
    assert sum(map(sum, stored.counts)) == images
    assert sum(stored.counts[n][n] for n in range(len(stored.labels))) == agree
    assert mapped.images == len(content.maps.students[0].groups[LEFT][0]) + len(
        content.maps.students[0].groups[SELECTED][0]
    )


def test_agreement_keeps_the_classes_that_are_said_most_often(content: Content) -> None:
    teacher = np.repeat(np.arange(30), np.arange(1, 31))
    student = np.where(teacher % 2 == 0, teacher, 0)
    found = tally("", content.scope.manifests[0], teacher, student)
    assert found.labels == list(range(10, 30))
    assert found.agree == sum(n + 1 for n in range(0, 30, 2))
    assert found.counts[0] == [11] + [0] * 19
    assert found.images == len(teacher)


def test_maps_colour_images_by_decision(harmful: Catalog, content: Content) -> None:
    first, second = content.maps.teachers
    assert first.groups[ORIGINAL][0] == second.groups[ORIGINAL][0]
    for panel in (first, second):
        for name, wanted in ((SELECTED, True), (LEFT, False)):
            ids, positions = panel.groups[name]
            assert len(ids) == len(positions) > 0
            assert positions.min() >= 0 and positions.max() <= 1
            rows = asked(
                harmful,
                "SELECT DISTINCT selected FROM decisions WHERE manifest = ? "
                "AND image_id IN (SELECT unnest(?::BIGINT[]))",
                panel.title,
                ids,
            )
            assert rows == [(wanted,)]
    (student,) = content.maps.students
    assert "round 2" in student.remark


def test_a_map_is_the_same_again_and_puts_like_beside_like() -> None:
    rng = np.random.default_rng(0)
    centres = np.repeat(np.eye(2, 20), 20, axis=0)
    rows = (centres + 0.05 * rng.standard_normal((40, 20))).astype(np.float32)
    features = Features("", np.arange(30), rows[:30], rows[30:])
    one, again = tsne(features, 3), tsne(features, 3)
    assert one is not None and again is not None
    assert np.array_equal(one, again)
    across = np.linalg.norm(one[:20].mean(0) - one[20:].mean(0))
    within = np.linalg.norm(one[:20] - one[:20].mean(0), axis=1).mean()
    assert across > 2 * within
    assert tsne(Features("", np.arange(5), rows[:5], rows[:0]), 3) is None


def test_a_sample_has_every_reason_and_its_sql_gives_it_again(
    harmful: Catalog, content: Content
) -> None:
    funnel = content.funnels[0]
    sample = draw_sample(harmful, funnel.manifest, funnel.reasons, 20)
    assert len(sample.ids) == sample.rows <= 20
    with sandbox(harmful) as connection:
        found = run_query(
            connection, f"SELECT image_id, why FROM decisions WHERE {sample.condition}"
        )
        rows = [row for batch in found.batches for row in batch]
    assert sorted(row[0] for row in rows) == sample.ids
    assert {row[1] for row in rows} == {reason.why for reason in funnel.reasons}


@given(counts=st.lists(st.integers(1, 1000), min_size=1, max_size=8), most=st.integers(10, 500))
def test_as_many_of_each_reason_as_there_is_room_for(counts: list[int], most: int) -> None:
    each = ledger._of_each(counts, most)
    if each is None:
        assert sum(counts) <= most
        return
    assert sum(min(count, each) for count in counts) <= most
    assert sum(min(count, each + 1) for count in counts) > most


def test_the_largest_groups_of_near_duplicates_are_shown(
    harmful: Catalog, content: Content
) -> None:
    (found,) = content.groups
    rows = asked(
        harmful,
        "SELECT size, members FROM near_duplicates WHERE kind = 'perceptual' "
        "ORDER BY size DESC, group_id",
    )
    assert (found.kind, found.groups) == ("perceptual", len(rows))
    assert found.images == sum(size for size, _ in rows)  # type: ignore[misc]
    shown = [(group.size, group.shown) for group in found.largest]
    assert shown == [(size, members[:6]) for size, members in rows[:12]]  # type: ignore[index]


def test_methods_say_accuracy_and_recovery(content: Content) -> None:
    teacher, student = content.methods
    assert (teacher.run, student.run) == (None, RUN)
    assert student.accuracy is not None and teacher.accuracy
    assert student.recovery == pytest.approx(student.accuracy / teacher.accuracy)
    assert student.params and student.flops and student.macs and student.flops > student.macs


def test_thumbnails_keep_to_their_budget_and_the_first_come_first(
    harmful: Catalog, content: Content
) -> None:
    ids = [int(image.id) for image in content.images]
    everything = make_thumbnails(harmful, ids, [], workers=0, progress=Silent())
    assert list(everything.uris) == ids and (everything.gone, everything.over) == (0, 0)
    some = make_thumbnails(harmful, ids, [], workers=0, progress=Silent(), budget=2_000)
    kept = list(some.uris)
    assert kept == ids[: len(kept)] and 0 < len(kept) < len(ids)
    assert some.over == len(ids) - len(kept)


def test_images_that_are_gone_have_no_thumbnail(harmful: Catalog, tmp_path: Path) -> None:
    moved = Catalog(tmp_path)
    with harmful.read() as connection:
        connection.execute(f"COPY (FROM locations) TO '{tmp_path / 'l.parquet'}' (FORMAT parquet)")
    with moved.write() as connection:
        connection.execute(f"INSERT INTO locations FROM '{tmp_path / 'l.parquet'}'")
        connection.execute(
            "UPDATE locations SET container = container || '.gone' WHERE kind = 'files' "
            "AND image_id NOT IN (SELECT image_id FROM locations WHERE kind != 'files')"
        )
        gone = connection.execute(
            "SELECT count(DISTINCT image_id) FROM locations WHERE container LIKE '%.gone'"
        ).fetchall()[0][0]
        ids = connection.execute("SELECT DISTINCT image_id FROM locations").fetchall()
    found = make_thumbnails(moved, [i for (i,) in ids], [], workers=0, progress=Silent())
    assert 0 < gone == found.gone < len(ids)
    assert len(found.uris) == len(ids) - gone


def test_a_huge_ledger_is_sampled_without_sorting_it() -> None:
    """What the sample and the grids go by keeps as many ids a group as are wanted, and no more."""
    with duckdb.connect(config={"memory_limit": "60MB", "temp_directory": ""}) as connection:
        connection.execute("SET threads = 1")
        connection.execute(
            "CREATE VIEW many AS SELECT hash(range)::UBIGINT AS id FROM range(3000000)"
        )
        rows = connection.execute("SELECT id % 3, min(id, 100) FROM many GROUP BY 1").fetchall()
    assert [len(ids) for _, ids in rows] == [100, 100, 100]
