"""Which images make the best student? One row a selection, each trained with the same steps.

    .venv/bin/python benchmarks/selection_accuracy.py --data DATA --workspace WS

DATA holds webpool/*.parquet, cifar10/ and teachers/. Everything goes through the command line, so
each row can be reproduced by hand; an interrupted benchmark goes on where it was. The images' true
classes are read by `evaluate` alone, the accuracy is that of the last step.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import torch

KDCURATE = str(Path(sys.executable).with_name("kdcurate"))


@dataclass(frozen=True)
class Arm:
    """One row of the table: how its images are chosen, and whether the student re-selects."""

    label: str
    pool: str
    select: tuple[str, ...]
    rounds: int = 0


ARMS = (
    Arm("original images (ceiling)", "original", ("--strategy", "random", "--budget", "10000")),
    Arm("kd3, re-selecting rounds", "web", ("--strategy", "kd3", "--budget", "6000"), rounds=10),
    Arm("kd3, static", "web", ("--strategy", "kd3", "--budget", "6000")),
    Arm("msp", "web", ("--strategy", "msp", "--budget", "6000")),
    Arm("random", "web", ("--strategy", "random", "--budget", "6000")),
    Arm(
        "highest entropy (negative control)",
        "web",
        ("--strategy", "entropy", "--reverse", "--budget", "6000"),
    ),
)


def kdcurate(*arguments: str | Path, threads: int = 0) -> Any:
    """Run a command and return the JSON that it prints."""
    environment = dict(os.environ)
    if threads:
        environment |= {"OMP_NUM_THREADS": str(threads)}
    command = [KDCURATE, *map(str, arguments), "--json"]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def runs(options: argparse.Namespace) -> Iterator[tuple[Arm, int]]:
    """Every arm and seed; the first seed of all arms first."""
    for seed in range(options.seeds):
        for arm in ARMS:
            yield arm, seed


def train(options: argparse.Namespace, arm: Arm, seed: int) -> float:
    """Select, train and evaluate one student; return its accuracy."""
    workspace, teacher = options.workspace / arm.pool, options.data / "teachers/resnet20.toml"
    # Only random has a seed of its own; the others choose the same images whatever the seed.
    drawn = seed if "random" in arm.select else 0
    chosen = kdcurate(
        *("select", "-w", workspace, "--teacher", teacher, *arm.select),
        *("--name", "-".join(arm.select).replace("--", "") + f"-seed{drawn}"),
        *("--seed", str(drawn)),
    )
    result = kdcurate(
        *("distill", "-w", workspace, "--manifest", chosen["manifest"], "--teacher", teacher),
        *("--student", "cifar:resnet8", "--method", "kd", "--option", "temperature=4"),
        *("--max-steps", str(options.steps), "--batch-size", "128", "--lr", "0.2"),
        *("--schedule", "onecycle", "--rounds", str(arm.rounds), "--seed", str(seed)),
        *("--eval", options.data / "cifar10/test_5k.parquet"),
        threads=options.threads,
    )
    accuracy: float = result["accuracy"]
    print(f"{arm.label}, seed {seed}: {accuracy:.4f}", file=sys.stderr, flush=True)
    return accuracy


def table(found: dict[str, list[float]], options: argparse.Namespace) -> str:
    """The results as Markdown, best first, with what is needed to repeat them."""
    machine = f"torch {torch.__version__}, {platform.machine()}, {os.cpu_count()} cores"
    again = f"--seeds {options.seeds} --steps {options.steps} --data DATA --workspace WS"
    lines = [
        "# Students by selection",
        "",
        f"Teacher resnet20 (CIFAR-10), student cifar:resnet8, KD with T = 4, {options.steps} steps "
        "of 128 images, one-cycle SGD with peak 0.2, crop and flip, accuracy after the last step "
        f"on 5,000 CIFAR-10 test images; mean and standard deviation of {options.seeds} seeds. "
        "6,000 of 22,832 web images, against 10,000 original ones.",
        "",
        f"{date.today()}, Python {platform.python_version()}, {machine}.",
        "",
        f"    python benchmarks/selection_accuracy.py {again}",
        "",
        "| images | accuracy | sd | seeds |",
        "|---|---|---|---|",
    ]
    for label, values in sorted(found.items(), key=lambda row: -statistics.mean(row[1])):
        spread = statistics.stdev(values) if len(values) > 1 else float("nan")
        each = ", ".join(f"{100 * value:.2f}" for value in values)
        lines.append(
            f"| {label} | {100 * statistics.mean(values):.2f} | {100 * spread:.2f} | {each} |"
        )
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Build the two workspaces, train every student, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("KDCURATE_DATA"))
    parser.add_argument("--workspace", type=Path, default=Path("workspace/selection-accuracy"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--jobs", type=int, default=1, help="students trained at once")
    parser.add_argument("--threads", type=int, default=0, help="threads of each")
    options = parser.parse_args(arguments)
    if options.data is None:
        parser.error("give --data DIR, or set KDCURATE_DATA")
    teacher = options.data / "teachers/resnet20.toml"
    sources = {
        "web": sorted(options.data.glob("webpool/*.parquet")),
        "original": [options.data / "cifar10/original_10k.parquet"],
    }
    for pool, files in sources.items():
        where = options.workspace / pool
        kdcurate("build-index", *files, "-w", where, "--embedder", teacher)
    found: dict[str, list[float]] = {arm.label: [] for arm in ARMS}
    with ThreadPoolExecutor(options.jobs) as pool_of_jobs:
        todo = list(runs(options))
        accuracies = pool_of_jobs.map(lambda run: train(options, *run), todo)
        for (arm, _), accuracy in zip(todo, accuracies, strict=True):
            found[arm.label].append(accuracy)
    print(table(found, options))


if __name__ == "__main__":
    main()
