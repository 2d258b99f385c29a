"""Images that a method made, as files: a list that build-index takes like any crawl's."""

from __future__ import annotations

import glob
import json
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path

from PIL import Image

from index.decoding import Pixels
from index.files import atomic_path, remove_leftovers
from index.sources.tree import MADE_FOLDER


def list_path(workspace: Path, run: str) -> Path:
    """Return the list of what a run's method made: WS/synthetic/RUN.jsonl, images in RUN/."""
    return workspace / MADE_FOLDER / f"{run}.jsonl"


def write_images(
    workspace: Path, run: str, batches: Iterable[Pixels], facts: Mapping[str, str]
) -> Path:
    """Write images (B, S, S, 3) uint8 as PNG files, and last their list; return its path.

    Each row of the list has a file's path, its number, and the facts (method, teacher), which
    become the image's metadata. Files of a longer list before, or of a killed run, are removed.
    """
    listing = list_path(workspace, run)
    folder = listing.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    for leftover in listing.parent.glob(f".{glob.escape(listing.name)}.*.tmp"):
        leftover.unlink(missing_ok=True)
    count = 0
    with atomic_path(listing) as whole, whole.open("w") as rows:
        for image in chain.from_iterable(batches):
            name = _name(count)
            with atomic_path(folder / name) as temporary, temporary.open("wb") as file:
                Image.fromarray(image).save(file, "PNG")
            row = {"path": f"{folder.name}/{name}", **facts, "run": run, "number": count}
            rows.write(json.dumps(row) + "\n")
            count += 1
        for path in folder.glob("*.png"):
            if not path.stem.isdecimal() or int(path.stem) >= count:
                path.unlink()
    return listing


def has_images(workspace: Path, run: str, count: int) -> bool:
    """Tell whether a list and its so many images are still there."""
    listing = list_path(workspace, run)
    folder = listing.with_suffix("")
    return listing.is_file() and all((folder / _name(one)).is_file() for one in range(count))


def _name(number: int) -> str:
    return f"{number:06d}.png"
