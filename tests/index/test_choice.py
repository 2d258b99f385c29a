"""Which index is chosen, that its size is foretold, and what is refused in one line."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from index import choice
from index.choice import (
    IndexSettings,
    asked_factory,
    choose,
    flat_bytes,
    hnsw_bytes,
    list_count,
    parse_size,
    pq_bytes,
    sq8_bytes,
    still_right,
    training_count,
)
from index.errors import UsageError
from index.faissing import faiss_module

COUNT, DIM = 4000, 20


@pytest.mark.parametrize(
    ("factory", "count", "expected"),
    [
        ("Flat", COUNT, flat_bytes(COUNT, DIM)),
        ("HNSW32", COUNT, hnsw_bytes(COUNT, DIM)),
        ("HNSW8", COUNT, hnsw_bytes(COUNT, DIM, 8)),
        ("IVF64,SQ8", COUNT, sq8_bytes(COUNT, DIM, 64)),
        ("OPQ3_18,IVF8,PQ3", 300, pq_bytes(300, DIM, 8, 3)),
    ],
)
def test_the_formulas_give_the_size_of_faiss_files(
    tmp_path: Path, factory: str, count: int, expected: int
) -> None:
    faiss = faiss_module()
    vectors = np.random.default_rng(0).normal(size=(count, DIM)).astype(np.float32)
    index = faiss.index_factory(DIM, f"IDMap,{factory}", faiss.METRIC_INNER_PRODUCT)
    if factory.startswith("OPQ"):
        chain = faiss.downcast_index(index.index).chain
        faiss.downcast_VectorTransform(chain.at(0)).niter = 1
    index.train(vectors)
    index.add_with_ids(vectors, np.arange(count))
    faiss.write_index(index, str(tmp_path / "x"))
    size = (tmp_path / "x").stat().st_size
    assert size - 0.003 * size <= expected <= size + 1024 + 0.003 * size


@pytest.mark.parametrize(
    ("count", "budget", "factory", "said"),
    [
        (0, "4GB", "Flat", "exact search"),
        (200_000, "4GB", "Flat", "exact search; takes 411 MB of the 4 GB that it may"),
        (200_001, "4GB", "HNSW32", "200,001 vectors are past 200,000, where exact search gets"),
        (1_000_000, "2GB", "IVF4096,SQ8", "a graph would take 2.33 GB, more than the 2 GB"),
        (1_000_000, "200MB", "OPQ128_512,IVF4096,PQ128", "128 bytes a vector take 154 MB"),
        (1_000_000, "100MB", "OPQ64_512,IVF4096,PQ64", "64 bytes a vector take 90 MB"),
        (100_000, "100MB", "IVF1024,SQ8", "full vectors would take 206 MB, more than the 100 MB"),
        (5_000, "5MB", "IVF128,SQ8", "one byte a component"),
    ],
)
def test_the_choice_and_its_reason(count: int, budget: str, factory: str, said: str) -> None:
    chosen = choose(count, 512, parse_size(budget))
    assert chosen.factory == f"IDMap,{factory}"
    assert said in chosen.reason
    assert chosen.bytes is not None and chosen.bytes <= parse_size(budget)


def test_the_budget_is_kept_or_refused_for_any_number_and_dimension() -> None:
    rng = np.random.default_rng(0)
    for count, dim, budget in np.exp(rng.uniform([0, 0.7, 8], [20, 8, 25], (2000, 3))).astype(int):
        try:
            chosen = choose(int(count), int(dim), int(budget))
        except UsageError as error:
            remedy = re.search(r"--memory-budget (\S+)$", str(error))
            assert remedy is not None
            chosen = choose(int(count), int(dim), parse_size(remedy[1]))
            continue
        assert chosen.bytes is not None and chosen.bytes <= budget


def test_the_lists_can_be_trained_within_a_gibibyte() -> None:
    for count in (0, 1, 38, 100, 10_000, 10**6, 10**9):
        for dim in (2, 512, 4096):
            lists = list_count(count, dim)
            needed = training_count(count, dim, lists)
            assert lists & (lists - 1) == 0
            assert needed <= count and needed * dim * 4 <= choice.TRAINING_BYTES
            assert lists == 1 or needed >= 39 * lists


@pytest.mark.parametrize(
    ("factory", "count", "budget", "right"),
    [
        ("IDMap,Flat", 200_000, 4 * 10**9, True),
        ("IDMap,Flat", 200_001, 4 * 10**9, False),
        ("IDMap,Flat", 200_000, 10**8, False),
        ("IDMap,IVF4096,SQ8", 1_000_000, 2 * 10**9, True),
        ("IDMap,IVF2048,SQ8", 1_000_000, 2 * 10**9, True),
        ("IDMap,IVF512,SQ8", 1_000_000, 2 * 10**9, False),
        ("IDMap,HNSW32", 1_000_000, 2 * 10**9, False),
        ("IDMap,OPQ128_512,IVF4096,PQ128", 1_000_000, 10**8, False),
    ],
)
def test_an_index_may_grow_while_its_kind_is_right(
    factory: str, count: int, budget: int, right: bool
) -> None:
    assert still_right(factory, choose(count, 512, budget)) is right


@pytest.mark.parametrize(("asked", "kept"), [("Flat", "Flat"), ("IDMap,IDMap2, SQ8", "SQ8")])
def test_an_index_is_always_wrapped_to_keep_ids(asked: str, kept: str) -> None:
    assert asked_factory(asked.replace(" ", ""), DIM) == f"IDMap,{kept}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Flatt", "could not parse index string"),
        ("", "could not parse index string"),
        ("PQ7", "should be a multiple of the number of subquantizers"),
        ("LSH", "metric == METRIC_L2"),
        ("IVF16", "could not parse index string"),
    ],
)
def test_what_faiss_does_not_know_is_refused_in_one_line(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        asked_factory(text, DIM)
    message = str(caught.value)
    assert message.startswith(f"--index {text!r} makes no FAISS index of {DIM} components")
    assert said in message and "\n" not in message and "try auto" in message
    assert "/faiss/" not in message


@pytest.mark.parametrize(
    ("text", "size"),
    [("4GB", 4 * 10**9), ("1.5 gb", 15 * 10**8), ("2GiB", 2**31), ("512MB", 512 * 10**6)]
    + [("1000", 1000), ("1e9", 10**9), (" 3 KiB ", 3072)],
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "4 apples", "-1GB", "0", "GB", "4GBit", "0.0001KB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no size: write 4GB"):
        parse_size(text)


def test_without_a_word_the_index_is_chosen_within_four_gigabytes() -> None:
    assert IndexSettings() == IndexSettings("auto", 4_000_000_000, 0, 0.95)
