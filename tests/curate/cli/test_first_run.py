"""The first minutes: what a newcomer types, mistypes, and lets the shell complete."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from curate.doctor import EXTRAS, Extra
from curate.options import SelectOptions
from curate.pool import Pool
from curate.selection import select

from ..conftest import Kdcurate
from ..helpers import PROJECT


def test_alone_it_says_how_to_go_on(kdcurate: Kdcurate) -> None:
    found = kdcurate()
    assert (found.code, found.err) == (0, "")
    assert len(found.out.splitlines()) <= 15
    for step in ("kdcurate demo", "kdcurate init", "kdcurate sql", "kdcurate --help"):
        assert step in found.out


@pytest.mark.parametrize(
    ("typed", "nearest"),
    [
        (["selct"], "'select'"),
        (["select", "--buget", "3"], "--budget"),
        (["manifests", "shwo", "first"], "'show'"),
        (["manifests", "show", "frist"], "did you mean first?"),
        (["select", "--teacher", "TEACHER", "--strategy", "knd"], "did you mean knn?"),
        (["distill", "--manifest", "frist"], "did you mean first?"),
        (["distill", "--manifest", "first", "--method", "kdd"], "did you mean kd"),
        (["distill", "--manifest", "first", "--student", "cifar:resnet9"], "cifar:resnet"),
        (
            ["manifests", "export", "first", "-o", "x", "--format", "parqet"],
            "did you mean parquet?",
        ),
        (["duplicates", "--kind", "percptual"], "did you mean perceptual?"),
        (["distill", "--manifest", "first", "--device", "cdua"], "did you mean cuda?"),
        (["build-index", "crawl", "--engine", "rey"], "did you mean ray?"),
    ],
)
def test_a_mistyped_name_is_answered_with_the_nearest(
    kdcurate: Kdcurate,
    pool: Pool,
    teacher: str,
    crawl: Path,
    workspace: Path,
    typed: list[str],
    nearest: str,
) -> None:
    select(pool, "first", SelectOptions("msp", budget=5))
    known = {"TEACHER": teacher, "crawl": str(crawl)}
    words = [known.get(word, word) for word in typed]
    if typed[0] == "distill":
        words += ["--teacher", teacher]
        words += [] if "--student" in typed else ["--student", "cifar:resnet8"]
    group = 2 if typed[0] == "manifests" else 1
    placed = [] if nearest in ("'select'", "'show'") else ["-w", str(workspace)]
    found = kdcurate(*words[:group], *placed, *words[group:])
    assert found.code in (1, 2) and found.out == ""
    assert nearest in found.err and len(found.err.splitlines()) == 1


def test_the_shell_is_offered_commands_and_manifests(pool: Pool, workspace: Path) -> None:
    select(pool, "first", SelectOptions("msp", budget=5))
    select(pool, "second", SelectOptions("random", budget=5))

    def offered(line: str) -> list[str]:
        words = line.split()
        environment = {
            **os.environ,
            "PYTHONPATH": str(PROJECT),
            "_KDCURATE_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) if line.endswith(" ") else len(words) - 1),
        }
        program = "from curate.cli.main import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.split()

    assert "build-index" in offered("kdcurate bu")
    assert offered(f"kdcurate manifests show -w {workspace} ") == ["second", "first"]
    assert offered(f"kdcurate manifests diff -w {workspace} first se") == ["second"]
    assert offered("kdcurate manifests show -w /nowhere ") == []


def test_doctor_says_what_is_missing_and_how_to_get_it(
    kdcurate: Kdcurate, monkeypatch: pytest.MonkeyPatch
) -> None:
    from importlib.metadata import PackageNotFoundError, version

    def absent(package: str) -> str:
        if package == "matplotlib":
            raise PackageNotFoundError(package)
        return version(package)

    monkeypatch.setattr("curate.doctor.version", absent)
    found = kdcurate("doctor")
    assert "not installed: matplotlib, for kdcurate demo" in found.err
    assert "pip install 'kdcurate[demo]'" in found.err


def test_every_extra_of_the_package_is_explained() -> None:
    import tomllib

    declared = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    optional = set(declared["optional-dependencies"]) - {"dev", "docs", "interchange"}
    assert optional == set(EXTRAS)
    assert Extra("ray", "many machines", ()).remedy == "pip install 'kdcurate[ray]'"
