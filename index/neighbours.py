"""The FAISS index over an embedder's vectors, keyed by image id."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from index.catalog import Catalog, one
from index.choice import (
    AUTO,
    Choice,
    IndexSettings,
    asked_factory,
    choose,
    faiss_reason,
    still_right,
    wrapped,
)
from index.errors import WorkspaceError
from index.faissing import faiss_module, one_thread, without_reverse_map
from index.files import atomic_path, file_sha256
from index.parts import list_parts
from index.progress import Advance, Progress, Silent
from index.recall import graph_of, measure
from index.training import trained
from index.vectors import live_count, live_vectors

METRIC = "cosine"
# Below, the whole file is hashed at every opening: a fraction of a second.
HASHED_UP_TO = 64 << 20
_REBUILT = "`kdcurate verify -w {}` rebuilds it from the stored vectors"
_GOES_ON = (
    "no build has ended since the last vectors came: run the same `kdcurate build-index` with "
    "-w {} again, which goes on"
)


@dataclass(frozen=True)
class IndexFacts:
    """An index as the catalog describes it: one row of the table `indexes`."""

    embedder: str
    factory: str
    vectors: int
    width: int
    parts: int
    sha256: str
    bytes: int
    mtime_ns: int
    asked: str
    memory_budget: int
    seed: int
    reason: str
    recall_at_10: float | None
    query_ms: float | None
    memory_mb: float
    recall_asked: float

    @property
    def settings(self) -> IndexSettings:
        """What was asked for when it was built."""
        return IndexSettings(self.asked, self.memory_budget, self.seed, self.recall_asked)


def update_index(
    catalog: Catalog,
    embedder: str,
    dim: int,
    progress: Progress | None = None,
    settings: IndexSettings | None = None,
    *,
    afresh: bool = False,
) -> IndexFacts:
    """Add what the index lacks, or build it anew where it is missing, damaged, or outgrown.

    Without `settings`, those of the last build hold. The file is replaced only when it is whole;
    the parts remain the truth, so a damaged index costs time and never data. The same parts and
    seed give the same file, on any number of threads as far as FAISS's k-means does: graphs
    (HNSW) are built by one thread, which takes as many times longer as there are cores. An index of
    an earlier version, in another wrapper, is written again in today's, and nothing trained anew.

    Raises:
        UsageError: nothing fits the budget, or too few vectors to train what was asked for.
        WorkspaceError: a part that is needed is missing or damaged.
    """
    progress = progress or Silent()
    path = index_path(catalog.workspace, embedder)
    with catalog.read() as connection:
        parts = [part.part for part in list_parts(connection, f"vectors/{embedder}")]
    recorded = index_facts(catalog, embedder)
    settings = settings or (recorded.settings if recorded else IndexSettings())
    choice = choose_index(live_count(catalog, embedder), dim, settings)
    if (
        recorded
        and not afresh
        and _is_right(recorded, choice, settings)
        and _is_whole(path, recorded)
        and live_count(catalog, embedder, before_part=recorded.parts) == recorded.vectors
    ):
        first, factory = recorded.parts, wrapped(recorded.factory)
        if factory != recorded.factory:
            progress.say(
                f"the index is written again as {factory}: as {recorded.factory}, by an earlier "
                "version, it takes several times the memory for ids when opened"
            )
        elif first == len(parts) and recorded.settings == settings:
            return recorded
        index = without_reverse_map(faiss_module().read_index(str(path)))
    else:
        index, first, factory = (
            trained(catalog, embedder, dim, choice, settings.seed, progress),
            0,
            choice.factory,
        )
    with progress.step("Indexing", len(parts) - first, "parts") as advance:
        _add(catalog, embedder, index, first, advance)
    measured = measure(catalog, embedder, index, settings.seed, settings.recall, progress)
    if measured.recall is not None and measured.recall < settings.recall:
        progress.say(
            f"the index finds {measured.recall:.3f} of the ten nearest, not {settings.recall:g}: "
            "give it more --memory-budget, or ask for a lower --recall"
        )
    reason = "; ".join(filter(None, (choice.reason, measured.effort)))
    return _publish(
        catalog,
        index,
        embedder=embedder,
        factory=factory,
        parts=len(parts),
        asked=settings.index,
        memory_budget=settings.memory_budget,
        seed=settings.seed,
        recall_asked=settings.recall,
        reason=reason,
        recall_at_10=measured.recall,
        query_ms=measured.query_ms,
    )


def open_index(catalog: Catalog, embedder: str, *, hashed: bool = False) -> Any:
    """Open the index to search, memory-mapped, after checking it against the catalog.

    Files up to 64 MB are hashed at every opening (SHA-256 reads 0.4 to 2 GB a second); of larger
    ones size and time of change must be those recorded, else they are hashed too. `verify` hashes
    everything, as does `hashed`. What is mapped is read as it is searched and shared between
    processes; the ids, 8 bytes a vector, are read into memory. FAISS before 1.11 maps only the
    lists of IVF.

    Raises:
        WorkspaceError: it is missing, damaged, or unreadable; says which command mends.
    """
    path = index_path(catalog.workspace, embedder)
    recorded = index_facts(catalog, embedder)
    if recorded is None or not path.is_file():
        raise _unusable(catalog, embedder, f"no FAISS index at {path}")
    if not _is_whole(path, recorded, hashed=hashed):
        raise _unusable(catalog, embedder, f"{path} is not the file that the catalog recorded")
    if live_count(catalog, embedder) != recorded.vectors:
        raise _unusable(catalog, embedder, f"{path} is older than the vectors")
    faiss = faiss_module()
    flags = getattr(faiss, "IO_FLAG_MMAP_IFC", faiss.IO_FLAG_MMAP)
    try:
        return faiss.read_index(str(path), flags)
    except RuntimeError as error:
        problem = f"FAISS cannot read {path} ({faiss_reason(error)})"
        raise _unusable(catalog, embedder, problem) from error


def _unusable(catalog: Catalog, embedder: str, problem: str) -> WorkspaceError:
    return WorkspaceError(f"{problem}: {index_remedy(catalog, embedder)}")


def has_ended(catalog: Catalog, embedder: str) -> bool:
    """Tell whether the last build with an embedder has ended: the index is what it makes last."""
    facts = index_facts(catalog, embedder)
    with catalog.read() as connection:
        parts = list_parts(connection, f"vectors/{embedder}")
    return facts is not None and facts.parts == len(parts)


def index_remedy(catalog: Catalog, embedder: str) -> str:
    """Return what mends an embedder's index: a build that goes on, or verify after one's end."""
    remedy = _REBUILT if has_ended(catalog, embedder) else _GOES_ON
    return remedy.format(catalog.workspace)


def index_path(workspace: Path, embedder: str) -> Path:
    """Return where the index of an embedder lies."""
    return workspace / "vectors" / embedder / "index.faiss"


def index_facts(catalog: Catalog, embedder: str) -> IndexFacts | None:
    """Return what the catalog says of an embedder's index, or None."""
    names = ", ".join(IndexFacts.__annotations__)
    with catalog.read() as connection:
        row = one(connection, f"SELECT {names} FROM indexes WHERE embedder = ?", [embedder])
    return IndexFacts(*row) if row else None


