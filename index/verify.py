"""Whether a workspace's files and indexes are whole; the repair of what can be repaired."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from index.build import building
from index.catalog import Catalog
from index.errors import KdcurateError
from index.faissing import faiss_module
from index.files import file_sha256
from index.neighbours import (
    has_ended,
    index_facts,
    index_path,
    index_remedy,
    open_index,
    update_index,
)
from index.parts import all_parts, damaged_parts, list_parts
from index.pixelcache import REMEDY as CACHE_REMEDY
from index.pixelcache import cached_folders, is_whole
from index.progress import Progress, Silent

PART_REMEDY = "restore it from a copy, or start a new workspace"
REFERENCE_REMEDY = "select with the same --reference again makes it again from the images"


@dataclass(frozen=True)
class Finding:
    """Something wrong with a file, its remedy, and whether it was repaired; `embedder`'s index."""

    path: str
    problem: str
    remedy: str
    embedder: str | None = None
    repaired: bool = False

    def __str__(self) -> str:
        """Say it in one line."""
        mended = "repaired: " if self.repaired else ""
        return f"{mended}{self.path} {self.problem}: {self.remedy}"


def findings(catalog: Catalog, progress: Progress | None = None) -> Iterator[Finding]:
    """Yield what is wrong with part files, references and indexes; reads all, changes nothing.

    A part, a reference set and cached pixels must have the recorded SHA-256. An index must have
    it too, cover every part, and hold exactly the ids that have a vector: each once.

    Raises:
        WorkspaceError: there is no catalog, or it cannot be read.
    """
    with catalog.read() as connection:
        parts = all_parts(connection)
        rows = connection.execute("SELECT DISTINCT embedder FROM vectors ORDER BY 1").fetchall()
        references = connection.execute(
            "SELECT file, sha256 FROM reference_sets ORDER BY 1"
        ).fetchall()
    embedders = [row[0] for row in rows]
    cached = cached_folders(catalog.workspace)
    count = len(parts) + len(references) + len(embedders) + len(cached)
    with (progress or Silent()).step("Verifying", count, "files") as advance:
        for file, sha256 in references:
            path = catalog.workspace / file
            if not path.is_file() or file_sha256(path) != sha256:
                yield Finding(str(path), "is missing or damaged", REFERENCE_REMEDY)
            advance(1)
        for folder in cached:
            if not is_whole(folder):
                yield Finding(str(folder / "pixels.u8"), "is missing or damaged", CACHE_REMEDY)
            advance(1)
        for part in parts:
            for path in damaged_parts(catalog.workspace, [part]):
                yield Finding(str(path), "is missing or damaged", PART_REMEDY)
            advance(1)
        for embedder in embedders:
            problem = index_problem(catalog, embedder)
            if problem:
                path = index_path(catalog.workspace, embedder)
                yield Finding(str(path), problem, index_remedy(catalog, embedder), embedder)
            advance(1)


def index_problem(catalog: Catalog, embedder: str) -> str | None:
    """Return what is wrong with an embedder's index, or None; hashes the whole file."""
    facts, path = index_facts(catalog, embedder), index_path(catalog.workspace, embedder)
    if facts is None or not path.is_file():
        return "is missing"
    with catalog.read() as connection:
        live = connection.execute(
            "SELECT image_id FROM vectors WHERE embedder = ? ORDER BY 1", [embedder]
        ).fetchnumpy()["image_id"]
    if facts.vectors != len(live):
        return f"is stale: it holds {facts.vectors:,} vectors, the catalog {len(live):,}"
    try:
        index = open_index(catalog, embedder, hashed=True)
    except KdcurateError:
        return "is not the file that the catalog recorded"
    ids = np.sort(faiss_module().vector_to_array(index.id_map))
    if not np.array_equal(ids, np.asarray(live, dtype=np.int64)):
        return "is stale: its ids are not those that have a vector"
    return None


def verify(
    catalog: Catalog, *, repair: bool = True, progress: Progress | None = None
) -> list[Finding]:
    """Find what is wrong and rebuild the indexes that are; the settings of their last build hold.

    A part file cannot be made again without its images: it stays a finding.

    Raises:
        WorkspaceError: there is no readable catalog, or a build runs here.
    """
    found = list(findings(catalog, progress))
    if not repair or not found:
        return found
    with building(catalog.workspace):
        return [_repaired(catalog, finding, progress) for finding in found]


def _repaired(catalog: Catalog, finding: Finding, progress: Progress | None) -> Finding:
    if finding.embedder is None:
        return finding
    with catalog.read() as connection:
        parts = list_parts(connection, f"vectors/{finding.embedder}")
    ended = has_ended(catalog, finding.embedder)
    try:
        facts = update_index(catalog, finding.embedder, parts[0].width, progress, afresh=True)
    except KdcurateError as error:
        return replace(finding, remedy=f"cannot be rebuilt, for {error}")
    done = f"rebuilt as {facts.factory} from {facts.vectors:,} stored vectors"
    if not ended:
        done += "; a build had not ended: the same `kdcurate build-index` again goes on"
    return replace(finding, remedy=done, repaired=True)
