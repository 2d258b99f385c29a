"""What commands add on stderr where an answer alone would mislead."""

from __future__ import annotations

import shlex
from pathlib import Path

from PIL import Image

from ..conftest import Kdcurate
from ..helpers import QUIET, pixels_of, png, query


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
    assert "of this workspace, 3 files could not be read:\n  2: not an image of" in found.err
    assert f"\n  1: empty file ({tmp_path}/crawl/empty.png)\n" in found.err
    assert "other reasons" not in found.err
    assert "crawl/a.jpg" in found.err and "could be read" in found.err.splitlines()[-1]
    assert query(tmp_path / "ws", "SELECT count(*) FROM failures") == [(3,)]
    chosen = kdcurate("select", "-w", tmp_path / "ws", "--teacher", teacher, *QUIET)
    assert chosen.code == 3
    assert "kd3 found no image: run `kdcurate build-index` on a source" in chosen.err


def test_of_many_reasons_the_most_frequent_are_told_and_how_to_see_the_others(
    kdcurate: Kdcurate, teacher: str, tmp_path: Path
) -> None:
    (tmp_path / "crawl").mkdir()
    picture = Image.fromarray(pixels_of(0))
    for kind in ("png", "jpeg", "gif", "bmp", "tiff", "webp"):
        picture.save(tmp_path / f"whole.{kind}")
        whole = (tmp_path / f"whole.{kind}").read_bytes()
        (tmp_path / "crawl" / f"cut.{kind}").write_bytes(whole[: len(whole) // 2])
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / "crawl" / name).write_bytes(b"")
    (tmp_path / "crawl" / "good.png").write_bytes(png(pixels_of(0)))
    build = ("build-index", tmp_path / "crawl", "-w", tmp_path / "ws", "--embedder", teacher)
    found = kdcurate(*build, *QUIET)
    reasons = query(tmp_path / "ws", "SELECT reason, count(*) FROM failures GROUP BY 1")
    assert len(reasons) > 5
    counted = [line for line in found.err.splitlines() if line.startswith("  ")]
    assert len(counted) == 5 and counted[0].startswith("  2: empty file (")
    left = sum(count for _, count in reasons) - 6
    assert f"{left} for other reasons: kdcurate sql -w {tmp_path}/ws " in found.err


def test_a_budget_above_the_pool_is_told(kdcurate: Kdcurate, workspace: Path, teacher: str) -> None:
    options = ("--teacher", teacher, "--strategy", "msp", "--name", "all", *QUIET)
    found = kdcurate("select", "-w", workspace, *options, "--budget", 100_000)
    assert found.code == 0
    assert "--budget 100,000 is more than the" in found.err
    assert "eligible images: all are taken" in found.err
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


def test_one_file_that_cannot_be_read_is_one_file(
    kdcurate: Kdcurate, teacher: str, tmp_path: Path
) -> None:
    (tmp_path / "crawl").mkdir()
    (tmp_path / "crawl" / "good.png").write_bytes(png(pixels_of(0)))
    (tmp_path / "crawl" / "bad.png").write_bytes(b"")
    build = ("build-index", tmp_path / "crawl", "-w", tmp_path / "ws", "--embedder", teacher)
    assert "of this workspace, 1 file could not be read:\n  1: empty file" in kdcurate(*build).err
