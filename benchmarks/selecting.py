"""What select costs on a large pool: seconds and peak memory, beside a floor and beside pandas.

    .venv/bin/python benchmarks/selecting.py --scratch DIR --images 10000000 --classes 10

A workspace is made up: image ids as of hashes, logits of a class centre and noise, classes unlike
in size, one shift estimate. Nothing is decoded and no network runs: what is measured is
`curate.selection.select`, which the command calls once the pool is scored. Each measurement is a
process of its own, imports included; peaks are Linux's VmHWM.

`floor` reads the same logits and writes the columns of the ledger to Parquet, without any rule.
`pandas` applies the same rule with everything in memory, and must select the same images. kd3 reads
labels and confidences as the scoring pass stored them; `--strategy energy --steps floor select`
shows what a strategy costs that reads the logits.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from curate.manifest import content_hash
from curate.options import SelectOptions
from curate.pool import Pool
from curate.quotas import class_quotas
from curate.scoring import ROWS_A_PART
from curate.selection import select
from index.catalog import Catalog, insert
from index.parts import half, record_part, write_part

MODEL, ESTIMATE = "synthetic-teacher", "null_space"
STEPS = ("floor", "select", "pandas")
Arrays = dict[str, NDArray[Any]]
_IMAGES = """
INSERT INTO images SELECT image_id, unhex(sha256(image_id::VARCHAR)), 24000, 'JPEG', 640, 480,
    'RGB', image_id, now() FROM part
"""


@dataclass(frozen=True)
class Case:
    """A pool, and what is selected from it."""

    workspace: Path
    classes: int
    budget: str
    balance: str
    strategy: str


def fill(case: Case, images: int) -> None:
    """Make the workspace, a part at a time; one that is whole already is kept."""
    done = case.workspace / "filled"
    if done.exists():
        return
    shutil.rmtree(case.workspace, ignore_errors=True)
    catalog = Catalog(case.workspace)
    rng = np.random.default_rng(0)
    for number, start in enumerate(range(0, images, ROWS_A_PART)):
        count = min(ROWS_A_PART, images - start)
        ids = rng.integers(2**63, size=count)
        logits = half(_logits(rng, count, case.classes))
        part = write_part(case.workspace, f"logits/{MODEL}", number, ids, logits)
        scores = {"image_id": ids, "model": MODEL, "part": number, "row": np.arange(count)}
        label, confidence = _prediction(logits)
        values = rng.standard_normal(count, np.float32)
        with catalog.write() as connection:
            record_part(connection, part)
            insert(connection, "scores", scores | {"pseudo_label": label, "confidence": confidence})
            shifts = {"image_id": ids, "model": MODEL, "estimator": ESTIMATE, "value": values}
            insert(connection, "shifts", shifts)
            connection.register("part", {"image_id": ids})
            connection.execute(_IMAGES)
    done.touch()


def _logits(rng: np.random.Generator, count: int, classes: int) -> NDArray[np.float32]:
    """Return noise, and a centre of another height in a class drawn with probability ~ 1/sqrt."""
    share = 1 / np.sqrt(np.arange(1, classes + 1))
    label = rng.choice(classes, size=count, p=share / share.sum())
    logits = rng.standard_normal((count, classes), np.float32)
    logits[np.arange(count), label] += rng.uniform(0, 6 + np.log(classes), count)
    return logits


def _prediction(logits: NDArray[np.float16]) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    label, q = _scored(logits.astype(np.float32))
    return label, q


def _scored(z: NDArray[np.float32]) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    shifted = np.exp(z - z.max(axis=1, keepdims=True))
    q = (shifted / shifted.sum(axis=1, keepdims=True)).max(axis=1)
    return z.argmax(axis=1).astype(np.int16), q


def _parts(case: Case) -> Iterator[Arrays]:
    for path in sorted((case.workspace / "logits" / MODEL).glob("part-*.npz")):
        with np.load(path) as arrays:
            yield dict(arrays)


def run_select(case: Case, name: str) -> str:
    """Select as the command does; return the manifest's hash."""
    pool = Pool(Catalog(case.workspace), MODEL, case.classes, {})
    options = SelectOptions(case.strategy, budget=case.budget, balance=case.balance)
    return select(pool, name, options).content_hash


