"""Killed at any moment or out of disk, the same command run again ends as if nothing had been."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from index.catalog import Catalog
from index.errors import CatalogBusyError

from .helpers import PROJECT, build, content, rows, write_shards

CHILD = """
import sys
from pathlib import Path
from index.build import build_index
from index.errors import KdcurateError
from tests.index.helpers import Quadrants, SmallDisk, die, fill_disk, on_rename
crawl, workspace, progress = sys.argv[1], Path(sys.argv[2]), None
{hook}
try:
    build_index(workspace, [crawl], Quadrants(), workers=0, rows_a_part=4, progress=progress)
except KdcurateError as error:
    sys.exit(str(error))
"""
RENAMES = 5  # a part, the catalog, a part, index.json, and index.faiss


@pytest.fixture(scope="module")
def crawl(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_shards(tmp_path_factory.mktemp("crawl")) / "*.tar")


@pytest.fixture(scope="module")
def undisturbed(crawl: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    workspace = tmp_path_factory.mktemp("whole") / "ws"
    build(workspace, Path(crawl))
    return content(workspace)


def run(crawl: str, workspace: Path, hook: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", CHILD.format(hook=hook), crawl, str(workspace)]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("number", "after"),
    [(1, False), (2, False), *((number, True) for number in range(1, RENAMES + 1))],
)
def test_killed_around_any_rename(
    crawl: str, undisturbed: dict[str, Any], tmp_path: Path, number: int, after: bool
) -> None:
    ended = run(crawl, tmp_path / "ws", f"on_rename({number}, die, after={after})")
    assert (ended.returncode, ended.stderr) == (-signal.SIGKILL, "")
    build(tmp_path / "ws", Path(crawl))
    assert content(tmp_path / "ws") == undisturbed


def test_there_is_no_further_rename(
    crawl: str, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    ended = run(crawl, tmp_path / "ws", f"on_rename({RENAMES + 1}, die, after=False)")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert content(tmp_path / "ws") == undisturbed


@pytest.mark.parametrize(
    ("hook", "file"),
    [
        ("progress = SmallDisk('Embedding')", "part-00000.npz"),
        ("on_rename(1, fill_disk, after=True)", "catalog.duckdb"),
        ("on_rename(2, fill_disk, after=True)", "catalog.duckdb"),
        ("progress = SmallDisk('Indexing')", "index.faiss"),
        ("fill_disk()", "listed.jsonl.gz"),
    ],
)
def test_a_full_disk_is_one_clear_line(
    crawl: str, undisturbed: dict[str, Any], tmp_path: Path, hook: str, file: str
) -> None:
    ended = run(crawl, tmp_path / "ws", hook)
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.startswith("no space left while writing ")
    assert f"{file}: free some and run the same command again" in ended.stderr
    assert list((tmp_path / "ws").rglob("*.tmp")) == []
    build(tmp_path / "ws", Path(crawl))
    assert content(tmp_path / "ws") == undisturbed


def eventually(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    while not condition():
        assert process.poll() is None, "it ended before the moment came"
        time.sleep(0.002)


def group_members(group: int) -> list[int]:
    """Processes of a group that still run."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            fields = entry.joinpath("stat").read_text().rpartition(")")[2].split()
        except (OSError, ValueError):
            continue
        if int(fields[2]) == group and fields[0] not in "ZX":
            found.append(int(entry.name))
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")
def test_the_command_killed_and_interrupted_ends_as_if_undisturbed(
    crawl: str, data_dir: Path, tmp_path: Path
) -> None:
    workspace = tmp_path / "ws"

    def start(folder: Path) -> subprocess.Popen[bytes]:
        command = [str(Path(sys.executable).with_name("kdcurate")), "build-index", crawl]
        card = data_dir / "teachers" / "resnet20.toml"
        options = ["-w", str(folder), "--embedder", str(card), "--device", "cpu", "--workers", "2"]
        options += ["--precision", "float32"]  # measured, it would depend on the moment
        return subprocess.Popen(
            [*command, *options], stderr=subprocess.PIPE, start_new_session=True
        )

    def decoders_run() -> bool:
        return len(group_members(process.pid)) >= 4  # with the fork server and its helpers

    with start(workspace) as process:
        eventually(decoders_run, process)
        process.kill()
        process.wait()
        group = process.pid
        while group_members(group):  # workers end with their parent; for ever, if they do not
            time.sleep(0.01)
    assert process.returncode == -signal.SIGKILL

    with start(workspace) as process:
        eventually(decoders_run, process)
        os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C in a terminal does
        _, said = process.communicate()
    assert process.returncode == 130, said.decode()
    assert "interrupted: the same command run again goes on from here" in said.decode()

    for folder in (workspace, tmp_path / "whole"):
        with start(folder) as process:
            _, said = process.communicate()
        assert process.returncode == 0, said.decode()
    ((embedder,),) = rows(workspace, "SELECT DISTINCT embedder FROM vectors")
    assert content(workspace, embedder) == content(tmp_path / "whole", embedder)


def test_a_reader_waits_no_longer_than_its_patience(crawl: str, tmp_path: Path) -> None:
    """While a build is inside its transaction, a reader is told which process that is."""
    hook = (
        "from index.catalog import Catalog\n"
        "with Catalog(workspace).write() as connection:\n"
        "    print('inside', flush=True); sys.stdin.readline()\n"
    )
    command = [sys.executable, "-c", CHILD.format(hook=hook), crawl, str(tmp_path / "ws")]
    with subprocess.Popen(
        command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"inside\n"
        said = pytest.raises(CatalogBusyError, match=f"held open by process {child.pid} ")
        with said, Catalog(tmp_path / "ws").read(patience_s=0.05):
            pass
        child.communicate(b"\n")
        assert child.returncode == 0
    assert len(rows(tmp_path / "ws", "FROM images")) == 12
