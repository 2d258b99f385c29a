"""Which images make the best student? One row a selection, each trained with the same steps.

    .venv/bin/python benchmarks/strategies.py --data DATA --workspace WS

DATA holds webpool/*.parquet, cifar10/ and teachers/. Everything goes through the command line, so
each row can be reproduced by hand; an interrupted benchmark goes on where it was. The test images
are split in two by their place within their class: combinations may be chosen by the accuracy on
the first half, what is reported is the accuracy on the second, after the last step. The images'
true classes are read after selecting, for the column that says how many are of the teacher's.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import torch

KDCURATE = str(Path(sys.executable).with_name("kdcurate"))
STUDENT, REFERENCE = "STUDENT", "REFERENCE"  # in an arm: a trained student's card, original images
ACCURACIES = ("chosen", "reported")


@dataclass(frozen=True)
class Arm:
    """One row of the table: how its images are chosen."""

    label: str
    kind: str
    select: tuple[str, ...]
    pool: str = "web"

    @property
    def seeded(self) -> bool:
        """Tell whether another seed chooses other images."""
        return bool({"random", "dsir"} & set(self.select))


def strategy(name: str, *more: str, label: str = "") -> Arm:
    """An arm of one strategy, which knows its own balance of classes."""
    return Arm(label or name, "strategy", ("--strategy", name, *more))


def combination(label: str, *select: str) -> Arm:
    """An arm of ours: agreement and shift, classes and variety together."""
    return Arm(label, "combination", select)


DATA_FREE = "random msp dfnd max_logit energy entropy margin gen kd3 bn_shift bn_kl null_space"
DATA_FREE += " classifier_angle odsd_like"
REFERENCED = "knn mahalanobis rmds vim prototype mmd_witness domain dsir retrieve"
LEARNT = strategy("random")  # the images of the student that some arms compare with the teacher
BOTH = "0.5*kd3 + 0.5*agreement - 0.1*bn_shift"
ARMS = (
    Arm("original images", "ceiling", ("--strategy", "random"), pool="original"),
    Arm("highest entropy", "negative control", ("--strategy", "entropy", "--reverse")),
    *map(strategy, DATA_FREE.split()),
    *(strategy(name, "--student", STUDENT) for name in ("agreement", "disagreement")),
    *(strategy(name, "--reference", REFERENCE) for name in REFERENCED.split()),
    combination("kd3, full", "--strategy", "kd3", "--balance", "full"),
    combination("msp - .1 bn_shift, full", "--rank", "msp - 0.1*bn_shift", "--balance", "full"),
    combination(
        "kd3 + agreement - bn_shift, full",
        "--rank",
        BOTH,
        "--student",
        STUDENT,
        "--balance",
        "full",
    ),
    combination(
        "kd3, full, k-centre", "--strategy", "kd3", "--balance", "full", "--diversity", "kcenter"
    ),
    combination(
        "kd3, full, clusters", "--strategy", "kd3", "--balance", "full", "--diversity", "clusters"
    ),
    combination(
        "kd3 + agreement - bn_shift, full, clusters",
        "--rank",
        BOTH,
        "--student",
        STUDENT,
        "--balance",
        "full",
        "--diversity",
        "clusters",
    ),
)


@dataclass(frozen=True)
class Bench:
    """Where everything lies, and how long students learn."""

    data: Path
    workspace: Path
    steps: int
    budget: int
    threads: int

    @property
    def teacher(self) -> Path:
        """Card of the teacher."""
        return self.data / "teachers/resnet20.toml"

    @property
    def original(self) -> Path:
        """Images that the teacher was trained on."""
        return self.data / "cifar10/original_10k.parquet"

    def half(self, name: str) -> Path:
        """Return one half of the test images."""
        return self.workspace / f"{name}.parquet"

    def prepare(self) -> None:
        """Index both pools with the teacher, and split the test images in two."""
        web = sorted(self.data.glob("webpool/*.parquet"))
        for pool, files in (("web", web), ("original", [self.original])):
            run("build-index", *files, "-w", self.workspace / pool, "--embedder", self.teacher)
        source = duckdb.read_parquet(str(self.data / "cifar10/test_5k.parquet"))
        ordered = source.project("*, row_number() OVER () AS place")
        placed = ordered.project(
            "*, row_number() OVER (PARTITION BY label ORDER BY place) % 2 AS half"
        )
        for number, name in enumerate(ACCURACIES):
            half = (
                placed.filter(f"half = {number}").order("place").project("* EXCLUDE (place, half)")
            )
            half.write_parquet(str(self.half(name)))

    def select(self, arm: Arm, seed: int, student: str) -> dict[str, Any]:
        """Select an arm's images; `student` is the card that some arms compare with the teacher."""
        words = {REFERENCE: str(self.original), STUDENT: student}
        found: dict[str, Any] = run(
            *("select", "-w", self.workspace / arm.pool, "--teacher", self.teacher),
            *(words.get(word, word) for word in arm.select),
            *("--budget", str(self.budget), "--seed", str(seed)),
        )
        return found

    def train(self, arm: Arm, manifest: str, seed: int) -> dict[str, Any]:
        """Train a student on a manifest; return its card and its accuracy on the halves."""
        result = run(
            *("distill", "-w", self.workspace / arm.pool, "--manifest", manifest),
            *("--teacher", self.teacher, "--student", "cifar:resnet8", "--method", "kd"),
            *("--option", "temperature=4", "--max-steps", str(self.steps), "--batch-size", "128"),
            *("--lr", "0.2", "--schedule", "onecycle", "--seed", str(seed)),
            *("--eval", self.half("reported")),
            threads=self.threads,
        )
        found = {"student": result["student"], "reported": result["accuracy"]}
        if arm.kind == "combination":
            half = ("--data", self.half("chosen"))
            measured = run("evaluate", result["student"], *half, threads=self.threads)
            found["chosen"] = measured["accuracy"]
        print(f"{arm.label}, seed {seed}: {found}", file=sys.stderr, flush=True)
        return found

    def describe(self, arm: Arm, manifest: str) -> dict[str, Any]:
        """What the ledger, and afterwards the true classes, say of the images that were taken."""
        (row,) = run("sql", DESCRIBE.format(manifest=manifest), "-w", self.workspace / arm.pool)
        return dict(row)