def run_floor(case: Case, name: str) -> None:
    """Write a file a part: label and confidence, and made-up values of what a rule would decide."""
    folder = case.workspace / name
    folder.mkdir()
    with duckdb.connect() as connection:
        for number, part in enumerate(_parts(case)):
            label, score = _scored(part["rows"].astype(np.float32))
            place = np.arange(len(label))
            columns = {"image_id": part["ids"], "label": label, "score": score, "place": place}
            connection.register("part", columns)
            path = folder / f"{number:05d}.parquet"
            connection.execute(_FLOOR.format(path=path))


_FLOOR = """
COPY (SELECT image_id, place % 10 = 0 AS selected, place::INTEGER AS "rank", label AS pseudo_label,
             1.0::FLOAT AS weight, score, 0.5::FLOAT AS threshold,
             {{'teacher_confidence': score, 'null_space': score}}::MAP(VARCHAR, FLOAT)
                 AS components,
             printf('class quota full: place %d of %d', place, 1000000) AS reason FROM part)
TO '{path}' (FORMAT parquet)
"""


def run_pandas(case: Case, name: str) -> str:
    """Apply the rule to one table in memory; return the hash of what it selects."""
    import pandas as pd  # the other steps need not load it

    parts = list(_parts(case))
    z = np.concatenate([part["rows"] for part in parts]).astype(np.float32)
    label, score = _scored(z)
    ids = np.concatenate([part["ids"] for part in parts])
    pool = pd.DataFrame({"image_id": ids, "pseudo_label": label, "score": score})
    pool["teacher_confidence"] = score
    with Catalog(case.workspace).read() as connection:
        shifts = connection.execute("SELECT image_id, value AS null_space FROM shifts").df()
    pool = pool.merge(shifts, on="image_id")
    counts = pool["pseudo_label"].value_counts().reindex(range(case.classes), fill_value=0)
    share = counts / counts.max()
    threshold = (0.95 * share / (2 - share)).astype(np.float32)
    pool["threshold"] = pool["pseudo_label"].map(threshold)
    pool = pool.sort_values(["score", "image_id"], ascending=[False, True])
    passed = pool["score"] > pool["threshold"]
    available = pool["pseudo_label"][passed].value_counts().reindex(counts.index, fill_value=0)
    quotas = class_quotas(available.to_numpy(), len(pool) // 10, case.balance)
    assert quotas is not None
    place = pool[passed].groupby("pseudo_label").cumcount() + 1
    pool["place"] = place.reindex(pool.index, fill_value=0)
    pool["quota"] = quotas[pool["pseudo_label"]]
    pool["selected"] = passed & (pool["place"] <= pool["quota"])
    pool["rank"] = pool["selected"].cumsum().where(pool["selected"]).astype("Int32")
    pool["weight"] = np.float32(1)
    pool["reason"] = _reasons(pool, passed)
    ledger = pool.drop(columns=["place", "quota"]).sort_values("image_id")
    ledger.to_parquet(case.workspace / f"{name}.parquet", index=False)
    taken = pool[pool["selected"]]
    columns = ("image_id", "rank", "pseudo_label", "weight")
    return content_hash(iter([{column: taken[column].to_numpy() for column in columns}]))


def _reasons(pool: Any, passed: Any) -> NDArray[np.object_]:
    reasons = np.empty(len(pool), dtype=object)
    kinds = {
        "below class threshold %.3f <= %.3f": (~passed, "score", "threshold"),
        "selected: above class threshold %.3f > %.3f": (pool["selected"], "score", "threshold"),
        "class quota full: place %d of %d": (passed & ~pool["selected"], "place", "quota"),
    }
    for text, (rows, first, second) in kinds.items():
        pairs = zip(pool.loc[rows, first], pool.loc[rows, second], strict=True)
        reasons[rows.to_numpy()] = [text % pair for pair in pairs]
    return reasons


def step(case: Case, what: str, name: str) -> dict[str, Any]:
    """Run one step in this process and say what it found and took."""
    run = {"select": run_select, "floor": run_floor, "pandas": run_pandas}[what]
    found = run(case, name)
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {"peak_mb": peak / 1000, "cpu": used.ru_utime + used.ru_stime, "hash": found}


def measured(arguments: list[str], what: str, name: str) -> dict[str, Any]:
    """Run one step in a process of its own."""
    command = [sys.executable, *arguments, "--step", what, "--name", name]
    began = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return {"seconds": time.perf_counter() - began} | json.loads(done.stdout)


def row(case: Case, images: int, what: str, runs: list[dict[str, Any]]) -> str:
    seconds = [run["seconds"] for run in runs]
    peak = max(run["peak_mb"] for run in runs)
    spread = f"{min(seconds):.1f} to {max(seconds):.1f}"
    cpu = statistics.median(run["cpu"] for run in runs)
    cells = [f"{images:,} x {case.classes:,}", what, f"{statistics.median(seconds):.1f}", spread]
    return f"| {' | '.join([*cells, f'{cpu:.1f}', f'{peak:,.0f}'])} |"


def clear(case: Case, name: str) -> None:
    """Remove what a step left, so that each run begins alike."""
    shutil.rmtree(case.workspace / name, ignore_errors=True)
    (case.workspace / f"{name}.parquet").unlink(missing_ok=True)
    with Catalog(case.workspace).write() as connection:
        connection.execute("DELETE FROM ledger WHERE manifest = ?", [name])
        connection.execute("DELETE FROM manifests WHERE name = ?", [name])


def compare(case: Case, images: int, options: argparse.Namespace) -> None:
    """Print a row a step; all steps that decide must decide the same."""
    fill(case, images)
    arguments = [str(Path(__file__)), *("--scratch", str(options.scratch), "--images", str(images))]
    arguments += ["--classes", str(case.classes), "--balance", case.balance]
    arguments += ["--strategy", case.strategy]
    found: dict[str, list[dict[str, Any]]] = {what: [] for what in options.steps}
    for _ in range(options.runs):
        for what in options.steps:  # in turn, so that a busy minute is no one step's
            found[what].append(measured(arguments, what, f"run-{what}"))
            clear(case, f"run-{what}")
    for what, runs in found.items():
        print(row(case, images, what, runs), flush=True)
    hashes = {run["hash"] for runs in found.values() for run in runs if run["hash"]}
    if len(hashes) > 1:
        raise SystemExit(f"they select different images: {', '.join(sorted(hashes))}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--balance", default="sqrt")
    parser.add_argument("--strategy", default="kd3")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=STEPS)
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--name", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.strategy != "kd3" and "pandas" in options.steps and not options.step:
        parser.error("pandas knows the rule of kd3 only: name the other --steps")
    workspace = options.scratch / f"ws-{options.images}-{options.classes}"
    case = Case(workspace, options.classes, "10%", options.balance, options.strategy)
    if options.step:
        print(json.dumps(step(case, options.step, options.name)))
        return
    print(
        f"{date.today()}, Python {platform.python_version()}, DuckDB {duckdb.__version__}, "
        f"NumPy {np.__version__}, pandas {version('pandas')}, {platform.machine()}, "
        f"{os.cpu_count()} cores\n"
    )
    print("| images x classes | step | s | of runs | CPU s | peak MB |\n|---|---|---|---|---|---|")
    compare(case, options.images, options)


if __name__ == "__main__":
    main()
