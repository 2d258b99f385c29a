"""Decoded images in a file of the workspace, for who needs more of them than memory holds.

WS/cache/KEY/pixels.u8 is a bare array (N, S, S, 3) of uint8, ids.npy its ids, and facts.json,
written last, says what it is. KEY is a hash of the ids, the view and the versions that decode: the
same images are decoded once. A folder may be deleted whenever no command reads it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from index import __version__
from index.decoding import Pixels, View
from index.errors import WorkspaceError
from index.files import atomic_path, file_sha256, locked, remove_leftovers
from index.parts import Ids, places

FOLDER = "cache"
REMEDY = "delete its folder; the next distill makes it again from the images"


def cache_folder(workspace: Path, ids: Ids, view: View) -> Path:
    """Return where the pixels of these ids, ascending, in this view lie or would lie."""
    made_by = {"view": asdict(view), "kdcurate": __version__, "pillow": PIL.__version__}
    digest = hashlib.sha256(json.dumps(made_by, sort_keys=True).encode())
    digest.update(np.ascontiguousarray(ids, dtype="<i8").tobytes())
    return workspace / FOLDER / digest.hexdigest()[:16]


def open_cached(folder: Path) -> tuple[Ids, Pixels] | None:
    """Map the pixels (N, S, S, 3) and their ids (N,), ascending; None where they are not whole.

    That is told by their sizes: to read all pixels, see `is_whole`, may take as long as an epoch.
    """
    facts = _facts(folder)
    if facts is None:
        return None
    shape = (facts["images"], facts["size"], facts["size"], 3)
    try:
        ids = np.load(folder / "ids.npy", mmap_mode="r", allow_pickle=False)
    except ValueError:  # damaged
        return None
    # Copy on write: nobody writes, and PyTorch warns of an array that cannot be written.
    return ids, np.memmap(folder / "pixels.u8", np.uint8, "c", shape=shape)


def write_cached(
    folder: Path, ids: Ids, view: View, read: Iterable[tuple[Ids, Pixels]]
) -> tuple[Ids, Pixels]:
    """Write pixels as they come, in any order, and map them: whole or not at all.

    Raises:
        WorkspaceError: the disk is too small, or another process writes the same.
    """
    need = len(ids) * view.size * view.size * 3
    with locked(folder / ".lock", f"another process decodes images into {folder}"):
        remove_leftovers(folder)
        _check_room(folder, need)
        target = folder / "pixels.u8"
        with atomic_path(target) as temporary:
            _write(temporary, ids, need, read)
            sha256 = file_sha256(temporary)
        with atomic_path(folder / "ids.npy") as temporary, temporary.open("wb") as file:
            np.save(file, ids)
        facts = {"images": len(ids), "size": view.size, "sha256": sha256, "view": asdict(view)}
        with atomic_path(folder / "facts.json") as temporary:
            temporary.write_text(json.dumps(facts, indent=2) + "\n")
    opened = open_cached(folder)
    assert opened is not None
    return opened


def cached_folders(workspace: Path) -> list[Path]:
    """List the folders of decoded images that were written to their end."""
    return sorted(path.parent for path in (workspace / FOLDER).glob("*/facts.json"))


def is_whole(folder: Path) -> bool:
    """Read all pixels: whether they are those that were written."""
    facts = _facts(folder)
    return facts is not None and file_sha256(folder / "pixels.u8") == facts["sha256"]


def _facts(folder: Path) -> dict[str, Any] | None:
    try:
        facts: dict[str, Any] = json.loads((folder / "facts.json").read_text())
        need = facts["images"] * facts["size"] ** 2 * 3
        whole = (folder / "pixels.u8").stat().st_size == need and (folder / "ids.npy").is_file()
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return facts if whole else None


def _check_room(folder: Path, need: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < need:
        raise WorkspaceError(
            f"decoded images need {need / 2**30:.1f} GiB in {folder} and {free / 2**30:.1f} are "
            f"free: free some (what else lies in {folder.parent} may be deleted), raise "
            "--cache-budget to keep them in memory, or select fewer"
        )


def _write(path: Path, ids: Ids, size: int, read: Iterable[tuple[Ids, Pixels]]) -> None:
    # Written and not mapped: a mapping whose disk is full ends the process without a word.
    with path.open("wb") as file:
        file.truncate(size)
        for place, row in _placed(ids, read):
            file.seek(place * row.nbytes)
            file.write(row.tobytes())


def _placed(ids: Ids, read: Iterable[tuple[Ids, Pixels]]) -> Iterator[tuple[int, Pixels]]:
    for found, pixels in read:
        yield from zip(places(ids, found).tolist(), pixels, strict=True)
