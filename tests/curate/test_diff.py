"""What differs between two manifests, against their decisions compared in Python."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from curate.diff import compare, difference, differing_images
from curate.options import SelectOptions
from curate.pool import Pool
from curate.selection import select
from index.errors import UsageError

from .helpers import CLASSES, query

FIRST = SelectOptions("kd3", budget=20, near_duplicates=0.9999)
SECOND = SelectOptions("msp", budget=24)


def decisions(workspace: Path, name: str) -> dict[int, dict[str, Any]]:
    names = ("image_id", "selected", "rank", "pseudo_label", "why", "reason")
    found = query(workspace, f"SELECT {', '.join(names)} FROM decisions WHERE manifest = ?", name)
    return {row[0]: dict(zip(names, row, strict=True)) for row in found}


def test_images_reasons_and_classes_are_counted(pool: Pool, workspace: Path) -> None:
    select(pool, "first", FIRST)
    select(pool, "second", SECOND)
    a, b = decisions(workspace, "first"), decisions(workspace, "second")
    was = {key for key, row in a.items() if row["selected"]}
    now = {key for key, row in b.items() if row["selected"]}
    found = difference(pool.catalog, "first", "second")
    assert (found.entered, found.left, found.stayed) == (
        *(len(now - was), len(was - now)),
        len(was & now),
    )
    assert found.entered > found.left and found.stayed > 0
    assert found.reranked == sum(a[key]["rank"] != b[key]["rank"] for key in was & now)
    assert (found.relabelled, found.reweighted, found.same_hash) == (0, 0, False)
    reasons = Counter(("entered", a[key]["why"]) for key in now - was)
    reasons += Counter(("left", b[key]["why"]) for key in was - now)
    assert {(row["change"], row["why"]): row["images"] for row in found.reasons} == reasons
    for row in found.classes:
        label = row["pseudo_label"]
        assert row["class_name"] == CLASSES[label]
        for change, ids in (("entered", now - was), ("left", was - now), ("stayed", was & now)):
            assert row[change] == sum(b[key]["pseudo_label"] == label for key in ids)


def test_rows_are_those_that_differ(pool: Pool, workspace: Path) -> None:
    select(pool, "first", FIRST)
    select(pool, "second", SECOND)
    a, b = decisions(workspace, "first"), decisions(workspace, "second")
    with compare(pool.catalog, "first", "second") as compared:
        rows = list(differing_images(compared))
    expected = {key for key in a if a[key]["rank"] != b[key]["rank"]}
    assert {row["image_id"] for row in rows} == expected and len(rows) == len(expected)
    for row in rows:
        before, after = a[row["image_id"]], b[row["image_id"]]
        assert (row["first_rank"], row["second_rank"]) == (before["rank"], after["rank"])
        assert (row["first_reason"], row["second_reason"]) == (before["reason"], after["reason"])
        change = (
            "entered" if not before["selected"] else "left" if not after["selected"] else "reranked"
        )
        assert row["change"] == change
    assert not list((workspace / "scratch").iterdir())


def test_what_they_were_made_with_is_compared(pool: Pool) -> None:
    select(pool, "first", FIRST)
    select(pool, "second", replace(FIRST, budget=21))
    found = difference(pool.catalog, "first", "second").settings
    assert found["options.budget"] == (20, 21)
    assert {"strategy", "teacher", "options.near_duplicates"}.isdisjoint(found)


def test_a_manifest_does_not_differ_from_itself(pool: Pool) -> None:
    select(pool, "first", FIRST)
    found = difference(pool.catalog, "first", "first")
    assert (found.same_hash, found.entered, found.left, found.stayed) == (True, 0, 0, 20)
    assert (found.settings, found.reasons) == ({}, [])
    with compare(pool.catalog, "first", "first") as compared:
        assert list(differing_images(compared)) == []


def test_an_unknown_manifest_is_refused(pool: Pool) -> None:
    select(pool, "first", FIRST)
    with pytest.raises(UsageError, match="'secnod': there are first"):
        difference(pool.catalog, "first", "secnod")
