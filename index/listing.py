"""What the sources of a build hold, listed once and kept on disk: a crawl outgrows memory."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from index import sources
from index.catalog import Catalog
from index.errors import NothingSelectedError
from index.files import told_if_full
from index.progress import Progress, Silent
from index.sources import Partition, SourceOptions


@dataclass(frozen=True)
class Listing:
    """What is still to be done: so many partitions (its length) of so many images.

    Iterating reads the partitions from disk, in the order of the sources.
    """

    listed: Path  # JSON lines: key and container of all that is listed, done or not
    todo: Path  # JSON lines: the partitions that are to be done
    partitions: int
    images: int

    def __len__(self) -> int:
        return self.partitions

    def __iter__(self) -> Iterator[Partition]:
        with gzip.open(self.todo, "rt", encoding="ascii") as lines:
            for line in lines:
                fields = json.loads(line)
                yield Partition(**{**fields, "entries": tuple(fields["entries"])})


def list_sources(
    catalog: Catalog,
    source_names: Sequence[str],
    embedder: str,
    folder: Path,
    options: SourceOptions | None = None,
    progress: Progress | None = None,
) -> Listing:
    """List the sources into files in `folder`; a source may be named twice.

    Memory holds the keys of partitions, less than a byte an image; the disk some 20 bytes an image.

    Raises:
        NothingSelectedError: the sources hold no file that could be an image.
        WorkspaceError: the disk is full.
    """
    progress, options = progress or Silent(), options or SourceOptions()
    options.left_aside.clear()
    settled = _done(catalog, embedder)
    found = partitions = images = 0
    listed, todo = folder / "listed.jsonl.gz", folder / "todo.jsonl.gz"
    with (
        _lines(listed) as write_listed,
        _lines(todo) as write_todo,
        progress.step("Listing", None, "images") as advance,
    ):
        for part in sources.partitions(source_names, options):
            found += 1
            if not part.out_of_reach:  # what is listed of a container is all that it holds
                write_listed({"key": part.key, "container": part.container})
            if part.key not in settled:
                settled.add(part.key)
                write_todo(vars(part))
                partitions, images = partitions + 1, images + part.count
            advance(part.count)
    aside = ", ".join(f"{count:,} {kind}" for kind, count in options.left_aside.items() if count)
    if not found:
        told = f" (not looked at: {aside})" if aside else ""
        instead = sources.instead_of_images(source_names) or "nothing to build"
        raise NothingSelectedError(f"no images in {', '.join(source_names)}{told}: {instead}")
    if aside:
        progress.say(f"not looked at in folders: {aside}")
    return Listing(listed, todo, partitions, images)


@contextmanager
def _lines(path: Path) -> Iterator[Callable[[object], object]]:
    """Yield what writes a value as a line; names that are not UTF-8 come back as they were."""
    with told_if_full(path), gzip.open(path, "wt", 1, encoding="ascii") as file:
        yield lambda value: file.write(json.dumps(value) + "\n")


def _done(catalog: Catalog, embedder: str) -> set[str]:
    """Return the partitions that the embedder has done to the end.

    One that holds a failure that may pass, such as a server's that was overloaded, is to be read
    again.
    """
    if not catalog.exists():
        return set()
    query = (
        "SELECT key FROM partitions WHERE embedder = ? "
        "AND key NOT IN (SELECT partition FROM failures WHERE transient)"
    )
    with catalog.read() as connection:
        return {key for (key,) in connection.execute(query, [embedder]).fetchall()}
