"""The measured recall is that of brute force, the effort is set, and the choice is followed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from index import choice, neighbours
from index.catalog import Catalog
from index.choice import IndexSettings
from index.errors import UsageError
from index.faissing import faiss_module
from index.neighbours import index_facts, index_path, open_index, update_index
from index.progress import Silent
from index.recall import QUERIES, _cheapest, measure
from index.vectors import live_vectors, sample_vectors, vectors_of

from .test_neighbours import store

DIM = 16


def clustered(
    seed: int, count: int, spread: float = 0.4
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(40, DIM))
    vectors = centres[rng.integers(40, size=count)] + rng.normal(scale=spread, size=(count, DIM))
    return rng.choice(2**62, count, replace=False).astype(np.int64), vectors


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    catalog = Catalog(tmp_path)
    for seed in range(3):
        store(catalog, *clustered(seed, 800))
    return catalog


def brute_recall(catalog: Catalog, index: object, seed: int) -> float:
    """In float64, each query's own id left out."""
    ids, vectors = map(np.concatenate, zip(*live_vectors(catalog, "e"), strict=True))
    chosen, queries = sample_vectors(catalog, "e", QUERIES, seed)
    found = index.search(queries, 11)[1]  # type: ignore[attr-defined]
    cosines = queries.astype(np.float64) @ vectors.astype(np.float64).T
    hits = 0
    for row, own in enumerate(chosen):
        cosines[row, ids == own] = -9
        best = set(ids[np.argsort(-cosines[row])[:10]].tolist())
        near = [key for key in found[row].tolist() if key != own][:10]
        hits += len(best & set(near))
    return hits / (10 * len(chosen))


@pytest.mark.parametrize("factory", ["Flat", "HNSW8", "IVF32,SQ8", "IVF16,Flat", "SQ4"])
def test_recall_is_that_of_brute_force(catalog: Catalog, factory: str) -> None:
    facts = update_index(catalog, "e", DIM, settings=IndexSettings(factory, seed=3))
    assert facts.factory == f"IDMap,{factory}"
    assert facts.recall_at_10 is not None and facts.query_ms is not None
    recall = brute_recall(catalog, open_index(catalog, "e"), 3)
    assert facts.recall_at_10 == pytest.approx(recall, abs=0.002)
    assert facts.recall_at_10 > (0.5 if factory == "SQ4" else 0.94)
    assert 0 < facts.query_ms < 1000
    assert index_facts(catalog, "e") == facts


def test_the_effort_is_raised_as_far_as_needed_and_kept_in_the_file(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path)
    store(catalog, *clustered(0, 2000, spread=3))
    facts = update_index(catalog, "e", DIM, settings=IndexSettings("IVF32,Flat"))
    index = open_index(catalog, "e")
    ivf = faiss_module().extract_index_ivf(index)
    assert facts.reason.endswith(f"nprobe = {ivf.nprobe}")
    assert 1 < ivf.nprobe < 32
    assert brute_recall(catalog, index, 0) >= 0.945
    ivf.nprobe //= 2
    assert brute_recall(catalog, index, 0) < 0.955


def test_a_higher_recall_searches_further_without_a_new_index(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path)
    store(catalog, *clustered(0, 2000, spread=3))
    usual = update_index(catalog, "e", DIM, settings=IndexSettings("IVF32,Flat"))
    first = faiss_module().extract_index_ivf(open_index(catalog, "e")).nprobe
    facts = update_index(catalog, "e", DIM, settings=IndexSettings("IVF32,Flat", recall=0.999))
    index = open_index(catalog, "e")
    assert faiss_module().extract_index_ivf(index).nprobe > first
    assert facts.recall_at_10 is not None and usual.recall_at_10 is not None
    assert facts.recall_at_10 >= 0.9989 > usual.recall_at_10
    assert brute_recall(catalog, index, 0) >= 0.9979
    assert update_index(catalog, "e", DIM).settings == IndexSettings("IVF32,Flat", recall=0.999)


def test_the_least_effort_that_reaches_the_goal_is_taken_or_else_what_is_near_the_best() -> None:
    assert _cheapest([0.90, 0.947, 0.951, 0.99], 0.95) == 2
    assert _cheapest([0.70, 0.895, 0.90], 0.95) == 1
    assert _cheapest([0.70, 0.894, 0.90], 0.95) == 2


def test_a_recall_that_is_out_of_reach_is_told(tmp_path: Path) -> None:
    catalog, said = Catalog(tmp_path), list[str]()
    store(catalog, *clustered(0, 2000, spread=3))
    progress = Silent()
    progress.say = said.append  # type: ignore[method-assign]
    update_index(catalog, "e", DIM, progress, IndexSettings("SQ4", recall=0.999))
    assert len(said) == 1 and "of the ten nearest, not 0.999" in said[0]


@pytest.mark.parametrize("recall", [0.0, -0.1, 1.5, float("nan")])
def test_a_recall_is_a_share(recall: float) -> None:
    with pytest.raises(UsageError, match="--recall is .*: it is a share"):
        IndexSettings(recall=recall).check()


def test_copies_count_as_each_others_neighbours(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path)
    store(catalog, np.arange(300), np.tile(np.arange(1, DIM + 1), (300, 1)).astype(np.float64))
    assert update_index(catalog, "e", DIM).recall_at_10 == 1.0


@pytest.mark.parametrize(("count", "recall"), [(0, None), (1, None), (2, 1.0), (7, 1.0)])
def test_few_vectors_have_few_neighbours(tmp_path: Path, count: int, recall: float | None) -> None:
    catalog = Catalog(tmp_path)
    with catalog.write():
        pass
    if count:
        store(catalog, *clustered(0, count))
    facts = update_index(catalog, "e", DIM)
    assert (facts.vectors, facts.recall_at_10) == (count, recall)
    assert (facts.query_ms is None) == (recall is None)


