"""Which method, on which images, makes the best student? One row each, all with the same steps.

    python benchmarks/methods.py --teacher resnet56 --student cifar:resnet20 \
        --data DATA --workspace WS

DATA is that of strategies.py. Everything goes through the command line, so each row can be
reproduced by hand; an interrupted benchmark goes on where it was. All rows are trained alike, at
one rate, schedule and view; the accuracy is that after the last step on all test images, for
nothing is chosen by it.

Recovery is a row's accuracy over that of the same method, with the same parts, on the original
images. An ablation has none without --all, which also trains the other methods, and the ablations
on original images. kd3's ablations are of kd3 with rounds: without `dynamic` it is kd3 on one
selection. Supervised training is no method of kdcurate's: helpers/labels.py adds it to the same
command line.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers.students import KDCURATE, Bench, add_options, machine, spread

LABELS = (sys.executable, str(Path(__file__).parent / "helpers" / "labels.py"))
PARTS = ("classifier_sharing", "weighting", "mix_distribution")
OTHERS = ("simkd", "fitnet", "at", "crd", "dkd", "dist")
ALL = "all images"  # in place of a strategy: the whole pool


@dataclass(frozen=True)
class Arm:
    """One row of the table: the images' choice and the method that learns from them."""

    label: str
    strategy: str
    method: str
    without: tuple[str, ...] = ()
    pool: str = "web"
    dynamic: bool = False

    @property
    def loss(self) -> tuple[str, tuple[str, ...]]:
        """What recovery must not compare with anything else."""
        return self.method, self.without


def original(method: str, *without: str) -> Arm:
    """A method on images that the teacher was trained on: what web images could reach at best."""
    return Arm(named(method, without, "original_10k"), ALL, method, without, pool="original")


def ablation(part: str) -> Arm:
    """kd3 with rounds, less a part."""
    return Arm(named("kd3", (part,), "dynamic"), "kd3", "kd3", (part,), dynamic=True)


def named(method: str, without: Sequence[str], images: str) -> str:
    """A label such as `kd3 --without weighting, original_10k`."""
    return ", ".join((" --without ".join((method, *without)), images))


ARMS = (
    Arm("kd, random", "random", "kd"),
    Arm("dfnd, dfnd", "dfnd", "dfnd"),
    Arm("kd3, static (--without dynamic)", "kd3", "kd3"),
    Arm("kd3, dynamic", "kd3", "kd3", dynamic=True),
    *map(ablation, PARTS),
    *map(original, ("kd", "kd3", "dfnd")),
    Arm("supervised, original_10k", ALL, "labels", pool="original"),
)
MORE = (
    Arm("kd, kd3's images", "kd3", "kd"),
    *(Arm(f"{method}, kd3's images", "kd3", method) for method in OTHERS),
    *map(original, OTHERS),
    *(original("kd3", part) for part in PARTS),
)


