"""Files are whole or absent, and a lock ends with the process that held it."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from index.errors import UsageError, WorkspaceError
from index.files import (
    atomic_path,
    check_folder,
    check_target,
    file_sha256,
    is_out_of_space,
    locked,
    remove_leftovers,
)

from .helpers import PROJECT


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "f.bin"
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"half")
        assert not target.exists()
        temporary.write_bytes(b"whole")
    assert target.read_bytes() == b"whole"
    assert names(target.parent) == ["f.bin"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "f.bin").write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), atomic_path(tmp_path / "f.bin") as temporary:
        temporary.write_bytes(b"new")
        _ = 1 / 0
    assert (tmp_path / "f.bin").read_bytes() == b"old"
    assert names(tmp_path) == ["f.bin"]


def test_a_full_disk_is_named_and_leaves_no_half_file(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.index.helpers import fill_disk\n"
        "from index.errors import WorkspaceError; from index.files import atomic_path\n"
        "fill_disk()\n"
        "try:\n"
        "    with atomic_path(Path(sys.argv[1])) as t: t.write_bytes(bytes(5000))\n"
        "except WorkspaceError as error: sys.exit(str(error))\n"
    )
    target = tmp_path / "f.bin"
    ended = subprocess.run(
        [sys.executable, "-c", code, str(target)], cwd=PROJECT, capture_output=True, text=True
    )
    assert ended.stderr == (
        f"no space left while writing {target}: free some and run the same command again\n"
    )
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "x"), True),
        (OSError(errno.EFBIG, "x"), True),
        (OSError(errno.EACCES, "x"), False),
        (RuntimeError("write error in a: 4 != 8 (No space left on device)"), True),
        (RuntimeError("write error in a: 4 != 8 (Permission denied)"), False),
    ],
)
def test_a_full_disk_is_told_from_other_errors(error: Exception, full: bool) -> None:
    assert is_out_of_space(error) is full


def test_other_errors_pass_unchanged(tmp_path: Path) -> None:
    with pytest.raises(PermissionError, match="mine"), atomic_path(tmp_path / "f"):
        raise PermissionError(errno.EACCES, "mine")


def test_a_file_that_could_not_be_written_is_refused_before_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("there")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name, said in (
        ("folder", "it is a folder"),
        ("pipe", "it is no ordinary file"),
        ("file/new", f"{tmp_path / 'file'} is no folder"),
        ("file/further/new", f"{tmp_path / 'file'} is no folder"),
        ("a" * 250, os.strerror(errno.ENAMETOOLONG)),
        ("a" * 300, os.strerror(errno.ENAMETOOLONG)),
    ):
        with pytest.raises(UsageError) as refused:
            check_target(tmp_path / name)
        assert str(refused.value) == f"cannot write {tmp_path / name} ({said}): name another file"
    for name in ("file", "new", "far/away/new", "folder/new"):
        check_target(tmp_path / name)
    assert names(tmp_path) == ["file", "folder", "pipe"]


def test_a_folder_may_have_to_be_there(tmp_path: Path) -> None:
    check_target(tmp_path / "new", makes_folder=False)
    with pytest.raises(UsageError, match=r"far/new: make its folder first"):
        check_target(tmp_path / "far" / "new", makes_folder=False)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="file is no folder"):
        check_target(tmp_path / "file" / "new", makes_folder=False)


def test_a_folder_that_cannot_be_made_is_refused_before_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    check_folder(tmp_path)
    check_folder(tmp_path / "far" / "away")
    for name in ("file", "file/new"):
        with pytest.raises(UsageError, match=r"cannot write to .* \(.*/file is no folder\): name"):
            check_folder(tmp_path / name)
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("check", [check_target, check_folder])
def test_a_closed_folder_is_refused_before_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, check: Callable[[Path], None]
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # which root never meets
    with pytest.raises(UsageError, match=r"\(.* is closed to writing\)"):
        check(tmp_path / "new")


def test_leftovers_of_killed_runs_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".part-00000.npz.123.tmp").touch()
    (tmp_path / "part-00000.npz").touch()
    remove_leftovers(tmp_path)
    remove_leftovers(tmp_path / "absent")
    assert names(tmp_path) == ["part-00000.npz"]


def test_a_digest_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc" * 999_999)
    assert file_sha256(tmp_path / "f") == hashlib.sha256(b"abc" * 999_999).hexdigest()


def test_a_lock_keeps_others_out_until_its_process_dies(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from index.files import locked\n"
        "with locked(Path(sys.argv[1]), 'x'): print('held', flush=True); sys.stdin.read()\n"
    )
    lock = tmp_path / ".lock"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(lock)],
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        refused = pytest.raises(WorkspaceError, match="another build works here: wait for it")
        with refused, locked(lock, "another build works here"):
            pass
        holder.kill()
        holder.wait()
    with locked(lock, "another build works here"):
        pass
