"""The FAISS index: neighbours as by brute force, and damage that costs time but never data."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from index.catalog import Catalog, insert
from index.choice import IndexSettings
from index.errors import WorkspaceError
from index.files import file_sha256
from index.neighbours import index_facts, index_path, open_index, update_index
from index.parts import next_number, record_part, write_part
from index.recall import graph_of
from index.vectors import live_vectors, unit_norm

DIM = 6


def store(catalog: Catalog, ids: NDArray[np.int64], vectors: NDArray[np.float64]) -> None:
    """Add one part as a build does."""
    with catalog.write() as connection:
        number = next_number(connection, "vectors/e")
        part = write_part(catalog.workspace, "vectors/e", number, ids, vectors.astype(np.float16))
        record_part(connection, part)
        insert(
            connection,
            "vectors",
            {"image_id": ids, "embedder": "e", "part": number, "row": np.arange(len(ids))},
        )


def sample(seed: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    # Float16 values, so that brute force sees what is stored.
    vectors = rng.normal(size=(count, DIM)).astype(np.float16).astype(np.float64)
    return rng.choice(2**62, count, replace=False).astype(np.int64), vectors


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    catalog = Catalog(tmp_path)
    for seed in range(3):
        store(catalog, *sample(seed, 50))
    update_index(catalog, "e", DIM)
    return catalog


def everything(parts: int = 3) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    ids, vectors = zip(*(sample(seed, 50) for seed in range(parts)), strict=True)
    return np.concatenate(ids), np.concatenate(vectors)


def assert_whole(catalog: Catalog, parts: int = 3) -> None:
    ids, vectors = everything(parts)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = unit @ unit.T
    index = open_index(catalog, "e")
    assert index.ntotal == len(ids)
    found_cosines, found = index.search(unit.astype(np.float32), 5)
    best = np.argsort(-cosines, axis=1)[:, :5]
    np.testing.assert_array_equal(found, ids[best])
    np.testing.assert_allclose(found_cosines, np.take_along_axis(cosines, best, 1), atol=1e-5)


def test_a_graph_is_built_with_more_than_the_usual_effort(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path)
    store(catalog, *sample(0, 50))
    update_index(catalog, "e", DIM, settings=IndexSettings("HNSW32"))
    assert graph_of(open_index(catalog, "e")).efConstruction == 100


def test_neighbours_are_those_of_brute_force(catalog: Catalog) -> None:
    assert_whole(catalog)


def test_rows_are_scaled_to_unit_length_and_zero_stays_zero() -> None:
    found = unit_norm(np.array([[3, 4], [0, 0], [-2, 0]], np.float32))
    np.testing.assert_allclose(found, [[0.6, 0.8], [0, 0], [-1, 0]], atol=1e-7)


def test_new_parts_are_added(catalog: Catalog) -> None:
    before = file_sha256(index_path(catalog.workspace, "e"))
    assert update_index(catalog, "e", DIM).factory == "IDMap,Flat"
    assert file_sha256(index_path(catalog.workspace, "e")) == before
    store(catalog, *sample(3, 50))
    update_index(catalog, "e", DIM)
    assert_whole(catalog, parts=4)


def test_the_side_car_describes_the_index(catalog: Catalog) -> None:
    path = index_path(catalog.workspace, "e")
    facts = json.loads(path.with_name("index.json").read_text())
    recorded = index_facts(catalog, "e")
    assert recorded is not None
    assert facts == {**asdict(recorded), "metric": "cosine"}
    assert (recorded.factory, recorded.vectors, recorded.width) == ("IDMap,Flat", 150, DIM)
    assert (recorded.parts, recorded.asked, recorded.recall_at_10) == (3, "auto", 1.0)
    assert recorded.reason.startswith("exact search; takes ")
    assert recorded.memory_mb == round(path.stat().st_size / 1e6, 3)
    assert recorded.sha256 == file_sha256(path)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (truncate, "is not the file that the catalog recorded"),
        (flip, "is not the file that the catalog recorded"),
        (lambda path: path.write_bytes(b""), "is not the file that the catalog recorded"),
        (Path.unlink, "no FAISS index at"),
    ],
)
def test_a_damaged_index_is_named_and_rebuilt(
    catalog: Catalog, damage: Callable[[Path], None], said: str
) -> None:
    path = index_path(catalog.workspace, "e")
    damage(path)
    with pytest.raises(WorkspaceError, match=f"{said}.*kdcurate verify -w .* rebuilds") as caught:
        open_index(catalog, "e")
    assert str(path) in str(caught.value)
    update_index(catalog, "e", DIM)
    assert_whole(catalog)


def test_an_index_of_an_unknown_embedder_is_an_error(catalog: Catalog) -> None:
    with pytest.raises(WorkspaceError, match="no FAISS index at"):
        open_index(catalog, "other")


def test_a_missing_part_stops_the_rebuild_and_keeps_the_index(catalog: Catalog) -> None:
    store(catalog, *sample(3, 50))
    path = index_path(catalog.workspace, "e")
    before = path.read_bytes()
    (path.parent / "part-00003.npz").unlink()
    with pytest.raises(WorkspaceError, match=r"part-00003\.npz is missing"):
        update_index(catalog, "e", DIM)
    assert path.read_bytes() == before


def test_vectors_that_nothing_refers_to_are_left_out(catalog: Catalog) -> None:
    with catalog.write() as connection:
        connection.execute('DELETE FROM vectors WHERE part = 1 AND "row" >= 10')
    counts = [len(ids) for ids, _ in live_vectors(catalog, "e")]
    assert counts == [50, 10, 50]
    index_path(catalog.workspace, "e").unlink()
    update_index(catalog, "e", DIM)
    assert open_index(catalog, "e").ntotal == 110
