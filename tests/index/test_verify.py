"""verify names every damaged or stale file, and rebuilds the indexes from the stored vectors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from index.catalog import Catalog
from index.choice import IndexSettings
from index.errors import WorkspaceError
from index.files import file_sha256, locked
from index.neighbours import index_facts, index_path, open_index, update_index
from index.verify import findings, verify

from . import test_neighbours
from .test_neighbours import DIM, assert_whole, flip, sample, store, truncate

catalog = test_neighbours.catalog


def record_anew(catalog: Catalog) -> None:
    """Make the catalog believe in the index file as it is."""
    path = index_path(catalog.workspace, "e")
    with catalog.write() as connection:
        facts = [file_sha256(path), path.stat().st_size]
        connection.execute("UPDATE indexes SET sha256 = ?, bytes = ?", facts)


def other_ids(catalog: Catalog) -> None:
    """As many vectors as before, but one of another image."""
    fewer(catalog)
    store(catalog, *sample(3, 1))


def fewer(catalog: Catalog) -> None:
    with catalog.write() as connection:
        connection.execute('DELETE FROM vectors WHERE part = 0 AND "row" = 0')


def unrecorded(catalog: Catalog) -> None:
    with catalog.write() as connection:
        connection.execute("DELETE FROM indexes")


def on_file(damage: Callable[[Path], None]) -> Callable[[Catalog], None]:
    return lambda catalog: damage(index_path(catalog.workspace, "e"))


def test_a_whole_workspace_has_no_findings(catalog: Catalog) -> None:
    before = index_path(catalog.workspace, "e").stat().st_mtime_ns
    assert verify(catalog) == []
    assert index_path(catalog.workspace, "e").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("damage", "said", "ended"),
    [
        (on_file(Path.unlink), "is missing", True),
        (on_file(flip), "is not the file that the catalog recorded", True),
        (on_file(truncate), "is not the file that the catalog recorded", True),
        (unrecorded, "is missing", False),
        (lambda catalog: store(catalog, *sample(3, 50)), "holds 150 vectors, the catalog 2", False),
        (fewer, "holds 150 vectors, the catalog 149", True),
        (other_ids, "its ids are not those that have a vector", False),
    ],
)
def test_a_damaged_or_stale_index_is_named_and_rebuilt(
    catalog: Catalog, damage: Callable[[Catalog], None], said: str, ended: bool
) -> None:
    damage(catalog)
    path = str(index_path(catalog.workspace, "e"))
    (found,) = findings(catalog)
    assert (found.path, found.repaired) == (path, False)
    goes_on = "run the same `kdcurate build-index` with -w"
    remedy = "`kdcurate verify -w" if ended else goes_on
    assert said in found.problem and f"{remedy} {catalog.workspace}" in found.remedy
    assert verify(catalog, repair=False) == [found]
    (mended,) = verify(catalog)
    assert mended.repaired and str(mended).startswith(f"repaired: {path} ")
    assert "rebuilt as IDMap,Flat from " in mended.remedy
    assert ("a build had not ended: the same `kdcurate build-index`" in mended.remedy) != ended
    assert verify(catalog) == []


def test_a_rebuilt_index_finds_the_same(catalog: Catalog) -> None:
    flip(index_path(catalog.workspace, "e"))
    verify(catalog)
    assert_whole(catalog)


def test_a_rebuild_goes_by_what_was_asked_for(catalog: Catalog) -> None:
    asked = IndexSettings("HNSW8", 10**9, 4)
    before = update_index(catalog, "e", DIM, settings=asked)
    index_path(catalog.workspace, "e").unlink()
    (mended,) = verify(catalog)
    assert "IDMap,HNSW8" in mended.remedy
    facts = index_facts(catalog, "e")
    assert facts is not None and (facts.settings, facts.sha256) == (asked, before.sha256)


def test_a_damaged_part_is_named_and_stays(catalog: Catalog) -> None:
    part = catalog.workspace / "vectors/e/part-00001.npz"
    flip(part)
    (found,) = verify(catalog)
    assert (found.path, found.problem, found.repaired) == (
        str(part),
        "is missing or damaged",
        False,
    )
    assert "restore it from a copy" in found.remedy


def test_an_index_whose_part_is_gone_cannot_be_rebuilt(catalog: Catalog) -> None:
    (catalog.workspace / "vectors/e/part-00001.npz").unlink()
    index_path(catalog.workspace, "e").unlink()
    part, index = verify(catalog)
    assert (part.repaired, index.repaired) == (False, False)
    assert "cannot be rebuilt, for " in index.remedy and "part-00001.npz" in index.remedy


def test_only_a_changed_large_file_is_hashed_when_opened(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    from index import neighbours

    hashed: list[Path] = []

    def watched(path: Path) -> str:
        hashed.append(path)
        return file_sha256(path)

    monkeypatch.setattr(neighbours, "file_sha256", watched)
    open_index(catalog, "e")
    assert len(hashed) == 1
    monkeypatch.setattr(neighbours, "HASHED_UP_TO", 100)
    open_index(catalog, "e")
    assert len(hashed) == 1
    open_index(catalog, "e", hashed=True)
    assert len(hashed) == 2
    index_path(catalog.workspace, "e").touch()  # as in a copy of the workspace
    open_index(catalog, "e")
    assert len(hashed) == 3


def test_damage_in_place_that_keeps_size_and_time_is_found_by_verify(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    from index import neighbours

    path = index_path(catalog.workspace, "e")
    times = path.stat()
    flip(path)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    monkeypatch.setattr(neighbours, "HASHED_UP_TO", 100)
    (mended,) = verify(catalog)
    assert mended.repaired


def test_an_unreadable_index_is_one_line(catalog: Catalog) -> None:
    index_path(catalog.workspace, "e").write_bytes(b"not FAISS")
    record_anew(catalog)
    with pytest.raises(WorkspaceError, match="FAISS cannot read .*kdcurate verify"):
        open_index(catalog, "e")
    (mended,) = verify(catalog)
    assert mended.repaired


def test_a_repair_waits_for_no_build(catalog: Catalog) -> None:
    index_path(catalog.workspace, "e").unlink()
    with (
        locked(catalog.workspace / ".build.lock", "busy"),
        pytest.raises(WorkspaceError, match="another build-index works in"),
    ):
        verify(catalog)


def test_without_a_catalog_there_is_nothing_to_verify(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="no catalog at"):
        verify(Catalog(tmp_path / "no"))


def test_mapped_searches_find_what_loaded_ones_find(catalog: Catalog) -> None:
    from index.faissing import faiss_module

    queries = np.random.default_rng(0).normal(size=(20, DIM)).astype(np.float32)
    for factory in ("Flat", "HNSW8", "IVF3,SQ8", "SQ8"):
        update_index(catalog, "e", DIM, settings=IndexSettings(factory))
        loaded = faiss_module().read_index(str(index_path(catalog.workspace, "e")))
        mapped = open_index(catalog, "e")
        np.testing.assert_array_equal(mapped.search(queries, 5)[1], loaded.search(queries, 5)[1])
