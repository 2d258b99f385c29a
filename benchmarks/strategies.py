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
import math
import statistics
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import duckdb

from helpers.students import Bench, add_options, machine, run, spread

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


def half(bench: Bench, name: str) -> Path:
    """Return where one half of the test images lies."""
    return bench.workspace / f"{name}.parquet"


def prepare(bench: Bench) -> None:
    """Index both pools with the teacher, and split the test images in two."""
    bench.build()
    source = duckdb.read_parquet(str(bench.test))
    ordered = source.project("*, row_number() OVER () AS place")
    placed = ordered.project("*, row_number() OVER (PARTITION BY label ORDER BY place) % 2 AS half")
    for number, name in enumerate(ACCURACIES):
        images = placed.filter(f"half = {number}").order("place").project("* EXCLUDE (place, half)")
        images.write_parquet(str(half(bench, name)))


def select(bench: Bench, arm: Arm, seed: int, student: str) -> dict[str, Any]:
    """Select an arm's images; `student` is the card that some arms compare with the teacher."""
    words = {REFERENCE: str(bench.original), STUDENT: student}
    chosen = [words.get(word, word) for word in arm.select]
    return bench.select(arm.pool, *chosen, "--budget", str(bench.budget), "--seed", str(seed))


def train(bench: Bench, arm: Arm, manifest: str, seed: int) -> dict[str, Any]:
    """Train a student on a manifest; return its card and its accuracy on the halves."""
    method = ("--method", "kd", "--option", "temperature=4")
    reported = ("--eval", half(bench, "reported"))
    result = bench.train(arm.pool, manifest, seed, *method, *reported)
    found = {"student": result["student"], "reported": result["accuracy"]}
    if arm.kind == "combination":
        chosen = ("--data", half(bench, "chosen"))
        measured = run("evaluate", result["student"], *chosen, threads=bench.threads)
        found["chosen"] = measured["accuracy"]
    print(f"{arm.label}, seed {seed}: {found}", file=sys.stderr, flush=True)
    return found


def describe(bench: Bench, arm: Arm, manifest: str) -> dict[str, Any]:
    """What the ledger, and afterwards the true classes, say of the images that were taken."""
    (row,) = run("sql", DESCRIBE.format(manifest=manifest), "-w", bench.workspace / arm.pool)
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


def measure(bench: Bench, seeds: int, arms: Sequence[Arm]) -> list[dict[str, Any]]:
    """Select and train every arm; arms that choose the same images share their students."""
    learnt = select(bench, LEARNT, 0, "")["manifest"]
    first = train(bench, LEARNT, learnt, 0)["student"]
    chosen: dict[tuple[Arm, int], dict[str, Any]] = {}
    for seed in range(seeds):
        for arm in arms:
            again = seed == 0 or arm.seeded
            chosen[arm, seed] = select(bench, arm, seed, first) if again else chosen[arm, 0]
    students: dict[tuple[Any, ...], Any] = {}
    with ThreadPoolExecutor(bench.jobs) as pool:
        for (arm, seed), manifest in chosen.items():
            key = (manifest["content_hash"], seed)
            if key not in students:
                students[key] = pool.submit(partial(train, bench, arm, manifest["manifest"], seed))
    rows = []
    for arm in arms:
        manifests = [chosen[arm, seed] for seed in range(seeds)]
        trained = [
            students[one["content_hash"], seed].result() for seed, one in enumerate(manifests)
        ]
        facts = describe(bench, arm, manifests[0]["manifest"])
        rows.append({"arm": arm, "trained": trained, "selected": manifests[0]["selected"]} | facts)
    return rows


def table(rows: list[dict[str, Any]]) -> list[str]:
    """The results as Markdown, best first."""
    columns: tuple[str, ...] = ("images", "kind", "accuracy", "sd", "each seed", "first half")
    columns += ("of the classes", "entropy", "bn_shift", "bn_moments, pool to selected")
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for row in sorted(rows, key=lambda row: -mean(row, "reported")):
        arm, each = row["arm"], [one["reported"] for one in row["trained"]]
        marked = row["in_class"] if arm.pool == "web" else None
        shown = ", ".join(f"{100 * value:.2f}" for value in each)
        lines.append(
            f"| {arm.label} | {arm.kind} | {100 * mean(row, 'reported'):.2f} "
            f"| {100 * spread(each):.2f} | {shown} "
            f"| {share(mean(row, 'chosen'))} | {share(marked)} "
            f"| {row['entropy']:.3f} | {row['bn_shift']:+.3f} | {row['bn_moments']} |"
        )
    return lines


def mean(row: dict[str, Any], half: str) -> float:
    """Mean accuracy over the seeds; NaN where this half was not looked at."""
    return float(statistics.mean(one.get(half, math.nan) for one in row["trained"]))


def share(value: float | None) -> str:
    """A share in per cent, if there is one."""
    return "" if value is None or math.isnan(value) else f"{100 * value:.1f} %"


def main(arguments: Sequence[str] | None = None) -> None:
    """Build the two workspaces, train every student, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    add_options(parser, "workspace/strategies", teacher="resnet20", student="cifar:resnet8")
    options = parser.parse_args(arguments)
    bench = Bench.of(parser, options)
    prepare(bench)
    arms = [arm for arm in ARMS if not options.only or arm.label in options.only]
    rows = measure(bench, options.seeds, arms)
    print(header(bench, options.seeds), *table(rows), sep="\n")


def header(bench: Bench, seeds: int) -> str:
    """What was measured, where, and how to repeat it."""
    return (
        "# Students by selection\n\n"
        f"Teacher {bench.teacher.stem} (CIFAR-10), student {bench.student}, KD with T = 4, "
        f"{bench.learning}; {bench.budget:,} of 22,832 "
        "web images, or of 10,000 original ones. Accuracy after the last step on the second half "
        f"of 5,000 CIFAR-10 test images, mean and standard deviation of {seeds} seeds; the "
        "first half is what a combination may be chosen by.\n\n"
        f"{machine()}.\n\n"
        f"    {bench.repeat('benchmarks/strategies.py', f'--jobs {bench.jobs} --seeds {seeds}')}\n"
    )


if __name__ == "__main__":
    main()