def test_a_sample_depends_on_ids_and_seed_alone(catalog: Catalog, tmp_path: Path) -> None:
    ids, vectors = sample_vectors(catalog, "e", 100, 5)
    assert len(set(ids.tolist())) == 100
    np.testing.assert_allclose(vectors, vectors_of(catalog, "e", ids))
    other = Catalog(tmp_path / "other")
    parts = [clustered(seed, 800) for seed in range(3)]
    everything = [np.concatenate(arrays)[::-1] for arrays in zip(*parts, strict=True)]
    store(other, *(array[:1000] for array in everything))  # type: ignore[arg-type]
    store(other, *(array[1000:] for array in everything))  # type: ignore[arg-type]
    again, same = sample_vectors(other, "e", 100, 5)
    np.testing.assert_array_equal(again, ids)
    np.testing.assert_array_equal(same, vectors)
    assert set(sample_vectors(catalog, "e", 100, 6)[0].tolist()) != set(ids.tolist())
    assert len(sample_vectors(catalog, "e", 10**6, 5)[0]) == 2400


def test_an_index_grows_until_another_kind_is_right(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[str] = []
    original = neighbours.trained

    def watched(*arguments: object) -> object:
        built.append(arguments[3].factory)  # type: ignore[attr-defined]
        return original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(neighbours, "trained", watched)
    flat = choice.flat_bytes(3200, DIM)
    settings = IndexSettings(memory_budget=flat)
    update_index(catalog, "e", DIM, settings=settings)
    store(catalog, *clustered(3, 800))
    assert update_index(catalog, "e", DIM).vectors == 3200
    assert built == ["IDMap,Flat"]
    store(catalog, *clustered(4, 100))
    facts = update_index(catalog, "e", DIM)  # the budget of the last build still holds
    assert built[1:] == ["IDMap,IVF64,SQ8"]
    assert (facts.vectors, facts.factory) == (3300, "IDMap,IVF64,SQ8")
    assert facts.memory_mb * 1e6 <= flat
    assert "full vectors would take" in facts.reason
    store(catalog, *clustered(5, 100))
    assert update_index(catalog, "e", DIM).vectors == 3400
    assert len(built) == 2
    update_index(catalog, "e", DIM, settings=IndexSettings("HNSW8"))
    assert built[2:] == ["IDMap,HNSW8"]
    assert update_index(catalog, "e", DIM).factory == "IDMap,HNSW8"
    assert len(built) == 3


@pytest.mark.parametrize("factory", ["HNSW8", "IVF16,SQ8"])
def test_the_same_vectors_and_seed_give_the_same_file_on_any_number_of_threads(
    catalog: Catalog, factory: str
) -> None:
    faiss, files = faiss_module(), []
    before = faiss.omp_get_max_threads()
    for threads in (1, 3):
        faiss.omp_set_num_threads(threads)
        try:
            settings = IndexSettings(factory)
            update_index(catalog, "e", DIM, settings=settings, afresh=True)
        finally:
            faiss.omp_set_num_threads(before)
        files.append(index_path(catalog.workspace, "e").read_bytes())
    assert files[0] == files[1]


def test_too_few_vectors_to_train_are_one_line_and_leave_the_index(catalog: Catalog) -> None:
    update_index(catalog, "e", DIM)
    before = index_path(catalog.workspace, "e").read_bytes()
    with pytest.raises(UsageError, match=r"cannot train IDMap,IVF4096,SQ8 on 2,400 vectors .*"):
        update_index(catalog, "e", DIM, settings=IndexSettings("IVF4096,SQ8"))
    assert index_path(catalog.workspace, "e").read_bytes() == before
    assert index_facts(catalog, "e") == update_index(catalog, "e", DIM)


def test_a_budget_too_small_says_what_would_do(catalog: Catalog) -> None:
    with pytest.raises(UsageError, match=r"fits into 20 KB.*--memory-budget \d+(\.\d)?KB") as told:
        update_index(catalog, "e", DIM, settings=IndexSettings(memory_budget=20_000))
    needed = choice.parse_size(str(told.value).rpartition(" ")[2])
    facts = update_index(catalog, "e", DIM, settings=IndexSettings(memory_budget=needed))
    assert facts.memory_mb * 1e6 <= needed


def test_an_index_that_finds_nothing_right_has_no_recall(catalog: Catalog) -> None:
    faiss = faiss_module()
    index = faiss.index_factory(DIM, "IDMap,Flat", faiss.METRIC_INNER_PRODUCT)
    ids, vectors = map(np.concatenate, zip(*live_vectors(catalog, "e"), strict=True))
    index.add_with_ids(vectors, np.roll(ids, 1))  # every vector under another's id
    measured = measure(catalog, "e", index, 0, 0.95)
    assert measured.recall is not None and measured.recall < 0.1


def test_a_product_quantiser_is_trained_by_one_thread_and_repeats(tmp_path: Path) -> None:
    catalog, files = Catalog(tmp_path), []
    store(catalog, *clustered(0, 300))
    for _ in range(2):
        settings = IndexSettings("OPQ2_16,IVF4,PQ2")
        facts = update_index(catalog, "e", DIM, settings=settings, afresh=True)
        files.append(index_path(catalog.workspace, "e").read_bytes())
    assert files[0] == files[1]
    assert facts.recall_at_10 is not None and 0.3 < facts.recall_at_10 < 1
