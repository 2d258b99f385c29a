"""Files are whole or absent, and a lock ends with the process that held it."""

from __future__ import annotations

import errno
import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from index.errors import WorkspaceError
from index.files import atomic_path, file_sha256, is_out_of_space, locked, remove_leftovers

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
