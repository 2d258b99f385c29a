"""Which index for how much memory? Size against budget, recall, speed and time to build.

    .venv/bin/python benchmarks/indexes.py --vectors 1000000 --peer ENV/bin/autofaiss

The vectors are a mixture of unequal clusters in a subspace, as embeddings of real images are, with
noise of every component on top. Budgets are chosen so that each automatic choice is made at least
once. Recall@10 is that of `index.recall`: neighbours other than the query itself, against exact
search, on 256 vectors. Queries/s are batches of 256 on all threads. autofaiss, in an environment of
its own, gets the same vectors and the same budget; its search settings are those that it chose.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.catalog import Catalog, insert
from index.choice import (
    EXACT_UP_TO,
    RECALL,
    IndexSettings,
    flat_bytes,
    hnsw_bytes,
    list_count,
    pq_bytes,
    sq8_bytes,
)
from index.faissing import faiss_module
from index.neighbours import IndexFacts, open_index, update_index
from index.parts import record_part, write_part
from index.recall import NEIGHBOURS, QUERIES, recall_at_10
from index.vectors import live_vectors, sample_vectors

ROWS_A_PART = 8192
EMBEDDER = "mixture"
FURTHER = "kdcurate --recall 0.999"


def mixture(count: int, dim: int, seed: int) -> Iterator[NDArray[np.float16]]:
    """Yield the vectors (n, dim) part by part: n/200 clusters, sizes by a power law."""
    rng = np.random.default_rng(seed)
    clusters, rank = max(1, count // 200), min(64, dim)
    basis = rng.normal(size=(rank, dim)) / np.sqrt(rank)
    centres = rng.normal(size=(clusters, rank))
    share = 1 / np.arange(1, clusters + 1) ** 0.5
    for start in range(0, count, ROWS_A_PART):
        rows = min(ROWS_A_PART, count - start)
        which = rng.choice(clusters, size=rows, p=share / share.sum())
        inner = centres[which] + 0.6 * rng.normal(size=(rows, rank))
        yield (inner @ basis + 0.1 * rng.normal(size=(rows, dim))).astype(np.float16)


def fill(catalog: Catalog, count: int, dim: int) -> None:
    """Store the vectors as a build does; ids are random, as hashes of contents are."""
    rng = np.random.default_rng(1)
    for number, vectors in enumerate(mixture(count, dim, 0)):
        ids = rng.integers(2**62, size=len(vectors), dtype=np.int64)
        part = write_part(catalog.workspace, f"vectors/{EMBEDDER}", number, ids, vectors)
        rows = {"image_id": ids, "embedder": EMBEDDER, "part": number, "row": np.arange(len(ids))}
        with catalog.write() as connection:
            record_part(connection, part)
            insert(connection, "vectors", rows)


def budgets(count: int, dim: int) -> list[int]:
    """Return a budget for each automatic choice; an exact index only where it would be chosen."""
    lists = list_count(count, dim)
    full = flat_bytes(count, dim) if count <= EXACT_UP_TO else hnsw_bytes(count, dim)
    codes = [code for code in (64, 16) if 2 * code <= dim]
    sizes = [full, sq8_bytes(count, dim, lists)]
    sizes += [pq_bytes(count, dim, lists, code) for code in codes]
    return [int(1.1 * size) for size in sizes]


def speed(catalog: Catalog, index: Any) -> float:
    """Return queries a second, in batches on all threads; the best of three."""
    _, queries = sample_vectors(catalog, EMBEDDER, QUERIES, 7)
    times = []
    for _ in range(3):
        began = time.perf_counter()
        index.search(queries, NEIGHBOURS)
        times.append(time.perf_counter() - began)
    return len(queries) / min(times)


def ours(catalog: Catalog, dim: int, settings: IndexSettings) -> Iterator[dict[str, Any]]:
    """Build an index, and search it further; the second row's seconds are those of measuring."""
    for tool, recall, afresh in (("kdcurate", RECALL, True), (FURTHER, 0.999, False)):
        asked = replace(settings, recall=recall)
        began = time.monotonic()
        facts = update_index(catalog, EMBEDDER, dim, settings=asked, afresh=afresh)
        yield described(catalog, facts, tool, time.monotonic() - began)