DESCRIBE = """
WITH classes AS (
    SELECT selected / sum(selected) OVER () AS share FROM class_balance
    WHERE manifest = '{manifest}' AND selected > 0
)
SELECT (SELECT avg((l.metadata->>'cifar10_class' IS NOT NULL)::INT) FROM selected s JOIN
        (SELECT image_id, any_value(metadata) AS metadata FROM locations GROUP BY image_id) l
        USING (image_id) WHERE s.manifest = '{manifest}') AS in_class,
       (SELECT -sum(share * ln(share)) FROM classes) AS entropy,
       (SELECT selected_mean FROM manifest_shift
        WHERE manifest = '{manifest}' AND estimator = 'bn_shift') AS bn_shift,
       (SELECT printf('%.4f to %.4f', pool, selected) FROM manifest_measures
        WHERE manifest = '{manifest}' AND measure = 'bn_moments') AS bn_moments
"""


def run(*arguments: str | Path, threads: int = 0) -> Any:
    """Run a command and return the JSON that it prints."""
    environment = dict(os.environ)
    if threads:
        environment |= {"OMP_NUM_THREADS": str(threads)}
    command = [KDCURATE, *map(str, arguments), "--json"]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def measure(bench: Bench, seeds: int, jobs: int, arms: Sequence[Arm]) -> list[dict[str, Any]]:
    """Select and train every arm; arms that choose the same images share their students."""
    first = bench.train(LEARNT, bench.select(LEARNT, 0, "")["manifest"], 0)["student"]
    chosen: dict[tuple[Arm, int], dict[str, Any]] = {}
    for seed in range(seeds):
        for arm in arms:
            again = seed == 0 or arm.seeded
            chosen[arm, seed] = bench.select(arm, seed, first) if again else chosen[arm, 0]
    students: dict[tuple[Any, ...], Any] = {}
    with ThreadPoolExecutor(jobs) as pool:
        for (arm, seed), manifest in chosen.items():
            key = (manifest["content_hash"], seed)
            if key not in students:
                students[key] = pool.submit(partial(bench.train, arm, manifest["manifest"], seed))
    rows = []
    for arm in arms:
        manifests = [chosen[arm, seed] for seed in range(seeds)]
        trained = [
            students[one["content_hash"], seed].result() for seed, one in enumerate(manifests)
        ]
        facts = bench.describe(arm, manifests[0]["manifest"])
        rows.append({"arm": arm, "trained": trained, "selected": manifests[0]["selected"]} | facts)
    return rows


