"""What commands add on stderr where an answer alone would mislead."""

from __future__ import annotations

import shlex
from pathlib import Path

from ..conftest import Kdcurate
from ..helpers import QUIET, query


def test_a_build_that_can_read_nothing_says_why_and_has_done_nothing(
    kdcurate: Kdcurate, teacher: str, tmp_path: Path
) -> None:
    (tmp_path / "crawl").mkdir()
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / "crawl" / name).write_text("<html>no image</html>")
    (tmp_path / "crawl" / "empty.png").write_bytes(b"")
    build = ("build-index", tmp_path / "crawl", "-w", tmp_path / "ws", "--embedder", teacher)
    found = kdcurate(*build, *QUIET)
    assert found.code == 3
    assert (
        "of 3 failed files of this workspace, 2: not an image of a known format: HTML" in found.err
    )
    assert "crawl/a.jpg" in found.err and "could be read" in found.err.splitlines()[-1]
    assert query(tmp_path / "ws", "SELECT count(*) FROM failures") == [(3,)]


def test_a_budget_above_the_pool_is_told(kdcurate: Kdcurate, workspace: Path, teacher: str) -> None:
    options = ("--teacher", teacher, "--strategy", "msp", "--name", "all", *QUIET)
    found = kdcurate("select", "-w", workspace, *options, "--budget", 100_000)
    assert found.code == 0
    assert "--budget 100,000 is more than the" in found.err
    found = kdcurate(
        "select", "-w", workspace, *options[:4], "--name", "few", *QUIET, "--budget", 3
    )
    assert "is more than" not in found.err


def test_a_build_says_what_to_type_next(
    kdcurate: Kdcurate, crawl: Path, teacher: str, tmp_path: Path
) -> None:
    given = ("build-index", crawl, "-w", tmp_path / "a ws", "--embedder", teacher, *QUIET)
    said = [line for line in kdcurate(*given).err.splitlines() if line.startswith("next: ")]
    _, command, *words = shlex.split(said[0])
    assert (len(said), command) == (1, "kdcurate")
    selected = kdcurate(*words, *QUIET)
    assert selected.code == 0 and "next: kdcurate distill" in selected.err
    assert "next:" not in kdcurate(*given, "--json").err
