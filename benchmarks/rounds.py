"""What do dynamic rounds cost, and what do they gain? No rounds, lazy ones, and full ones.

    .venv/bin/python benchmarks/rounds.py --data DATA --workspace WS

DATA holds webpool/*.parquet, cifar10/ and teachers/. Each seed trains a student on the same
manifest once without rounds and once with each way of asking it, one after another, for the same
steps. The time in rounds is all that passes between two steps: asking the student, deciding, and
storing the manifest. The accuracy is that after the last step, on the test
images. An interrupted benchmark goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from curate.cli.arguments import pick_device
from curate.networks import scored_pool
from curate.options import SelectOptions
from curate.rounds import prepare_rounds
from curate.selection import select
from distill.networks import load_embedder, load_network
from distill.options import TrainOptions
from distill.reselection import Reselect, RoundStart
from distill.run import RunOptions, distill
from distill.selection import Selection
from helpers.students import machine, spread
from index.build import build_index
from index.catalog import Catalog
from index.files import atomic_path
from index.progress import Silent

NONE = "none"
PARENT = "parent"


@dataclass(frozen=True)
class Bench:
    """Where everything lies, and how long students learn."""

    data: Path
    workspace: Path
    teacher: Path
    student: str
    method: str
    steps: int
    rounds: int
    budget: int
    device: str

    @property
    def catalog(self) -> Catalog:
        """The workspace's catalog."""
        return Catalog(self.workspace)

    def prepare(self) -> None:
        """Index the crawl, score it, and select what every student begins with."""
        sources = [str(path) for path in sorted(self.data.glob("webpool/*.parquet"))]
        build_index(self.workspace, sources, load_embedder(str(self.teacher)))
        pool = scored_pool(self.catalog, str(self.teacher))
        select(pool, PARENT, SelectOptions("kd3", budget=self.budget, alpha=1.0))

    def train(self, refresh: str, seed: int) -> dict[str, Any]:
        """Train a student, or read what was measured of it."""
        name = f"{self.method}-{refresh}-{self.steps}-{self.rounds}-s{seed}"
        stored = self.workspace / f"{name}.json"
        if not stored.exists():
            measured = self._train(name, refresh, seed)
            with atomic_path(stored) as temporary:
                temporary.write_text(json.dumps(measured))
        found: dict[str, Any] = json.loads(stored.read_text())
        return found

    def _train(self, name: str, refresh: str, seed: int) -> dict[str, Any]:
        rounds = 0 if refresh == NONE else self.rounds
        asked: dict[str, Any] = {"rounds": rounds, "refresh": refresh} if rounds else {}
        options = RunOptions(
            manifest=PARENT,
            teacher=str(self.teacher),
            student=self.student,
            method=self.method,
            train=TrainOptions(
                max_steps=self.steps,
                lr=0.2,
                schedule="onecycle",
                seed=seed,
                device=self.device,
                **asked,
            ),
            method_options={},
            name=name,
            evaluate_on=str(self.data / "cifar10/test_5k.parquet"),
        )
        teacher, log = load_network(str(self.teacher)), self.workspace / f"{name}.jsonl"
        make = prepare_rounds(self.catalog, options, teacher, Silent()) if rounds else None
        done = distill(
            self.catalog,
            options,
            teacher=teacher,
            make_reselect=(lambda run, ids: Timed(make(run, ids), log)) if make else None,
        )
        inside = sum(seconds_of(log).values()) if rounds else 0.0
        measured = {"accuracy": done.accuracy, "seconds": done.seconds, "rounds": inside}
        return measured | (self._heard(name) if rounds else {})

    def _heard(self, run: str) -> dict[str, Any]:
        """What a run's rounds say of themselves, and the rows that their manifests take."""
        with self.catalog.read() as connection:
            (row,) = connection.execute(
                "SELECT avg(refreshed), avg(reused), avg(mean_age), avg(entered), (SELECT count(*) "
                "FROM ledger l WHERE l.manifest IN (SELECT manifest FROM rounds WHERE run = $run)) "
                "FROM rounds WHERE run = $run AND round > 1",
                {"run": run},
            ).fetchall()
        return dict(zip(("refreshed", "reused", "age", "entered", "rows"), row, strict=True))


