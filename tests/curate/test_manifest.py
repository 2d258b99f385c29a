"""Manifests: what the content hash covers, and that no name is given twice."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curate.importing import import_manifest
from curate.manifest import content_hash, delete_manifest, get_manifest, list_manifests
from curate.options import SelectOptions
from curate.pool import Pool
from curate.selection import select
from distill.checkpoint import checkpoint_path, save_checkpoint
from index.catalog import Catalog
from index.errors import UsageError

from .helpers import query

FIRST = SelectOptions("msp", budget=20)
COLUMNS = {
    "image_id": np.array([812, 2**63 - 1, 5]),
    "rank": np.array([1, 2, 3], np.int32),
    "pseudo_label": np.array([0, 3, 1], np.int16),
    "weight": np.array([1.0, 0.5, 1.0], np.float32),
}


def packed(rows: list[tuple[int, int, int, float]]) -> str:
    """SHA-256 over the rows: id, rank, label, weight, little-endian, 64, 32, 16, and 32 bits."""
    return hashlib.sha256(b"".join(struct.pack("<qihf", *row) for row in rows)).hexdigest()


def hashed(**changes: Any) -> str:
    batches: Iterator[dict[str, Any]] = iter([COLUMNS | changes])
    return content_hash(batches)


def test_the_hash_is_that_of_the_packed_columns() -> None:
    rows = [(812, 1, 0, 1.0), (2**63 - 1, 2, 3, 0.5), (5, 3, 1, 1.0)]
    assert hashed() == packed(rows)


def test_how_the_rows_are_batched_is_irrelevant() -> None:
    one_by_one = ({name: column[i : i + 1] for name, column in COLUMNS.items()} for i in range(3))
    assert content_hash(one_by_one) == hashed()


@pytest.mark.parametrize("name", COLUMNS)
def test_every_column_is_hashed(name: str) -> None:
    changed = COLUMNS[name].copy()
    changed[1] -= 1
    assert hashed(**{name: changed}) != hashed()


def test_the_width_of_a_column_in_memory_is_irrelevant() -> None:
    wide = {name: column.astype(np.float64) for name, column in COLUMNS.items()}
    wide["image_id"] = COLUMNS["image_id"]
    assert hashed(**wide) == hashed()


def test_a_stored_manifest_has_the_hash_of_its_ledger(pool: Pool, workspace: Path) -> None:
    found = select(pool, "first", replace(FIRST, strategy="kd3"))
    rows = query(
        workspace,
        'SELECT image_id, "rank", pseudo_label, weight FROM decisions '
        "WHERE manifest = 'first' AND selected ORDER BY \"rank\"",
    )
    assert len(rows) == found.selected == 20
    assert found.content_hash == packed(rows)


def test_a_name_and_a_time_do_not_change_the_hash(pool: Pool) -> None:
    assert select(pool, "one", FIRST).content_hash == select(pool, "two", FIRST).content_hash


def test_a_manifest_without_a_name_is_called_by_its_hash(pool: Pool) -> None:
    found = select(pool, None, FIRST)
    assert found.name == f"msp-{found.content_hash[:8]}"


def test_the_same_decision_under_the_same_name_is_harmless(pool: Pool, workspace: Path) -> None:
    before = select(pool, "first", FIRST)
    assert select(pool, "first", FIRST) == before
    assert query(workspace, "SELECT count(*) FROM manifests") == [(1,)]
    assert query(workspace, "SELECT count(*) FROM decisions") == [(before.pool,)]


def test_another_decision_under_the_same_name_is_refused(pool: Pool, workspace: Path) -> None:
    before = select(pool, "first", FIRST)
    rows = query(workspace, "FROM decisions ORDER BY ALL")
    with pytest.raises(UsageError, match="'first' exists and decides differently"):
        select(pool, "first", replace(FIRST, budget=21))
    assert get_manifest(pool.catalog, "first") == before
    assert query(workspace, "FROM decisions ORDER BY ALL") == rows


def test_a_manifest_is_read_back_as_it_was_written(pool: Pool, teacher: str) -> None:
    options = replace(FIRST, strategy="kd3", alpha=0.5, seed=7, near_duplicates=0.9999)
    found = select(pool, "first", options, parent="elder")
    assert get_manifest(pool.catalog, "first") == found
    assert list_manifests(pool.catalog) == [found]
    assert found.options == {
        "strategy": "kd3",
        "budget": 20,
        "balance": "proportional",
        "alpha": 0.5,
        "seed": 7,
        "near_duplicates": 0.9999,
    }
    assert (found.parent, found.seed, found.embedder) == ("elder", 7, pool.embedder)
    assert (found.teacher, found.student) == (pool.teacher, pool.student)
    assert found.preprocessing["size"] == 16
    json.dumps(found.options)


def test_an_alpha_of_zero_stands_in_the_manifest(pool: Pool) -> None:
    found = select(pool, "first", SelectOptions("kd3", budget=9, alpha=0.0))
    assert found.options["alpha"] == 0.0
    again = select(pool, "again", SelectOptions(**found.options))
    assert again.content_hash == found.content_hash


def test_an_unknown_manifest_is_answered_with_those_there_are(pool: Pool) -> None:
    with pytest.raises(UsageError, match="'first': make one with `kdcurate select`"):
        get_manifest(pool.catalog, "first")
    select(pool, "first", FIRST)
    with pytest.raises(UsageError, match="'frist': did you mean first"):
        get_manifest(Catalog(pool.catalog.workspace), "frist")


def test_a_manifest_is_deleted_with_its_decisions(pool: Pool, workspace: Path) -> None:
    select(pool, "first", FIRST)
    kept = select(pool, "second", FIRST)
    assert delete_manifest(pool.catalog, "first", dry_run=True) == kept.pool
    assert [one.name for one in list_manifests(pool.catalog)] == ["first", "second"]
    assert delete_manifest(pool.catalog, "first") == kept.pool
    assert list_manifests(pool.catalog) == [kept]
    rows = query(workspace, "SELECT manifest, count(*) FROM decisions GROUP BY 1")
    assert rows == [("second", kept.pool)]
    with pytest.raises(UsageError, match="'first': there are second"):
        delete_manifest(pool.catalog, "first")


@pytest.mark.parametrize(
    ("name", "said"), [("", "--name is empty"), ("a\0", "--name .* has a NUL")]
)
def test_what_is_no_name_is_refused(pool: Pool, tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "list.txt").write_text("1\n")
    with pytest.raises(UsageError, match=said):
        select(pool, name, FIRST)
    with pytest.raises(UsageError, match=said):
        import_manifest(pool.catalog, tmp_path / "list.txt", name, pool.teacher)
    assert list_manifests(pool.catalog) == []


def test_a_name_that_a_round_could_have_is_refused(pool: Pool, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("1\n")
    for name in ("mine/round-002", "a/b c/round-1000"):
        with pytest.raises(UsageError, match=f"--name '{name}' is what a round of a run is called"):
            select(pool, name, FIRST)
        with pytest.raises(UsageError, match="is what a round of a run is called"):
            import_manifest(pool.catalog, tmp_path / "list.txt", name, pool.teacher)
    assert list_manifests(pool.catalog) == []
    for name in ("a/b c", "round-002", "a/round-two"):
        assert select(pool, name, FIRST).name == name


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_manifest_that_is_referred_to_stays(
    pool: Pool, workspace: Path, *, dry_run: bool
) -> None:
    select(pool, "first", FIRST)
    select(pool, "child", FIRST, parent="first")
    with pool.catalog.write() as connection:
        connection.execute(
            "INSERT INTO runs VALUES ('tiny', 'first', 'kd', 't', 's', '{}', 0, 1, NULL, 1, '0', "
            "now())"
        )
        connection.execute(
            "INSERT INTO rounds VALUES ('long', 1, 'child', 1, 1, 1, 0, 0, 1, NULL, NULL, NULL)"
        )
    before = query(workspace, "SELECT count(*) FROM decisions")
    with pytest.raises(UsageError, match="'first' stays: run tiny, manifest child refer to it"):
        delete_manifest(pool.catalog, "first", dry_run=dry_run)
    with pytest.raises(UsageError, match="'child' stays: run long refers to it"):
        delete_manifest(pool.catalog, "child", dry_run=dry_run)
    assert query(workspace, "SELECT count(*) FROM decisions") == before


def test_a_manifest_that_an_unfinished_run_trains_on_stays(pool: Pool, workspace: Path) -> None:
    made = select(pool, "first", FIRST)
    for run, manifest in (("begun", made.content_hash), ("other", "0" * 64)):
        path = checkpoint_path(workspace / "runs" / run)
        path.parent.mkdir(parents=True)
        save_checkpoint(path, {"options": json.dumps({"manifest": manifest})})
    with pytest.raises(UsageError, match="'first' stays: unfinished run begun trains on it"):
        delete_manifest(pool.catalog, "first")
    (workspace / "runs" / "begun" / "result.json").write_text("{}")
    assert delete_manifest(pool.catalog, "first") == made.pool
