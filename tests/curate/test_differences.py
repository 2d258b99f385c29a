"""A round's ledger is stored as a difference, and read as if it were whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from curate.diff import difference
from curate.differences import store_decisions
from curate.explain import explain
from curate.logits import ArrayLogits
from curate.manifest import delete_manifest
from curate.options import SelectOptions
from curate.pool import Pool
from curate.selection import select
from curate.verifying import verify_manifest
from index.errors import UsageError

from .helpers import IMAGES, query

KD3 = SelectOptions("kd3", budget=24)


def in_training(pool: Pool, seed: int = 0) -> Pool:
    """The pool with a student in memory, whose logits are noise."""
    ids = np.array([key for (key,) in query(pool.catalog.workspace, "SELECT id FROM images")])
    ids.sort()
    noise = np.random.default_rng(seed).standard_normal((len(ids), 4)).astype(np.float16)
    ages: NDArray[np.int32] = np.arange(len(ids), dtype=np.int32)
    return replace(pool, student="run@2", student_logits=ArrayLogits(ids, 4 * noise, ages))


STORED = (
    'SELECT image_id, selected, "rank", pseudo_label, weight, score, threshold, reason, '
    "list_sort(map_entries(components)) FROM decisions WHERE manifest = 'round' ORDER BY image_id"
)


def test_a_difference_reads_as_the_ledger_that_it_was_made_of(pool: Pool) -> None:
    parent, options = replace(pool, student=None), replace(KD3, alpha=0.5)
    select(parent, "parent", KD3)
    student = in_training(pool)
    select(student, "round", options, parent="parent")
    whole = select(student, "whole", options)
    workspace = pool.catalog.workspace
    assert query(workspace, "FROM differences") == [("round", "parent")]
    assert query(workspace, STORED) == query(workspace, STORED.replace("'round'", "'whole'"))
    assert len(query(workspace, STORED)) == IMAGES
    counts = "SELECT manifest, sum(selected::INT) FROM class_balance GROUP BY 1 ORDER BY 1"
    chosen = dict(query(workspace, counts))
    assert chosen["round"] == chosen["whole"] == whole.selected
    kept = query(
        workspace, "SELECT DISTINCT map_keys(components) FROM ledger WHERE manifest = 'round'"
    )
    assert kept == [(["student_confidence", "agreement", "student_age"],)]


def test_what_does_not_differ_is_not_stored(pool: Pool) -> None:
    parent = replace(pool, student=None)
    select(parent, "parent", KD3)
    select(parent, "round", KD3, parent="parent")
    workspace = pool.catalog.workspace
    assert query(workspace, "SELECT count(*) FROM ledger WHERE manifest = 'round'") == [(0,)]
    assert query(workspace, STORED) == query(workspace, STORED.replace("'round'", "'parent'"))
    assert verify_manifest(pool.catalog, "round").is_whole


def test_single_rows_that_differ_are_stored(pool: Pool) -> None:
    parent = replace(pool, student=None)
    select(parent, "parent", KD3)
    select(parent, "round", replace(KD3, budget=25), parent="parent")
    workspace = pool.catalog.workspace
    ((stored,),) = query(workspace, "SELECT count(*) FROM ledger WHERE manifest = 'round'")
    assert 0 < stored < IMAGES
    select(parent, "whole", replace(KD3, budget=25))
    assert query(workspace, STORED) == query(workspace, STORED.replace("'round'", "'whole'"))


@pytest.mark.parametrize("parent", ["absent", "difference", "other pool", "more components"])
def test_a_ledger_that_is_no_difference_is_stored_whole(pool: Pool, parent: str) -> None:
    alone, workspace = replace(pool, student=None), pool.catalog.workspace
    select(alone, "whole", KD3)
    select(alone, "difference", KD3, parent="whole")
    ids = np.array([key for (key,) in query(workspace, "SELECT id FROM images ORDER BY 1")])
    select(replace(alone, only=ids[1:]), "other pool", KD3)
    select(pool, "more components", replace(KD3, alpha=0.5))
    select(alone, "round", KD3, parent=parent)
    assert query(workspace, "FROM differences WHERE manifest = 'round'") == []
    assert query(workspace, STORED) == query(workspace, STORED.replace("'round'", "'whole'"))


def test_every_question_about_a_manifest_is_answered_for_a_difference(pool: Pool) -> None:
    workspace = pool.catalog.workspace
    select(replace(pool, student=None), "parent", KD3)
    found = select(in_training(pool), "round", replace(KD3, alpha=0.2), parent="parent")
    ((image,),) = query(workspace, "SELECT image_id FROM selected WHERE rank = 1 LIMIT 1")
    said = explain(pool.catalog, "round", image)
    assert {"teacher_confidence", "student_confidence", "student_age"} <= said["components"].keys()
    changed = difference(pool.catalog, "parent", "round")
    assert changed.entered == changed.left > 0
    assert changed.stayed + changed.entered == found.selected
    checked = verify_manifest(pool.catalog, "round")
    assert checked.is_whole and checked.content_hash == found.content_hash


def test_a_difference_is_deleted_alone_and_its_base_only_after_it(pool: Pool) -> None:
    alone, workspace = replace(pool, student=None), pool.catalog.workspace
    select(alone, "parent", KD3)
    select(in_training(pool), "round", replace(KD3, alpha=0.2), parent="parent")
    with pytest.raises(UsageError, match="'parent' stays: manifest round refers to it"):
        delete_manifest(pool.catalog, "parent")
    assert delete_manifest(pool.catalog, "round") == IMAGES
    assert query(workspace, "FROM differences") == []
    assert query(workspace, "SELECT DISTINCT manifest FROM ledger") == [("parent",)]
    assert delete_manifest(pool.catalog, "parent") == IMAGES


def test_nan_and_missing_values_are_like_themselves(pool: Pool, tmp_path: Path) -> None:
    row = "7::BIGINT AS image_id, true AS selected, 1::INT AS rank, 0::SMALLINT AS pseudo_label, "
    row += "1::FLOAT AS weight, 0.5::FLOAT AS score, NULL::FLOAT AS threshold, "
    row += "MAP {'a': 'nan'::FLOAT, 'b': NULL} AS components, 'selected: x' AS reason"
    file = tmp_path / "own.parquet"
    with pool.catalog.write() as connection:
        connection.execute(f"COPY (SELECT {row}) TO '{file}' (FORMAT parquet)")
        for name, parent in (("a", None), ("b", "a")):
            store_decisions(connection, name, parent, file)
    assert query(pool.catalog.workspace, "SELECT manifest FROM ledger") == [("a",)]
    assert query(pool.catalog.workspace, "FROM differences") == [("b", "a")]