def choose_index(count: int, dim: int, settings: IndexSettings) -> Choice:
    """Return the index that the settings mean for `count` vectors of `dim` components.

    Raises:
        UsageError: FAISS knows no such index, or none fits the memory budget.
    """
    if settings.index == AUTO:
        return choose(count, dim, settings.memory_budget)
    return Choice(asked_factory(settings.index, dim), f"asked for: --index {settings.index}")


def _is_right(recorded: IndexFacts, choice: Choice, settings: IndexSettings) -> bool:
    if recorded.seed != settings.seed:
        return False
    if settings.index != AUTO:
        return wrapped(recorded.factory) == choice.factory
    return still_right(wrapped(recorded.factory), choice)


def _is_whole(path: Path, recorded: IndexFacts, *, hashed: bool = True) -> bool:
    if not path.is_file():
        return False
    found = path.stat()
    if found.st_size != recorded.bytes:
        return False
    unchanged = found.st_mtime_ns == recorded.mtime_ns and found.st_size > HASHED_UP_TO
    return (unchanged and not hashed) or file_sha256(path) == recorded.sha256


def _add(catalog: Catalog, embedder: str, index: Any, first: int, advance: Advance) -> None:
    with one_thread() if graph_of(index) is not None else nullcontext():
        for ids, vectors in live_vectors(catalog, embedder, first):
            index.add_with_ids(vectors, ids)
            advance(1)


def _publish(catalog: Catalog, index: Any, **facts: Any) -> IndexFacts:
    path = index_path(catalog.workspace, facts["embedder"])
    with atomic_path(path) as temporary:
        # Through Python's file: FAISS's own drops an error of its last flush.
        with temporary.open("wb") as file:
            faiss = faiss_module()
            faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))
        written = temporary.stat()
        published = IndexFacts(
            vectors=index.ntotal,
            width=index.d,
            sha256=file_sha256(temporary),
            bytes=written.st_size,
            mtime_ns=written.st_mtime_ns,
            memory_mb=round(written.st_size / 1e6, 3),
            **facts,
        )
        _record(catalog, published)
        # Before the index itself: killed in between, the index does not fit and both are remade.
        with atomic_path(path.with_name("index.json")) as described:
            text = json.dumps({**asdict(published), "metric": METRIC}, indent=2)
            described.write_text(text + "\n")
    return published


def _record(catalog: Catalog, facts: IndexFacts) -> None:
    row = asdict(facts)
    names, places = ", ".join(row), ", ".join("?" * len(row))
    with catalog.write() as connection:
        connection.execute("DELETE FROM indexes WHERE embedder = ?", [facts.embedder])
        connection.execute(f"INSERT INTO indexes ({names}) VALUES ({places})", list(row.values()))
