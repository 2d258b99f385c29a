"""The demo: its teacher's views, its claim on a folder, and the story told in small."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from curate.demo import crawl, story, teacher
from index.catalog import Catalog
from index.errors import UsageError


def test_bent_masks_keep_ink_on_the_canvas() -> None:
    ink = torch.zeros(64, 1, 32, 32)
    ink[:, :, 10:22, 12:20] = 1
    found = teacher.bent(ink, torch.Generator().manual_seed(0))
    assert found.shape == ink.shape
    assert float(found.min()) >= 0 and float(found.max()) <= 1
    shares = found.sum((1, 2, 3)) / ink.sum((1, 2, 3))
    # A view of scale s shows the ink s times as large a side: 0.55 to 1.15, squared.
    assert 0.2 < float(shares.min()) < 0.6
    assert 1.0 < float(shares.max()) < 1.6


def test_coloured_views_have_two_colours_and_some_stay_white_on_black() -> None:
    ink = torch.zeros(200, 1, 8, 8)
    ink[:, :, :4] = 1
    views = teacher.coloured(ink, torch.Generator().manual_seed(0))
    assert views.shape == (200, 3, 8, 8)
    assert float(views.min()) >= 0 and float(views.max()) <= 1
    front, ground = views[:, :, :4].mean((2, 3)), views[:, :, 4:].mean((2, 3))
    plain = (front > 0.95).all(1) & (ground < 0.05).all(1)
    assert 60 <= int(plain.sum()) <= 100  # four in ten of 200


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(UsageError, match="holds something else"):
        story.tell(tmp_path)
    with pytest.raises(UsageError, match="is a file"):
        story.tell(tmp_path / "thesis.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("active", [True, False])
def test_what_it_ends_with_can_be_typed_in_this_shell(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    active: bool,
) -> None:
    """As `make demo` leaves it: the environment is in the folder, and not active."""
    console = tmp_path / ".venv" / "bin" / "kdcurate"
    console.parent.mkdir(parents=True)
    console.write_text("#!/bin/sh\necho typed $1\n")
    console.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(console.with_name("python")))
    monkeypatch.setenv("PATH", f"{console.parent}:/usr/bin:/bin" if active else "/usr/bin:/bin")
    rows = [story.Row("random", 60, 0.5, 0.6)]
    story._report(Catalog(Path("a demo's folder")), rows, 0.9)
    told = capsys.readouterr()
    typed = [line for line in told.out.splitlines() if " sql " in line]
    typed += [line.rpartition(": ")[2] for line in told.err.splitlines()]
    assert len(typed) == 5
    said = [subprocess.run(one, shell=True, capture_output=True, text=True).stdout for one in typed]
    assert said == ["typed sql\n"] * 3 + ["typed report\n", "typed init\n"]


@pytest.mark.slow
def test_the_story_is_told_and_its_queries_can_be_pasted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(teacher, "STEPS", 30)
    monkeypatch.setattr(story, "STEPS", 6)
    monkeypatch.setattr(story, "BUDGET", 60)
    monkeypatch.setattr(story, "ROUNDS", 2)
    drawn = crawl.draw_crawl
    monkeypatch.setattr(story, "draw_crawl", lambda folder: drawn(folder, files=300))
    folder = tmp_path / "a demo's folder"
    story.tell(folder)
    told = capsys.readouterr().out
    rows = re.findall(r"^(random|kd3, 2 rounds) +(\d+) +[\d.]+% +[\d.]+% +[\d.]+%", told, re.M)
    assert [(name, int(count) > 0) for name, count in rows] == [
        ("random", True),
        ("kd3, 2 rounds", True),
    ]
    assert not (folder / "original").exists()

    pasted = [line for line in told.splitlines() if "kdcurate sql" in line]
    assert len(pasted) == 3
    for line in pasted:
        _, *arguments = shlex.split(line)
        console = str(Path(sys.executable).with_name("kdcurate"))
        done = subprocess.run([console, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.splitlines()) >= 2

    story.tell(folder)  # everything is done: the same table again
    assert capsys.readouterr().out == told
