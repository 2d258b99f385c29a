"""How a command ends that cannot do what is asked: its code, and one line that says why."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from curate.options import SelectOptions
from curate.pool import Pool
from curate.selection import select

from ..conftest import Kdcurate
from ..helpers import (
    QUIET,
    build,
    doubtful_picture,
    one_line,
)


def test_a_mistyped_source_makes_no_workspace(
    kdcurate: Kdcurate, teacher: str, tmp_path: Path
) -> None:
    command = ("build-index", tmp_path / "none", "-w", tmp_path / "ws", "--embedder", teacher)
    found = kdcurate(*command)
    assert found.code == 1
    assert one_line(found.err) and "no such source" in found.err
    assert not (tmp_path / "ws").exists()


def test_a_wrong_option_is_wrong_usage(kdcurate: Kdcurate) -> None:
    found = kdcurate("select", "--teacher", "t", "--bugdet", "5")
    assert (found.code, found.out) == (2, "")
    assert one_line(found.err)
    assert "--bugdet" in found.err and "see `kdcurate select --help`" in found.err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("sql", "SELECT 1", "-w", "{tmp}/no"), 1, "/no --embedder CARD"),
        (("manifests", "list", "-w", "{tmp}/no"), 1, "no catalog at"),
        (("select", "-w", "{tmp}/no", "--teacher", "{teacher}"), 1, "no catalog at"),
        (("select", "-w", "{ws}", "--teacher", "{teacher}", "--strategy", "kd4"), 2, "mean kd3?"),
        (("select", "-w", "{ws}", "--teacher", "{tmp}/no.toml"), 1, "no.toml"),
        (("select", "-w", "{ws}", "--teacher", "cifar:resnet9"), 1, "did you mean"),
        (("select", "-w", "{ws}", "--teacher", "{teacher}", "--budget", "0"), 2, "--budget is 0"),
        (("select", "-w", "{ws}", "--teacher", "{teacher}", "--budget", "ten"), 2, "such as 10%"),
        (
            ("select", "-w", "{ws}", "--teacher", "{teacher}", "--diversity", "kcentre"),
            2,
            "kcenter",
        ),
        (("select", "-w", "{ws}", "--teacher", "{teacher}", "--device", "tpu"), 2, "--device is"),
        (("select", "-w", "{ws}", "--teacher", "{teacher}", "--device", "gpu"), 2, "mean cuda?"),
        (("select", "--teacher", "t", "--seed", f"{2**63}"), 2, "between 0 and 2^63 - 1"),
        (("evaluate", "{teacher}", "--data", "d", "--seed", "-1"), 2, "--seed is -1"),
        (("manifests", "show", "nothing", "-w", "{ws}"), 2, "'nothing'"),
        (("manifests", "explain", "nothing", "1", "-w", "{ws}"), 2, "'nothing'"),
        (("sql", "SELECT 1", "-w", "{ws}", "--csv", "--json"), 2, "choose one of"),
        (("build-index", "{tmp}/no", "-w", "{tmp}/ws", "--embedder", "{teacher}"), 1, "no such"),
        (("build-index", "{tmp}", "-w", "{tmp}/ws"), 2, "--embedder"),
        (("build-index", "{tmp}", "-w", "{ws}", "--formats", "jpg,psd"), 2, "names psd: choose"),
        (("build-index", "{tmp}", "-w", "{ws}", "--formats", ","), 2, "--formats names nothing"),
        (("build-index", "{tmp}", "-w", "{ws}", "--image-column", "x"), 2, "--image-column is for"),
        (("evaluate", "{teacher}", "--data", "{tmp}/no.parquet"), 1, "no.parquet"),
    ],
)
def test_a_failure_is_one_line_that_says_what_to_do(
    kdcurate: Kdcurate,
    scored: Pool,
    teacher: str,
    tmp_path: Path,
    arguments: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    places = {"tmp": tmp_path, "ws": scored.catalog.workspace, "teacher": teacher}
    found = kdcurate(*(argument.format(**places) for argument in arguments))
    assert (found.code, found.out) == (code, "")
    # A build says first with which embedder it works.
    *notes, last = found.err.splitlines()
    assert last.startswith("kdcurate: ") and message in last
    assert notes == [] or (arguments[0] == "build-index" and len(notes) == 1)
    assert not (tmp_path / "no").exists()


def test_nothing_selected_ends_with_three(
    kdcurate: Kdcurate, scored: Pool, teacher: str, tmp_path: Path
) -> None:
    build(tmp_path / "ws", [doubtful_picture(scored)])
    found = kdcurate("select", "-w", tmp_path / "ws", "--teacher", teacher, *QUIET, "--json")
    assert (found.code, found.out) == (3, "")
    assert (
        "kd3 selected none of 1 images: 0 were eligible (1 below class threshold); take a "
        "--strategy without thresholds, such as msp" in found.err
    )
    filtered = ("--strategy", "msp", "--where", "width > 10000", *QUIET)
    found = kdcurate("select", "-w", tmp_path / "ws", "--teacher", teacher, *filtered)
    assert "0 were eligible (1 filtered: --where); loosen what filters" in found.err


def test_debug_shows_where_an_error_comes_from(tmp_path: Path) -> None:
    code = "from curate.cli.main import main; main()"
    command = [sys.executable, "-c", code, "sql", "SELECT 1", "-w", str(tmp_path / "no")]
    quiet = subprocess.run(command, check=False, capture_output=True, text=True)
    loud = subprocess.run([*command, "--debug"], check=False, capture_output=True, text=True)
    assert quiet.returncode == 1 and one_line(quiet.stderr)
    assert loud.returncode == 1 and "Traceback" in loud.stderr
    assert "WorkspaceError: no catalog at" in loud.stderr


def test_an_unexpected_error_is_one_line_too(
    kdcurate: Kdcurate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(_: object) -> None:
        raise ZeroDivisionError("what nobody\nthought of")

    monkeypatch.setattr("curate.manifest.list_manifests", broken)
    found = kdcurate("manifests", "list", "-w", tmp_path)
    assert found.code == 1
    assert found.err == (
        "kdcurate: ZeroDivisionError: what nobody thought of (--debug shows where)\n"
    )


def test_another_decision_under_a_taken_name_is_refused(
    kdcurate: Kdcurate, workspace: Path, pool: Pool, teacher: str
) -> None:
    select(pool, "first", SelectOptions("msp", budget=5))
    options = ("--teacher", teacher, "--strategy", "msp", "--budget", 6, "--name", "first", *QUIET)
    found = kdcurate("select", "-w", workspace, *options)
    assert (found.code, found.out) == (2, "")
    assert "give another --name" in found.err and one_line(found.err)
