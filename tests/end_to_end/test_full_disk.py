"""A disk that is really full, wherever the build stands: one clear line, and then the rest."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.index.helpers import content, rows

from .commands import Workspace

KIB = 1024


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, to be resized; only root may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = mount(folder, 64)
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def mount(folder: Path, kib: int, *options: str) -> subprocess.CompletedProcess[str]:
    size = ",".join([*options, f"size={kib}k"])
    command = ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)]
    try:
        return subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError as error:  # no mount, as on Windows
        return subprocess.CompletedProcess(command, 1, "", str(error))


def resize(folder: Path, kib: int) -> None:
    assert mount(folder, kib, "remount").returncode == 0


@pytest.fixture(scope="session")
def whole(
    tmp_path_factory: pytest.TempPathFactory, slices: Path, teacher: Path
) -> tuple[Workspace, str]:
    """An undisturbed workspace, and the name of its embedder."""
    workspace = Workspace(tmp_path_factory.mktemp("whole") / "ws")
    assert build(workspace, slices, teacher).returncode == 0
    ((embedder,),) = rows(workspace.path, "SELECT DISTINCT embedder FROM vectors")
    return workspace, embedder


def build(
    workspace: Workspace, slices: Path, teacher: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    pool = slices / "pool.parquet"
    options = ("--embedder", teacher, "--device", "cpu", "--workers", 1)
    return workspace.run("build-index", pool, *options, **environment)


def assert_one_clear_line(done: subprocess.CompletedProcess[str], disk: Path) -> None:
    said = done.stderr.splitlines()[-1]
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    assert said.startswith("kdcurate: no space left ") and str(disk) in said, done.stderr
    assert said.endswith("run the same command again")
    assert "Traceback" not in done.stderr and "Errno" not in done.stderr


@pytest.mark.parametrize(
    "share",
    [0.6, *(pytest.param(share, marks=pytest.mark.slow) for share in (0.1, 0.3, 0.8, 0.9, 0.97))],
)
def test_a_build_on_a_full_disk_goes_on_when_there_is_room(
    disk: Path, whole: tuple[Workspace, str], slices: Path, teacher: Path, share: float
) -> None:
    undisturbed, embedder = whole
    takes = sum(file.stat().st_size for file in undisturbed.path.rglob("*") if file.is_file())
    resize(disk, int(takes * share) // KIB)
    workspace = Workspace(disk / "ws")
    assert_one_clear_line(build(workspace, slices, teacher), disk)
    assert list(disk.rglob("*.tmp")) == []
    resize(disk, 64 * KIB)
    done = build(workspace, slices, teacher)
    assert done.returncode == 0, done.stderr
    assert content(workspace.path, embedder) == content(undisturbed.path, embedder)
    assert workspace.run("verify").returncode == 0


@pytest.mark.slow
def test_a_build_needs_no_room_for_temporary_files(
    disk: Path, tmp_path: Path, whole: tuple[Workspace, str], slices: Path, teacher: Path
) -> None:
    (disk / "full").write_bytes(bytes(os.statvfs(disk).f_bavail * os.statvfs(disk).f_bsize))
    workspace = Workspace(tmp_path / "ws")
    done = build(workspace, slices, teacher, TMPDIR=str(disk))
    assert done.returncode == 0, done.stderr
    assert content(workspace.path, whole[1]) == content(whole[0].path, whole[1])
