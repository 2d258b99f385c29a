"""Where an export goes: whole or not at all, and never over something else."""

from __future__ import annotations

import filecmp
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from index.errors import UsageError, WorkspaceError
from index.files import rename, told_if_full

MARK = "kdcurate.json"


@contextmanager
def whole(target: Path) -> Iterator[tuple[Path, Callable[[], bool]]]:
    """Yield a temporary path beside `target`, and what tells afterwards whether it was new.

    On success the file or folder is on disk and renamed. A file that stands there stays where it
    is the same, byte for byte. What a killed export left is removed first.

    Raises:
        UsageError: something else stands there.
        WorkspaceError: it cannot be written; nothing is left behind.
    """
    temporary = target.with_name(f".{target.name}.kdcurate-tmp")
    was_there = os.path.lexists(target)
    try:
        with told_if_full(target):
            _remove(temporary)
            yield temporary, lambda: not was_there
            if was_there:
                if not (target.is_file() and filecmp.cmp(temporary, target, shallow=False)):
                    refuse_standing(target)
                return
            _to_disk(temporary)
            rename(temporary, target)
    except OSError as error:
        raise WorkspaceError(
            f"cannot write {target} ({error.strerror}): free the way, or give another -o"
        ) from error
    finally:
        _remove(temporary)


def refuse_standing(target: Path) -> NoReturn:
    """Refuse to write where something else stands."""
    raise UsageError(
        f"{target} exists and is another thing than this export: remove it, or give another -o"
    )


def write_mark(folder: Path, mark: dict[str, Any]) -> None:
    """Write what an exported folder is, for the same command to know it again."""
    (folder / MARK).write_text(json.dumps(mark, indent=2) + "\n")


def standing_mark(folder: Path) -> dict[str, Any] | None:
    """Return what an exported folder says that it is; None where there is no such word."""
    try:
        found = json.loads((folder / MARK).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _to_disk(path: Path) -> None:
    """A folder may hold a million files: one sync of the system in place of a million."""
    if path.is_dir() and hasattr(os, "sync"):
        os.sync()
        return
    for file in path.rglob("*") if path.is_dir() else [path]:
        if file.is_file() and not file.is_symlink():
            with file.open("rb+") as opened:
                os.fsync(opened.fileno())


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
