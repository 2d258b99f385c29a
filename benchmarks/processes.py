"""Does a student that two processes train end as one that a single process trains?

    .venv/bin/python benchmarks/processes.py --data DATA --workspace WS

DATA is that of strategies.py. Each seed trains `--method` on one manifest with one process, and
under torchrun with `--processes` of them (gloo), with the same steps and batches, on as many cores:
`--threads` are those of each of several processes, and one has all of them. What may differ is what
docs/training.md says: each process normalises its own part of a batch. The accuracy is that after
the last step on all test images. An interrupted benchmark goes on where it was.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from helpers.students import KDCURATE, Bench, add_options, machine, spread

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node")


def train(bench: Bench, manifest: str, method: str, seed: int, processes: int) -> dict[str, Any]:
    """Train a student with so many processes, and tell its accuracy and its seconds."""
    torchrun = (*TORCHRUN, str(processes)) if processes > 1 else ()
    words = ("--method", method, "--device", "cpu", "--eval", bench.test)
    found = bench.train("web", manifest, seed, *words, program=(*torchrun, *KDCURATE))
    print(f"{processes} processes, seed {seed}: {found}", file=sys.stderr, flush=True)
    return found


def row(processes: int, runs: Sequence[dict[str, Any]], alone: Sequence[dict[str, Any]]) -> str:
    """One line of the table."""
    each = [100 * run["accuracy"] for run in runs]
    away = statistics.mean(each) - statistics.mean(100 * run["accuracy"] for run in alone)
    seconds = statistics.median(run["seconds"] for run in runs)
    cells = [str(processes), f"{statistics.mean(each):.2f}", f"{spread(each):.2f}"]
    cells += [", ".join(f"{one:.2f}" for one in each), f"{away:+.2f}", f"{seconds:.0f}"]
    return f"| {' | '.join(cells)} |"


def header(bench: Bench, options: argparse.Namespace) -> str:
    """What was measured, where, and how to repeat it."""
    asked = f"--seeds {options.seeds} --method {options.method} --processes {options.processes}"
    columns = "processes | accuracy | sd | each seed | difference | seconds a run"
    return (
        "# One process and several\n\n"
        f"Teacher {bench.teacher.stem} (CIFAR-10), student {bench.student}, {options.method}, "
        f"{bench.learning}; {bench.budget:,} web images by kd3. Accuracy after "
        f"the last step on 5,000 CIFAR-10 test images, {options.seeds} seeds.\n\n{machine()}.\n\n"
        f"    {bench.repeat('benchmarks/processes.py', asked)}\n\n"
        f"| {columns} |\n{'|---' * 6}|"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Build the workspace, train every student, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    add_options(
        parser, "workspace/processes", teacher="resnet20", student="cifar:resnet8", table=False
    )
    parser.add_argument("--method", default="kd")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args(arguments)
    bench = Bench.of(parser, options)
    bench.build()
    chosen = ("--strategy", "kd3", "--budget", str(bench.budget))
    manifest = bench.select("web", *chosen)["manifest"]
    alone = replace(bench, threads=bench.threads * options.processes)
    benches = {1: alone, options.processes: bench}
    found: dict[int, list[dict[str, Any]]] = {processes: [] for processes in benches}
    for seed in range(options.seeds):
        for processes, runs in found.items():  # in turn, so that a busy hour is no one's
            runs.append(train(benches[processes], manifest, options.method, seed, processes))
    print(header(bench, options), *(row(*one, found[1]) for one in found.items()), sep="\n")


if __name__ == "__main__":
    main()
