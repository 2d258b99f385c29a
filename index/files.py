"""Files that are either whole or absent: temporary name, fsync, rename."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from index.errors import UsageError, WorkspaceError

_OUT_OF_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is fsynced and renamed to `path`.

    Raises:
        WorkspaceError: the disk is full or a limit on file size was hit; nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    try:
        with told_if_full(path):
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            rename(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def check_target(path: Path, *, makes_folder: bool = True) -> None:
    """Refuse a file that `atomic_path` could not write, before the work that fills it.

    Args:
        makes_folder: whether its folder is made where it is not there, or has to be there.

    Raises:
        UsageError: something else stands there, or the way there is no folder or closed.
    """
    if not (makes_folder or os.path.lexists(path.absolute().parent)):
        raise UsageError(f"cannot write {path}: make its folder first")
    if (obstacle := _told(_obstacle, path)) is not None:
        raise UsageError(f"cannot write {path} ({obstacle}): name another file")


def check_folder(folder: Path) -> None:
    """Refuse a folder that cannot be made or written to, before the work that fills it.

    Raises:
        UsageError: a file stands there or on the way there, or it is closed.
    """
    if (obstacle := _told(_closed, folder)) is not None:
        raise UsageError(f"cannot write to {folder} ({obstacle}): name another folder")


def _told(find: Callable[[Path], str | None], path: Path) -> str | None:
    try:
        return find(path)
    except OSError as error:  # as of a name that is too long
        return error.strerror


def _obstacle(path: Path) -> str | None:
    if path.exists() and not path.is_file():  # a device would be replaced by the file
        return "it is a folder" if path.is_dir() else "it is no ordinary file"
    if (closed := _closed(path.absolute().parent)) is not None:
        return closed
    with suppress(FileNotFoundError):
        _temporary(path).lstat()
    return None


def _closed(folder: Path) -> str | None:
    """Say why no file can be written into a folder, which may still have to be made."""
    standing = folder.absolute()
    while not os.path.lexists(standing):
        standing = standing.parent
    if not standing.is_dir():
        return f"{standing} is no folder"
    return None if os.access(standing, os.W_OK | os.X_OK) else f"{standing} is closed to writing"


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


@contextmanager
def told_if_full(path: Path) -> Iterator[None]:
    """Name the file that is being written where the disk turns out to be full.

    Raises:
        WorkspaceError: it is, or a limit on file size was hit.
    """
    try:
        yield
    except Exception as error:  # FAISS and DuckDB have errors of their own
        if is_out_of_space(error):
            raise out_of_space(path) from error
        raise


def rename(source: Path, target: Path) -> None:
    """Rename a fsynced file within its file system; it is durable on return."""
    target.parent.mkdir(parents=True, exist_ok=True)
    source.replace(target)
    _fsync_directory(target.parent)


def is_out_of_space(error: Exception) -> bool:
    """Tell whether this error, of Python, FAISS or DuckDB, means a full disk."""
    if isinstance(error, OSError):
        return error.errno in _OUT_OF_SPACE
    return any(os.strerror(code) in str(error) for code in _OUT_OF_SPACE)


def out_of_space(path: Path) -> WorkspaceError:
    """Return the error to raise when the disk is full."""
    return WorkspaceError(
        f"no space left while writing {path}: free some and run the same command again"
    )


def remove_leftovers(folder: Path) -> None:
    """Remove what a killed `atomic_path` left; only where no other process writes."""
    for leftover in folder.glob(".*.tmp"):
        leftover.unlink(missing_ok=True)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def locked(path: Path, otherwise: str) -> Iterator[None]:
    """Hold an advisory lock file; the system frees it when the process dies, however it dies.

    Raises:
        WorkspaceError: another process holds it; `otherwise` says what that process does.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise WorkspaceError(f"{otherwise}: wait for it to end") from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def scratch(workspace: Path, purpose: str) -> Iterator[Path]:
    """Yield a folder for what a command needs for itself, on the workspace's own disk.

    What killed commands left there is removed: the name of a folder holds its process. What
    another machine left or uses is left alone: whether its process lives cannot be told here.
    """
    parent = workspace / "scratch"
    parent.mkdir(parents=True, exist_ok=True)
    here = socket.gethostname()
    for leftover in parent.iterdir():
        _, owner, *rest = leftover.name.split("-", 2) + [""]
        if rest[0].startswith(f"{here}-") and owner.isdigit() and not _is_alive(int(owner)):
            shutil.rmtree(leftover, ignore_errors=True)
    prefix = f"{purpose}-{os.getpid()}-{here}-"
    with tempfile.TemporaryDirectory(dir=parent, prefix=prefix) as folder:
        yield Path(folder)


def _is_alive(process: int) -> bool:
    if os.name == "nt":  # there, signal 0 would end the process
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is another user's
        return True
    return True


def _fsync_directory(directory: Path) -> None:
    if os.name == "nt":  # Windows cannot open a directory; its rename is durable enough
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