def table(rows: list[dict[str, Any]]) -> list[str]:
    """The results as Markdown, best first."""
    columns = ("images", "kind", "accuracy", "sd", "each seed", "first half")
    columns += ("of the classes", "entropy", "bn_shift", "bn_moments, pool to selected")
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for row in sorted(rows, key=lambda row: -mean(row, "reported")):
        arm, each = row["arm"], [one["reported"] for one in row["trained"]]
        marked = row["in_class"] if arm.pool == "web" else None
        shown = ", ".join(f"{100 * value:.2f}" for value in each)
        spread = statistics.stdev(each) if len(each) > 1 else math.nan
        lines.append(
            f"| {arm.label} | {arm.kind} | {100 * mean(row, 'reported'):.2f} | {100 * spread:.2f} "
            f"| {shown} | {share(mean(row, 'chosen'))} | {share(marked)} "
            f"| {row['entropy']:.3f} | {row['bn_shift']:+.3f} | {row['bn_moments']} |"
        )
    return lines


def mean(row: dict[str, Any], half: str) -> float:
    """Mean accuracy over the seeds; NaN where this half was not looked at."""
    return statistics.mean(one.get(half, math.nan) for one in row["trained"])


def share(value: float | None) -> str:
    """A share in per cent, if there is one."""
    return "" if value is None or math.isnan(value) else f"{100 * value:.1f} %"


def main(arguments: Sequence[str] | None = None) -> None:
    """Build the two workspaces, train every student, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("KDCURATE_DATA"))
    parser.add_argument("--workspace", type=Path, default=Path("workspace/strategies"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--budget", type=int, default=6000)
    parser.add_argument("--jobs", type=int, default=2, help="students trained at once")
    parser.add_argument("--threads", type=int, default=1, help="threads of each")
    parser.add_argument("--only", nargs="+", help="labels of the rows to measure")
    options = parser.parse_args(arguments)
    if options.data is None:
        parser.error("give --data DIR, or set KDCURATE_DATA")
    bench = Bench(options.data, options.workspace, options.steps, options.budget, options.threads)
    bench.prepare()
    arms = [arm for arm in ARMS if not options.only or arm.label in options.only]
    rows = measure(bench, options.seeds, options.jobs, arms)
    print(header(options), *table(rows), sep="\n")


def header(options: argparse.Namespace) -> str:
    """What was measured, where, and how to repeat it."""
    asked = f"--seeds {options.seeds} --steps {options.steps} --budget {options.budget}"
    machine = f"torch {torch.__version__}, {platform.machine()}, {os.cpu_count()} cores"
    return (
        "# Students by selection\n\n"
        f"Teacher resnet20 (CIFAR-10), student cifar:resnet8, KD with T = 4, {options.steps} steps "
        f"of 128 images, one-cycle SGD with peak 0.2, crop and flip; {options.budget:,} of 22,832 "
        "web images, or of 10,000 original ones. Accuracy after the last step on the second half "
        f"of 5,000 CIFAR-10 test images, mean and standard deviation of {options.seeds} seeds; the "
        "first half is what a combination may be chosen by.\n\n"
        f"{date.today()}, Python {platform.python_version()}, {machine}.\n\n"
        f"    python benchmarks/strategies.py {asked} --data DATA --workspace WS\n"
    )


if __name__ == "__main__":
    main()
