"""The command: what it writes, and the one line where it cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from curate.report import ReportOptions, make_report
from curate.report.content import Content
from curate.report.figures import check_figures, draw_figures
from curate.report.maps import Maps
from index.catalog import Catalog
from index.errors import UsageError, WorkspaceError

from ..conftest import Kdcurate
from .conftest import FIRST, RUN

SEVEN = tuple(f"--manifest={name}" for name in "abcdefg")


def test_figures_are_drawn_like_the_supplements(content: Content, tmp_path: Path) -> None:
    files = draw_figures(content, tmp_path / "new" / "figures")
    names = {path.stem for path in files}
    assert names == {"students", "teachers", "selected", "groups", "scores", "balance", "curves"}
    for path in files:
        with Image.open(path) as picture:
            assert picture.format == "PNG" and min(picture.size) > 200


def test_a_figure_with_nothing_to_show_is_not_drawn(content: Content, tmp_path: Path) -> None:
    bare: dict[str, Any] = {name: [] for name in ("curves", "grids", "scores", "shifts")}
    files = draw_figures(Content(**{**vars(content), **bare, "maps": Maps()}), tmp_path)
    assert [path.stem for path in files] == ["balance"]


def test_the_command_writes_one_file_and_says_so(
    kdcurate: Kdcurate, harmful: Catalog, tmp_path: Path
) -> None:
    output = tmp_path / "report.html"
    options = ("--manifest", FIRST, "--workers", 0, "--device", "cpu", "-o", output)
    found = kdcurate("report", "-w", harmful.workspace, *options)
    assert found.code == 0, found.err
    assert found.out.splitlines()[0].split() == ["report", str(output)]
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert output.read_text("utf-8").startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--manifest", "frist"), 2, "no manifest is called 'frist'"),
        (("--run", RUN + "s"), 2, f"did you mean {RUN}?"),
        (("-o", "none/report.html"), 2, "cannot write none/report.html"),
        (("-o", "."), 2, "cannot write ."),
        (("--reference", "none"), 1, "no such source"),
        (("--figures", "pyproject.toml"), 2, "--figures pyproject.toml is a file"),
        (SEVEN, 2, "--manifest names 7"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    kdcurate: Kdcurate, harmful: Catalog, options: tuple[str, ...], code: int, said: str
) -> None:
    found = kdcurate("report", "-w", harmful.workspace, "-o", "unused.html", *options)
    assert (found.code, found.out) == (code, "")
    assert len(found.err.splitlines()) == 1 and said in found.err
    assert not Path("unused.html").exists()


def test_a_workspace_without_a_manifest_says_what_makes_one(
    kdcurate: Kdcurate, workspace: Path, tmp_path: Path
) -> None:
    found = kdcurate("report", "-w", workspace, "-o", tmp_path / "report.html")
    assert found.code == 2 and "make one with `kdcurate select`" in found.err


def test_a_report_that_fails_leaves_the_one_before(
    harmful: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "report.html"
    output.write_text("the one before")
    monkeypatch.setattr("curate.report.make.gather", lambda *_: None)
    monkeypatch.setattr("curate.report.make.render", lambda _: "half \ud800")
    with pytest.raises(UnicodeEncodeError):
        make_report(harmful, ReportOptions(output))
    assert output.read_text() == "the one before"
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_figures_need_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        check_figures(tmp_path / "file")
    with pytest.raises(UsageError, match="cannot write to .*file is no folder"):
        check_figures(tmp_path / "file" / "new")
    check_figures(tmp_path / "new")


def test_no_workspace_is_said_and_none_is_made(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="no catalog"):
        make_report(Catalog(tmp_path / "none"), ReportOptions(tmp_path / "report.html"))
    assert list(tmp_path.iterdir()) == []
