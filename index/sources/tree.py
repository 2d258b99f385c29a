"""The files below a local folder in a fixed order, however many one folder holds."""

from __future__ import annotations

import heapq
import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import islice

from index.catalog.catalog import FILE_NAME
from index.errors import DataError
from index.sources.retries import Retries, may_pass

_NAMES_IN_MEMORY = 1 << 18
HIDDEN, LINKS, OTHERS = "hidden", "links to folders", "without the name of an image"
MADE = "with images that a method made"
# Below a workspace: images that methods made, catalogued by lists that say of which run each is.
MADE_FOLDER = "synthetic"


def files_below(
    root: str, is_wanted: Callable[[str], bool], left_aside: Counter[str] | None = None
) -> Iterator[str]:
    """Yield the paths of files whose name is wanted: a folder's own first, then its subfolders'.

    Both are in the order of their names. What is hidden is left out, and so are images that methods
    made, whose own lists are their sources: as files they would forget. Links to folders are not
    followed. Folders that cannot be listed come last, so that they end as failures of their own.
    At no time are more than some 260,000 names in memory.

    Args:
        left_aside: counts what is not looked at, by its kind.
    """
    unreadable: list[str] = []
    aside: Counter[str] = Counter() if left_aside is None else left_aside

    def names(folder: str, are_meant: Callable[[os.DirEntry[str]], bool]) -> Iterator[str]:
        found = (e.name for e in _entries(folder, unreadable) if are_meant(e))
        return (os.path.join(folder, name) for name in in_order(found))

    def is_wanted_file(entry: os.DirEntry[str]) -> bool:
        if entry.name.startswith("."):
            aside[HIDDEN] += 1
            return False
        if _is_folder(entry, follow_links=True):
            aside[LINKS] += not _is_folder(entry)
            return False
        aside[OTHERS] += not is_wanted(entry.name)
        return is_wanted(entry.name)

    def is_plain_folder(entry: os.DirEntry[str]) -> bool:
        if entry.name.startswith(".") or not _is_folder(entry):
            return False
        if is_made(entry.path):
            aside[MADE] += 1
            return False
        return True

    ahead = [iter((root,))]  # of each level above, the folders that are still to be listed
    while ahead:
        folder = next(ahead[-1], None)
        if folder is None:
            ahead.pop()
            continue
        yield from names(folder, is_wanted_file)
        ahead.append(names(folder, is_plain_folder))
    yield from dict.fromkeys(unreadable)


def is_made(folder: str) -> bool:
    """Tell whether a folder holds images that a run made: WS/synthetic/RUN, its list beside it."""
    above = os.path.dirname(folder)
    workspace, name = os.path.split(above)
    return (
        name == MADE_FOLDER
        and os.path.isfile(f"{folder}.jsonl")
        and os.path.isfile(os.path.join(workspace, FILE_NAME))
    )


def in_order(names: Iterator[str]) -> Iterator[str]:
    """Sort names; where they are too many for memory, in runs that wait in temporary files."""
    run = sorted(islice(names, _NAMES_IN_MEMORY))
    if len(run) < _NAMES_IN_MEMORY:
        yield from run
        return
    with ExitStack() as stack:
        runs: list[Iterator[str]] = []
        while run:
            file = stack.enter_context(tempfile.TemporaryFile("w+", encoding="ascii"))
            file.writelines(json.dumps(name) + "\n" for name in run)  # a name may hold any sign
            file.seek(0)
            runs.append(map(json.loads, file))
            run = sorted(islice(names, _NAMES_IN_MEMORY))
        yield from heapq.merge(*runs)


def _entries(folder: str, unreadable: list[str]) -> Iterator[os.DirEntry[str]]:
    try:
        with Retries()(lambda: os.scandir(folder)) as entries:
            yield from entries
    except OSError as error:
        if may_pass(error):  # what it holds must not count as gone
            raise DataError(
                f"cannot list {folder} ({error.strerror}): run the same command again"
            ) from error
        unreadable.append(folder)


def _is_folder(entry: os.DirEntry[str], *, follow_links: bool = False) -> bool:
    try:
        return entry.is_dir(follow_symlinks=follow_links)
    except OSError:  # a link that leads in circles
        return False