def measure(bench: Bench, arms: Sequence[Arm], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Select for every row and seed, then train all students; one list of results a row."""
    seeds, balance = options.seeds, options.balance
    dynamic = ("--rounds", str(options.rounds), "--alpha-floor", str(options.alpha_floor))
    wanted = [(arm, seed) for seed in range(seeds) for arm in arms]
    choices = dict.fromkeys((arm.pool, arm.strategy, seed) for arm, seed in wanted)
    manifests = {choice: select(bench, *choice, balance) for choice in choices}
    with ThreadPoolExecutor(bench.jobs) as pool:
        students: dict[tuple[Arm, int], Future[dict[str, Any]]] = {
            (arm, seed): pool.submit(
                train,
                bench,
                arm,
                manifests[arm.pool, arm.strategy, seed],
                seed,
                dynamic if arm.dynamic else (),
            )
            for arm, seed in wanted
        }
    return [{"arm": arm, "trained": results(students, arm, seeds)} for arm in arms]


def results(students: dict[tuple[Arm, int], Future[Any]], arm: Arm, seeds: int) -> list[Any]:
    """What was found of each seed."""
    return [students[arm, seed].result() for seed in range(seeds)]


def select(bench: Bench, pool: str, strategy: str, seed: int, balance: str) -> str:
    """Select images, or find the manifest that the same options made before."""
    words = ["--strategy", "random" if strategy == ALL else strategy]
    if strategy != ALL:
        words += ["--budget", str(bench.budget)]
    if strategy == "kd3":
        words += ["--balance", balance]
    return str(bench.select(pool, *words, "--seed", str(seed))["manifest"])


def train(
    bench: Bench, arm: Arm, manifest: str, seed: int, rounds: Sequence[str]
) -> dict[str, Any]:
    """Train a student of a row, and tell its accuracy and its seconds."""
    words = ["--method", arm.method, "--eval", str(bench.test), *rounds]
    for part in arm.without:
        words += ["--without", part]
    program = KDCURATE
    if arm.method == "labels":
        program, words = LABELS, [*words, "--option", f"data={bench.original}"]
    result = bench.train(arm.pool, manifest, seed, *words, program=program)
    found = {name: result[name] for name in ("run", "accuracy", "seconds")}
    print(f"{arm.label}, seed {seed}: {found}", file=sys.stderr, flush=True)
    return found


def table(rows: list[dict[str, Any]]) -> list[str]:
    """The results as Markdown, web images first, each best first."""
    columns = ("method, images", "accuracy", "sd", "each seed", "recovery", "seconds a run")
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    best = {row["arm"].loss: accuracy(row) for row in rows if row["arm"].pool == "original"}
    for row in sorted(rows, key=lambda row: (row["arm"].pool == "original", -accuracy(row))):
        each = [100 * one["accuracy"] for one in row["trained"]]
        ceiling = best.get(row["arm"].loss, math.nan)
        recovered = "" if math.isnan(ceiling) else f"{accuracy(row) / ceiling:.3f}"
        seconds = statistics.median(one["seconds"] for one in row["trained"])
        lines.append(
            f"| {row['arm'].label} | {100 * accuracy(row):.2f} | {spread(each):.2f} "
            f"| {', '.join(f'{one:.2f}' for one in each)} | {recovered} | {seconds:.0f} |"
        )
    return lines


def accuracy(row: dict[str, Any]) -> float:
    """Mean accuracy over the seeds."""
    return float(statistics.mean(one["accuracy"] for one in row["trained"]))


def header(bench: Bench, options: argparse.Namespace, more: Sequence[str]) -> str:
    """What was measured, where, and how to repeat it."""
    return (
        "# Students by method\n\n"
        f"Teacher {bench.teacher.stem} (CIFAR-10), student {bench.student}, {bench.learning}; "
        f"{bench.budget:,} of 22,832 web images (kd3: --balance {options.balance}; dynamic: "
        f"re-selected in {options.rounds} rounds, --alpha-floor {options.alpha_floor:g}), or all "
        "10,000 original ones. Accuracy after the last step on 5,000 CIFAR-10 test images, mean "
        f"and standard deviation of {options.seeds} seeds. Recovery: accuracy over that of the "
        "same method and steps on original_10k. `kd` has T = 4; kd3's ablations leave a part out "
        f"of kd3 with rounds. Seconds of training and selecting, {bench.jobs} students at a time "
        f"on {bench.threads} thread each.\n\n{machine()}.\n\n"
        f"    {bench.repeat('benchmarks/methods.py', *more)}\n"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Build the two workspaces, train every student, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    add_options(parser, "workspace/methods", teacher="resnet56", student="cifar:resnet20")
    parser.add_argument("--rounds", type=int, default=10, help="of the dynamic rows")
    parser.add_argument("--alpha-floor", type=float, default=0.0, help="of the dynamic rows")
    parser.add_argument("--balance", default="proportional", help="of kd3's selections")
    parser.add_argument("--all", action="store_true", help="the other methods too")
    options = parser.parse_args(arguments)
    bench = Bench.of(parser, options)
    bench.build()
    every = (*ARMS, *MORE) if options.all else ARMS
    arms = [arm for arm in every if not options.only or arm.label in options.only]
    rows = measure(bench, arms, options)
    more = [
        f"--jobs {options.jobs} --seeds {options.seeds} --rounds {options.rounds}",
        f"--alpha-floor {options.alpha_floor:g} --balance {options.balance}",
        *["--all"] * options.all,
    ]
    print(header(bench, options, more), *table(rows), sep="\n")


if __name__ == "__main__":
    main()
