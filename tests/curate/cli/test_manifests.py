"""The commands over manifests: what they print, and the codes they end with."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

from curate.options import SelectOptions
from curate.pool import Pool
from curate.selection import select

from ..conftest import Kdcurate
from ..helpers import IMAGES, query


def test_two_manifests_are_compared(kdcurate: Kdcurate, pool: Pool, workspace: Path) -> None:
    select(pool, "first", SelectOptions("kd3", budget=20))
    select(pool, "second", SelectOptions("msp", budget=24))
    command = ("manifests", "diff", "first", "second", "-w", workspace)
    found = json.loads(kdcurate(*command, "--json").out)
    assert found["stayed"] + found["entered"] == 24
    assert found["settings"]["strategy"] == ["kd3", "msp"]
    text = kdcurate(*command).out
    assert "options.budget" in text and "class quota full" in text
    rows = list(csv.DictReader(io.StringIO(kdcurate(*command, "--images").out)))
    lines = kdcurate(*command, "--images", "--json").out.splitlines()
    assert [row["image_id"] for row in rows] == [str(json.loads(one)["image_id"]) for one in lines]
    assert sum(row["change"] == "entered" for row in rows) == found["entered"]


def test_verify_ends_with_one_where_something_is_wrong(
    kdcurate: Kdcurate, pool: Pool, workspace: Path
) -> None:
    select(pool, "first", SelectOptions("kd3", budget=20))
    command = ("manifests", "verify", "first", "-w", workspace, "--workers", "0")
    whole = kdcurate(*command, "--files", "--json")
    assert whole.code == 0, whole.err
    found = json.loads(whole.out)
    assert (found["files_read"], found["files_damaged"], found["problems"]) == (20, 0, [])
    with pool.catalog.write() as connection:
        connection.execute(
            "UPDATE locations SET container = container || '.no' WHERE image_id IN "
            '(SELECT image_id FROM decisions WHERE "rank" <= 2)'
        )
    broken = kdcurate(*command, "--files")
    assert broken.code == 1
    assert broken.err.count("cannot read") == 2
    assert "problem: 2 of 20 files are missing or changed" in broken.err


def test_a_manifest_goes_out_and_comes_back(
    kdcurate: Kdcurate, pool: Pool, workspace: Path, tmp_path: Path
) -> None:
    made = select(pool, "first", SelectOptions("kd3", budget=20))
    target = tmp_path / "first.csv"
    command = ("manifests", "export", "first", "-o", target, "--format", "csv", "-w", workspace)
    assert json.loads(kdcurate(*command, "--json").out)["written"] is True
    again = kdcurate(*command)
    assert again.code == 0 and "it is there already: nothing was written" in again.err
    asked = ("--name", "again", "--teacher", pool.teacher, "-w", workspace)
    found = json.loads(kdcurate("manifests", "import", target, *asked, "--json").out)
    assert (found["content_hash"], found["strategy"]) == (made.content_hash, "imported")
    shown = json.loads(kdcurate("manifests", "show", "again", "-w", workspace, "--json").out)
    assert shown["reasons"] == {"imported": 20, "not in the imported list": IMAGES - 20}


def test_a_manifest_is_deleted_after_a_dry_run(
    kdcurate: Kdcurate, pool: Pool, workspace: Path
) -> None:
    select(pool, "first", SelectOptions("kd3", budget=20))
    command = ("manifests", "delete", "first", "-w", workspace, "--json")
    plan = json.loads(kdcurate(*command, "--dry-run").out)
    assert plan == {"manifest": "first", "decisions": IMAGES, "deleted": False}
    assert json.loads(kdcurate(*command).out)["deleted"] is True
    assert query(workspace, "SELECT count(*) FROM decisions") == [(0,)]
    gone = kdcurate(*command)
    assert (gone.code, gone.out) == (2, "")