class Timed:
    """A re-selection that notes how long each round took; one done again counts once."""

    def __init__(self, reselect: Reselect, log: Path) -> None:
        self._reselect = reselect
        self._log = log

    def __call__(self, start: RoundStart) -> Selection:
        """Select, and write a line."""
        began = time.perf_counter()
        selection = self._reselect(start)
        with self._log.open("a") as file:
            line = {"round": start.round, "seconds": time.perf_counter() - began}
            file.write(json.dumps(line) + "\n")
        return selection


def seconds_of(log: Path) -> dict[int, float]:
    """Seconds by round; of one that a resumed run read back, the longest."""
    found: dict[int, float] = {}
    for line in log.read_text().splitlines():
        row = json.loads(line)
        found[row["round"]] = max(row["seconds"], found.get(row["round"], 0.0))
    return found


def row(refresh: str, runs: Sequence[dict[str, Any]]) -> str:
    """One line of the table: the mean over the seeds."""
    accuracy = [100 * run["accuracy"] for run in runs]
    cells = [refresh, f"{statistics.mean(accuracy):.2f}", f"{spread(accuracy):.2f}"]
    cells.append(", ".join(f"{one:.2f}" for one in accuracy))
    cells.append(f"{statistics.mean(run['seconds'] for run in runs):.1f}")
    cells.append(f"{statistics.mean(run['rounds'] for run in runs):.1f}")
    share = statistics.mean(run["rounds"] / run["seconds"] for run in runs)
    cells.append(f"{100 * share:.1f} %")
    for name in ("refreshed", "reused", "age", "entered", "rows"):
        known = [run[name] for run in runs if run.get(name) is not None]
        cells.append(f"{statistics.mean(known):,.0f}" if known else "")
    return f"| {' | '.join(cells)} |"


def header(options: argparse.Namespace, images: int) -> str:
    """What was measured, where, and how to repeat it."""
    asked = f"--seeds {options.seeds} --steps {options.steps} --rounds {options.rounds}"
    asked += f" --budget {options.budget} --method {options.method} --student {options.student}"
    columns = (
        "rounds | accuracy | sd | each seed | training s | in rounds s | share | asked a round"
    )
    columns += " | reused a round | mean age, steps | entered a round | rows stored"
    return (
        "# Dynamic rounds\n\n"
        f"Teacher {options.teacher}, student {options.student}, {options.method}, {options.steps} "
        f"steps of 128 images, one-cycle SGD with peak 0.2; kd3 selects {options.budget:,} of "
        f"{images:,} web images, anew in each of {options.rounds} rounds. Accuracy after the last "
        f"step on 5,000 CIFAR-10 test images, {options.seeds} seeds.\n\n"
        f"{machine()}, {torch.get_num_threads()} threads.\n\n"
        f"    python benchmarks/rounds.py {asked} --data DATA --workspace WS\n\n"
        f"| {columns} |\n{'|---' * 12}|"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Build the workspace, train every student, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("KDCURATE_DATA"))
    parser.add_argument("--workspace", type=Path, default=Path("workspace/rounds"))
    parser.add_argument("--teacher", default="resnet20")
    parser.add_argument("--student", default="cifar:resnet8")
    parser.add_argument("--method", default="kd3")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=32, help="an epoch each, of 6,000 images")
    parser.add_argument("--budget", type=int, default=6000)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--refresh", nargs="+", default=[NONE, "lazy", "full"])
    options = parser.parse_args(arguments)
    if options.data is None:
        parser.error("give --data DIR, or set KDCURATE_DATA")
    card = Path(options.data) / f"teachers/{options.teacher}.toml"
    sizes = (options.steps, options.rounds, options.budget, pick_device(options.device))
    places = (Path(options.data), options.workspace, card)
    bench = Bench(*places, options.student, options.method, *sizes)
    bench.prepare()
    found: dict[str, list[dict[str, Any]]] = {refresh: [] for refresh in options.refresh}
    for seed in range(options.seeds):
        for refresh, runs in found.items():  # in turn, so that a busy hour is no one's
            runs.append(bench.train(refresh, seed))
    with bench.catalog.read() as connection:
        ((images,),) = connection.execute("SELECT count(*) FROM images").fetchall()
    print(header(options, images), *(row(*one) for one in found.items()), sep="\n")


if __name__ == "__main__":
    main()
