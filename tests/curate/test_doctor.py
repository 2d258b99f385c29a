"""doctor: what is installed, and which file of a workspace is damaged."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from curate.doctor import PACKAGES, installation, workspace_problems
from curate.options import SelectOptions
from curate.pool import Pool
from curate.selection import select

from .conftest import Kdcurate


def test_the_installation_is_listed() -> None:
    found = installation()
    assert {"kdcurate", "python", "platform", "cores", "cuda", *PACKAGES} <= set(found)
    assert found["cores"] == os.cpu_count()
    assert found["torch"][0].isdigit()


def test_a_whole_workspace_has_no_problems(pool: Pool, workspace: Path) -> None:
    select(pool, "first", SelectOptions("kd3", budget=5))
    assert workspace_problems(workspace) == []


@pytest.mark.parametrize("store", ["logits", "shifts", "vectors"])
def test_a_damaged_part_is_named(workspace: Path, store: str) -> None:
    (part, *_) = sorted((workspace / store).rglob("part-*.npz"))
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)
    (problem,) = workspace_problems(workspace)
    assert str(part) in problem and "restore" in problem


def test_a_missing_part_is_named(workspace: Path) -> None:
    (part, *_) = sorted((workspace / "logits").rglob("part-*.npz"))
    part.unlink()
    (problem,) = workspace_problems(workspace)
    assert str(part) in problem


@pytest.mark.parametrize("damage", ["missing", "other"])
def test_a_damaged_index_is_named_with_its_remedy(workspace: Path, damage: str) -> None:
    (index,) = workspace.rglob("index.faiss")
    index.unlink() if damage == "missing" else index.write_bytes(b"not FAISS")
    (problem,) = workspace_problems(workspace)
    assert str(index) in problem and "kdcurate verify" in problem


def test_doctor_tells_how_faithful_each_index_is(kdcurate: Kdcurate, workspace: Path) -> None:
    told = json.loads(kdcurate("doctor", "-w", workspace, "--json").out)
    (index,) = told["indexes"]
    assert (told["problems"], index["factory"], index["recall_at_10"]) == ([], "IDMap,Flat", 1.0)
    assert index["reason"].startswith("exact search")
    text = kdcurate("doctor", "-w", workspace).out
    assert "recall_at_10" in text and "IDMap,Flat" in text


def test_verify_repairs_and_says_what_it_cannot(kdcurate: Kdcurate, workspace: Path) -> None:
    whole = kdcurate("verify", "-w", workspace)
    assert (whole.code, whole.out) == (0, f"workspace  {workspace} is whole\n")
    (index,) = workspace.rglob("index.faiss")
    index.unlink()
    named = kdcurate("verify", "-w", workspace, "--dry-run", "--json")
    (finding,) = json.loads(named.out)
    assert (named.code, finding["path"], finding["repaired"]) == (1, str(index), False)
    mended = kdcurate("verify", "-w", workspace)
    assert mended.code == 0 and f"repaired: {index} is missing: rebuilt as" in mended.err
    assert json.loads(kdcurate("verify", "-w", workspace, "--json").out) == []
    (part, *_) = sorted((workspace / "logits").rglob("part-*.npz"))
    part.unlink()
    lost = kdcurate("verify", "-w", workspace)
    assert (lost.code, lost.out) == (1, "")
    assert f"{part} is missing or damaged: restore it from a copy" in lost.err


def test_an_image_decided_twice_is_told(pool: Pool, workspace: Path) -> None:
    select(pool, "first", SelectOptions("msp", budget=5))
    with pool.catalog.write() as connection:
        connection.execute("CREATE TEMP TABLE one AS FROM decisions LIMIT 1")
        names = "manifest, image_id, selected, pseudo_label, weight, score, components, reason"
        connection.execute(f"INSERT INTO ledger ({names}) SELECT {names} FROM one")
    (problem,) = workspace_problems(workspace)
    assert "manifest first decides an image twice" in problem


def test_a_workspace_without_or_with_a_broken_catalog_is_told(tmp_path: Path) -> None:
    (problem,) = workspace_problems(tmp_path / "no")
    assert "build-index" in problem
    (tmp_path / "catalog.duckdb").write_bytes(b"not DuckDB" * 1000)
    (problem,) = workspace_problems(tmp_path)
    assert str(tmp_path / "catalog.duckdb") in problem
