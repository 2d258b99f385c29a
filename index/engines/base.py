"""What a build asks of an engine, and what it hands to one."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from index.commit import Batch
from index.embedder import Embedder
from index.progress import Advance
from index.quarantine import Quarantine
from index.sources import Partition


@dataclass(frozen=True)
class Job:
    """How the partitions of a build are to be decoded and embedded.

    Args:
        workers: processes that decode; None leaves it to the engine, 0 decodes in this process.
        rows_a_part: vectors after which a batch is handed over.
        known: which of some image ids have their vector already, committed or about to be.
        advance: to be called with the number of entries of each partition that is done.
    """

    workspace: Path
    embedder: Embedder
    quarantine: Quarantine
    workers: int | None
    rows_a_part: int
    known: Callable[[list[int]], set[int]]
    advance: Advance


class Partitions(Protocol):
    """Partitions in their order, which may be more than memory holds."""

    def __len__(self) -> int:
        """Return how many there are."""
        ...

    def __iter__(self) -> Iterator[Partition]:
        """Read them."""
        ...


class Engine(Protocol):
    """Turns partitions into batches, wherever the work is done; knows no catalog."""

    def __call__(self, todo: Partitions, job: Job, /) -> Generator[Batch, None, None]:
        """Decode and embed partitions; yield whole ones together, in their order.

        A batch comes with its vectors, or with a part that holds them, somewhere in the
        workspace. It is committed before the next is asked for.
        """
        ...
