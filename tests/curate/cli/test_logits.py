"""select --logits, as the shell runs it."""

from __future__ import annotations

import json
from pathlib import Path

from ..conftest import Kdcurate
from ..helpers import IMAGES, build, query


def test_none_is_planned_scored_and_kept(
    kdcurate: Kdcurate, crawl: Path, teacher: str, tmp_path: Path
) -> None:
    build(tmp_path / "ws", [crawl])
    command = ("select", "-w", tmp_path / "ws", "--teacher", teacher, "--logits", "none")
    plan = json.loads(kdcurate(*command, "--dry-run", "--json").out)
    assert plan["logits_of_teacher"].startswith("none: 8 bytes an image; only random, msp, dfnd")
    assert kdcurate(*command, "--budget", 9, "--name", "first", "--workers", 0).code == 0
    assert len(query(tmp_path / "ws", "FROM decisions")) == IMAGES
    for asked in ((), ("--logits", "none")):
        plan = json.loads(kdcurate(*command[:5], *asked, "--dry-run", "--json").out)
        assert plan["images_to_score_with_teacher"] == 0
        assert plan["logits_of_teacher"].startswith("none")
    for more in (("--dry-run",), ("--workers", 0)):
        refused = kdcurate(*command[:5], "--logits", "full", *more)
        assert refused.code == 2
        assert "was scored with --logits none, which left out what full wants" in refused.err
    refused = kdcurate(*command[:5], "--strategy", "energy", "--workers", 0)
    assert refused.code == 2
    assert "energy reads logits" in refused.err


def test_top32_of_four_classes_is_refused_before_anything_is_scored(
    kdcurate: Kdcurate, crawl: Path, teacher: str, tmp_path: Path
) -> None:
    build(tmp_path / "ws", [crawl])
    command = ("select", "-w", tmp_path / "ws", "--teacher", teacher, "--logits", "top32")
    found = kdcurate(*command)
    assert found.code == 2
    assert "--logits top32 keeps 32 of more classes, and this network has 4" in found.err
    assert query(tmp_path / "ws", "FROM scores") == []
