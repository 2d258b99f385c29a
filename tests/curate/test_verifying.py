"""Manifests that are as they were, and what is said of those that are not."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from curate.importing import import_manifest
from curate.networks import scored_pool
from curate.options import SelectOptions
from curate.pool import Pool
from curate.rounds import Rounds
from curate.selection import select
from curate.verifying import verify_manifest
from distill.networks import load_embedder
from distill.reselection import RoundStart
from index.build import build_index
from index.catalog import Catalog
from index.progress import Silent

from .helpers import IMAGES, build, pixels_of, png, query, write_files

KD3 = SelectOptions("kd3", budget=20, near_duplicates=0.9999, min_size=8)


@pytest.mark.parametrize(
    "options",
    [
        KD3,
        SelectOptions("kd3", budget=12, alpha=0.5),
        SelectOptions("random", per_class=3, seed=4),
        SelectOptions("entropy", budget=9, reverse=True, perceptual=2, max_copies=1),
        SelectOptions("msp", budget="auto", balance="sqrt", near_duplicates=0.9999),
        replace(KD3, budget="30%", diversity="kcenter"),
        SelectOptions("msp", budget=24, diversity="facility", per_class=8),
        SelectOptions("random", budget="auto", balance="full", diversity="clusters", seed=4),
    ],
)
def test_what_is_derived_again_is_the_same(pool: Pool, options: SelectOptions) -> None:
    made = select(pool, "first", options)
    found = verify_manifest(pool.catalog, "first")
    assert found.is_whole and found.not_derived is None
    assert found.derived_hash == found.content_hash == made.content_hash
    assert (found.new_images, found.gone_images, found.differences) == (0, 0, {})
    assert query(pool.catalog.workspace, "SELECT count(*) FROM manifests") == [(1,)]


def test_another_budget_than_the_one_explained_is_found(pool: Pool) -> None:
    made = select(pool, "first", SelectOptions("msp", budget="auto"))
    with pool.catalog.write() as connection:
        connection.execute(
            "UPDATE shifts SET value = -value WHERE estimator = 'bn_shift' AND model = ?",
            [made.teacher],
        )
    found = verify_manifest(pool.catalog, "first")
    assert found.derived_hash != made.content_hash and not found.is_whole


def test_images_that_came_since_are_counted_and_change_nothing(
    pool: Pool, teacher: str, student: str, tmp_path: Path
) -> None:
    select(pool, "first", KD3)
    more = {f"{n}.png": png(pixels_of(500 + n)) for n in range(5)}
    files = write_files(tmp_path / "more", more)
    build_index(pool.catalog.workspace, [str(files)], load_embedder(teacher), workers=0)
    unscored = verify_manifest(pool.catalog, "first")
    assert unscored.is_whole and unscored.new_images == 5
    grown = scored_pool(pool.catalog, teacher, student, workers=0)
    found = verify_manifest(pool.catalog, "first")
    assert found.is_whole and (found.new_images, found.differences) == (5, {})
    assert select(grown, "second", KD3).pool == IMAGES + 5


def test_a_ledger_that_was_changed_is_found(pool: Pool, workspace: Path) -> None:
    select(pool, "first", KD3)
    with Catalog(workspace).write() as connection:
        connection.execute("UPDATE ledger SET pseudo_label = 1 - pseudo_label WHERE rank = 1")
        connection.execute("UPDATE ledger SET reason = 'by hand' WHERE rank = 2")
    found = verify_manifest(pool.catalog, "first")
    assert found.differences == {"pseudo-label": 1, "reason": 1}
    assert "the stored decisions have the hash" in found.problems[0]
    assert "derived again it decides differently" in found.problems[1]


CHANGES = {
    "threshold": "threshold = threshold + 0.001",
    "no threshold": "threshold = NULL",
    "confidence": "components = map_concat(components, MAP {'teacher_confidence': 0.999::FLOAT})",
    "estimate": "components = map_concat(components, MAP {'bn_shift': 99::FLOAT})",
    "NaN": "components = map_concat(components, MAP {'bn_shift': 'nan'::FLOAT})",
    "one more": "components = map_concat(components, MAP {'nice': 1::FLOAT})",
    "an estimate more": "components = map_concat(components, MAP {'knn': 1::FLOAT})",
    "an estimate less": "components = map_from_entries(list_filter(map_entries(components), "
    "lambda entry: entry.key <> 'bn_shift'))",
    "none": "components = MAP {}",
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_explanation_is_found(pool: Pool, workspace: Path, change: str) -> None:
    select(pool, "first", KD3)
    with Catalog(workspace).write() as connection:
        connection.execute(f'UPDATE ledger SET {CHANGES[change]} WHERE "rank" <= 3')
    found = verify_manifest(pool.catalog, "first")
    what = "threshold" if "threshold" in change else "components"
    assert found.differences == {what: 3} and not found.is_whole
    assert found.derived_hash == found.content_hash
    assert len(found.problems) == 1 and f"{what} of 3;" in found.problems[0]


def test_a_component_that_all_rows_lack_is_found(pool: Pool, workspace: Path) -> None:
    select(pool, "first", KD3)
    keeps = "lambda entry: entry.key <> 'teacher_confidence'"
    with Catalog(workspace).write() as connection:
        connection.execute(
            "UPDATE ledger SET components = "
            f"map_from_entries(list_filter(map_entries(components), {keeps}))"
        )
    assert verify_manifest(pool.catalog, "first").differences == {"components": IMAGES}


def test_what_another_processor_rounds_otherwise_is_no_change(pool: Pool, workspace: Path) -> None:
    select(pool, "first", KD3)
    with Catalog(workspace).write() as connection:
        connection.execute(
            "UPDATE ledger SET score = score + 1e-6, threshold = threshold - 1e-6, components = "
            "map_concat(components, MAP {'bn_shift': (components['bn_shift'] * (1 + 1e-6))::FLOAT})"
        )
    assert verify_manifest(pool.catalog, "first").is_whole


def test_estimates_that_are_fitted_later_are_no_change(pool: Pool) -> None:
    with_vectors = replace(KD3, diversity="kcenter")
    select(pool, "before", with_vectors)
    select(pool, "fits", SelectOptions("odsd_like", budget=5))
    select(pool, "after", with_vectors)
    select(pool, "reads no vectors", SelectOptions("msp", budget=5))
    for name in ("before", "fits", "after", "reads no vectors"):
        assert verify_manifest(pool.catalog, name).problems == []
    known = "SELECT any_value(components['odsd'] IS NOT NULL) FROM decisions WHERE manifest = ?"
    names = ("before", "after", "reads no vectors")
    workspace = pool.catalog.workspace
    assert [query(workspace, known, name) for name in names] == [[(False,)], [(True,)], [(True,)]]


def test_rows_that_are_gone_are_found(pool: Pool, workspace: Path) -> None:
    select(pool, "first", KD3)
    with Catalog(workspace).write() as connection:
        connection.execute("DELETE FROM ledger WHERE reason LIKE 'class quota%'")
    found = verify_manifest(pool.catalog, "first")
    assert any("rows (pool)" in problem for problem in found.problems)


def test_options_that_make_something_else_are_found(pool: Pool, workspace: Path) -> None:
    select(pool, "first", KD3)
    with Catalog(workspace).write() as connection:
        connection.execute("UPDATE manifests SET options = replace(options::VARCHAR, '20', '21')")
    found = verify_manifest(pool.catalog, "first")
    assert found.derived_hash != found.content_hash
    assert (found.differences["selection"], found.differences["rank"]) == (1, 1)


def test_a_model_without_scores_is_named(pool: Pool, workspace: Path) -> None:
    made = select(pool, "first", KD3)
    with Catalog(workspace).write() as connection:
        connection.execute("DELETE FROM parts WHERE store = ?", [f"logits/{made.teacher}"])
    found = verify_manifest(pool.catalog, "first")
    assert found.problems == [
        f"teacher {made.teacher} has no stored scores: select with its card scores the pool"
    ]
    assert found.not_derived == found.problems[0]


def test_a_missing_part_of_the_scores_is_named(pool: Pool, workspace: Path) -> None:
    made = select(pool, "first", KD3)
    (part,) = (workspace / "logits" / made.teacher).glob("*.npz")
    part.unlink()
    found = verify_manifest(pool.catalog, "first")
    assert len(found.problems) == 1 and str(part) in found.problems[0]


def test_a_round_with_a_student_in_training_is_not_derived(pool: Pool, workspace: Path) -> None:
    parent = select(pool, "parent", KD3)
    ids = np.array([key for (key,) in query(workspace, "SELECT id FROM images ORDER BY 1")])
    rounds = Rounds(pool.catalog, parent, replace(pool, student=None, only=ids), "run", Silent())
    logits = np.zeros((len(ids), 4), np.float16)
    for number in range(2):
        rounds(RoundStart(number, 1 + 10.0 * number, 60.0, False, lambda: logits))
    first = verify_manifest(pool.catalog, "run/round-001")
    assert first.is_whole and first.derived_hash == first.content_hash
    second = verify_manifest(pool.catalog, "run/round-002")
    assert second.is_whole and second.derived_hash is None
    assert second.not_derived == "run@2 was a student in training, whose scores are not stored"


def test_an_imported_manifest_is_checked_against_its_hash(
    pool: Pool, workspace: Path, tmp_path: Path
) -> None:
    ids = query(workspace, "SELECT id FROM images ORDER BY id LIMIT 4")
    (tmp_path / "l.txt").write_text("".join(f"{key}\n" for (key,) in ids))
    import_manifest(pool.catalog, tmp_path / "l.txt", "mine", pool.teacher)
    found = verify_manifest(pool.catalog, "mine")
    assert found.is_whole and "it was imported" in str(found.not_derived)
    with Catalog(workspace).write() as connection:
        connection.execute("UPDATE ledger SET weight = 3 WHERE rank = 2")
    assert not verify_manifest(pool.catalog, "mine").is_whole


def test_files_that_are_gone_or_changed_are_each_reported(pool: Pool, tmp_path: Path) -> None:
    crawl = write_files(tmp_path / "crawl", {f"{n}.png": png(pixels_of(n)) for n in range(6)})
    workspace = tmp_path / "own"
    build(workspace, [crawl])
    own = replace(pool, catalog=Catalog(workspace), student=None)
    for store in ("logits", "moments"):
        shutil.rmtree(workspace / store, ignore_errors=True)
    with Catalog(workspace).write() as connection:
        connection.execute(
            "INSERT INTO manifests SELECT 'all', '', 'imported', '{}', 'x', NULL, NULL, NULL, 0, "
            "6, 6, 6, '{}', '0', now()"
        )
        connection.execute(
            'INSERT INTO ledger (manifest, image_id, selected, "rank", pseudo_label, weight, '
            "score, components, reason) SELECT 'all', id, true, row_number() OVER (), 0, 1, 0, "
            "MAP {}, 'imported: in the list' FROM images"
        )
    (crawl / "1.png").unlink()
    (crawl / "2.png").write_bytes(png(pixels_of(99)))
    heard: list[str] = []

    class Heard(Silent):
        def say(self, message: str) -> None:
            heard.append(message)

    found = verify_manifest(own.catalog, "all", files=True, workers=0, progress=Heard())
    assert (found.files_read, found.files_damaged) == (6, 2)
    assert sorted(heard) == sorted(found.damaged) and len(heard) == 2
    assert any("1.png" in line and "cannot read" in line for line in heard)
    assert any("2.png" in line for line in heard)
    assert found.problems[-1] == "2 of 6 files are missing or changed"