def described(catalog: Catalog, facts: IndexFacts, tool: str, seconds: float) -> dict[str, Any]:
    return {
        "tool": tool,
        "index": facts.factory.removeprefix("IDMap,"),
        "MB": facts.bytes / 1e6,
        "recall": facts.recall_at_10,
        "ms": facts.query_ms,
        "qps": speed(catalog, open_index(catalog, EMBEDDER)),
        "s": seconds,
    }


def write_npy(catalog: Catalog, folder: Path) -> NDArray[np.int64]:
    """Write the unit vectors where the peer reads them; return the ids in that order."""
    folder.mkdir()
    ids = []
    for number, (some, vectors) in enumerate(live_vectors(catalog, EMBEDDER)):
        np.save(folder / f"{number:05d}.npy", vectors)
        ids.append(some)
    return np.concatenate(ids)


def peer(
    program: Path,
    catalog: Catalog,
    embeddings: Path,
    ids: NDArray[np.int64],
    budget: int,
    minutes: float,
) -> dict[str, Any]:
    """Measure what autofaiss makes of the same budget; where it takes too long, say only that."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "knn.index")
        command = [program, "build_index", embeddings, f"--index_path={path}"]
        command += [f"--index_infos_path={scratch}/infos.json", "--metric_type=ip"]
        command += [f"--max_index_memory_usage={budget / 1e6:.1f}MB"]
        command += ["--current_memory_available=12GB"]
        began = time.monotonic()
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=60 * minutes)
        except subprocess.TimeoutExpired:
            return {"tool": "autofaiss", "index": "broken off", "s": time.monotonic() - began}
        seconds = time.monotonic() - began
        infos = json.loads(Path(scratch, "infos.json").read_text())
        index = faiss_module().read_index(str(path))
        size = path.stat().st_size

        def search(queries: NDArray[np.float32], count: int) -> NDArray[np.int64]:
            rows = index.search(queries, count)[1]
            return np.where(rows < 0, -1, ids[rows])

        return {
            "tool": "autofaiss",
            "index": infos["index_key"],
            "MB": size / 1e6,
            "recall": recall_at_10(catalog, EMBEDDER, search, 0),
            "ms": query_ms(catalog, index),
            "qps": speed(catalog, index),
            "s": seconds,
        }


def query_ms(catalog: Catalog, index: Any) -> float:
    """Return the median time of one query alone."""
    _, queries = sample_vectors(catalog, EMBEDDER, 32, 7)
    times = []
    for query in queries:
        began = time.perf_counter()
        index.search(query[None], NEIGHBOURS)
        times.append(time.perf_counter() - began)
    return 1000 * float(np.median(times))


def row(budget: int, found: dict[str, Any]) -> str:
    cells = [f"{budget / 1e6:.0f}", found["tool"], f"`{found['index']}`"]
    formats = {"MB": ".1f", "recall": ".3f", "ms": ".2f", "qps": ".0f", "s": ".0f"}
    cells += [format(found[name], how) if name in found else "" for name, how in formats.items()]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--peer", type=Path, help="the autofaiss program")
    parser.add_argument(
        "--peer-minutes", type=float, default=40, help="break off a build of the peer after these"
    )
    parser.add_argument("--budgets-mb", type=float, nargs="+", help="default: one for each choice")
    options = parser.parse_args()
    faiss = faiss_module()
    print(
        f"{date.today()}, FAISS {faiss.__version__}, {platform.machine()}, {os.cpu_count()} cores"
    )
    print(f"{options.vectors:,} vectors of {options.dim} components\n")
    print("| budget MB | tool | index | MB | recall@10 | ms a query | queries/s | build s |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        catalog = Catalog(Path(scratch))
        fill(catalog, options.vectors, options.dim)
        if options.peer:
            npy = Path(scratch, "npy")
            ids = write_npy(catalog, npy)
        asked = [int(1e6 * size) for size in options.budgets_mb or ()]
        for budget in asked or budgets(options.vectors, options.dim):
            for one in ours(catalog, options.dim, IndexSettings(memory_budget=budget)):
                print(row(budget, one), flush=True)
            if options.peer:
                found = peer(options.peer, catalog, npy, ids, budget, options.peer_minutes)
                print(row(budget, found), flush=True)
        if (
            not asked and options.vectors <= EXACT_UP_TO
        ):  # where no budget makes auto choose a graph
            settings = IndexSettings("HNSW32")
            for one in ours(catalog, options.dim, settings):
                print(row(settings.memory_budget, {**one, "tool": f"{one['tool']} --index HNSW32"}))


if __name__ == "__main__":
    main()
