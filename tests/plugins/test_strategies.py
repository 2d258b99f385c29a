"""A strategy of an installed package, through the real command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from distill.networks import load_embedder
from index.build import build_index

from ..curate.helpers import IMAGES, PROJECT, crawl_files, query, write_files, write_network

PACKAGE = Path(__file__).parent / "kdcurate_sides"
KDCURATE = Path(sys.executable).with_name("kdcurate")
PATIENCE_S = 300
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder into which pip has installed the package."""
    folder = tmp_path_factory.mktemp("installed")
    source = shutil.copytree(PACKAGE, folder / "source")  # pip builds in place
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check")
    command = [sys.executable, "-m", "pip", "install", *options, "--target", folder / "to", source]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    return folder / "to"


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    """Begin of a select command on a small workspace."""
    folder = tmp_path_factory.mktemp("plugins")
    card = write_network(folder / "teacher", "teacher", seed=1)
    crawl = write_files(folder / "crawl", crawl_files())
    build_index(folder / "ws", [str(crawl)], load_embedder(str(card)), workers=0)
    return ["select", "-w", folder / "ws", "--teacher", card, "--workers", 0]


def run(installed: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join(map(str, (installed, PROJECT)))
    return subprocess.run(
        [KDCURATE, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env=os.environ | {"PYTHONPATH": paths},
    )


def workspace_of(command: list[Any]) -> Path:
    return Path(command[2])


def test_it_selects_under_its_name(installed: Path, command: list[object]) -> None:
    options = ("--strategy", "shorter_side", "--budget", 5, "--name", "sides", "--json")
    done = run(installed, *command, *options)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["strategy"] == "shorter_side"
    found = "SELECT count(*), count(*) FILTER (components['side'] = 16) FROM decisions"
    assert query(workspace_of(command), found) == [(IMAGES, IMAGES)]
    terms = "components['side'] + components['teacher_confidence']"
    far = f"SELECT count(*) FROM decisions WHERE abs(score - ({terms})) > 1e-4"
    assert query(workspace_of(command), far) == [(0,)]


def test_it_can_be_named_in_a_rank(installed: Path, command: list[object]) -> None:
    options = ("--rank", "msp + log(shorter_side)", "--budget", 5, "--name", "rank")
    done = run(installed, *command, *options)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("unrankable", "unrankable gives image "),
        ("absent", "strategy 'absent' cannot be loaded from kdcurate_sides:Absent"),
        ("shorter_sid", "did you mean shorter_side?"),
    ],
)
def test_what_is_wrong_with_one_is_said_in_a_line(
    installed: Path, command: list[object], name: str, message: str
) -> None:
    done = run(installed, *command, "--strategy", name, "--json")
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
