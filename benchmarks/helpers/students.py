"""Students through the command line: pools, selections and trainings that can be interrupted."""

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
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Self

import torch

KDCURATE: tuple[str, ...] = (str(Path(sys.executable).with_name("kdcurate")),)


@dataclass(frozen=True)
class Bench:
    """Where everything lies, who teaches whom, and how long students learn.

    DATA holds webpool/*.parquet, cifar10/ and teachers/. The workspace has two pools: ``web``, and
    ``original``, a part of what the teacher was trained on.
    """

    data: Path
    workspace: Path
    teacher: Path
    student: str
    steps: int
    batch_size: int
    budget: int
    lr: float
    schedule: str
    augment: str
    jobs: int
    threads: int

    @classmethod
    def of(cls, parser: argparse.ArgumentParser, options: argparse.Namespace) -> Self:
        """Take the options of `add_options`."""
        if options.data is None:
            parser.error("give --data DIR, or set KDCURATE_DATA")
        given = {name: getattr(options, name) for name in cls.__dataclass_fields__}
        teacher = options.data / "teachers" / f"{options.teacher}.toml"
        return cls(**given | {"teacher": teacher})

    @property
    def original(self) -> Path:
        """Images that the teacher was trained on."""
        return self.data / "cifar10/original_10k.parquet"

    @property
    def test(self) -> Path:
        """Labelled images that nobody was trained on."""
        return self.data / "cifar10/test_5k.parquet"

    def build(self) -> None:
        """Index both pools with the teacher."""
        web = sorted(self.data.glob("webpool/*.parquet"))
        for pool, files in (("web", web), ("original", [self.original])):
            run("build-index", *files, "-w", self.workspace / pool, "--embedder", self.teacher)

    def select(self, pool: str, *words: str | Path) -> dict[str, Any]:
        """Select images of a pool; `words` are options of the command."""
        where = ("-w", self.workspace / pool, "--teacher", self.teacher)
        found: dict[str, Any] = run("select", *where, *words)
        return found

    def train(
        self,
        pool: str,
        manifest: str,
        seed: int,
        *words: str | Path,
        program: Sequence[str] = KDCURATE,
    ) -> dict[str, Any]:
        """Train a student on a manifest; `words` are options of the command, the method's too."""
        found: dict[str, Any] = run(
            *("distill", "-w", self.workspace / pool, "--manifest", manifest),
            *("--teacher", self.teacher, "--student", self.student, *words),
            *("--max-steps", str(self.steps), "--batch-size", str(self.batch_size)),
            *("--lr", str(self.lr), "--schedule", self.schedule),
            *("--augment", self.augment, "--seed", str(seed)),
            threads=self.threads,
            program=program,
        )
        return found

    @property
    def learning(self) -> str:
        """How long students learn, and how, for a heading."""
        return (
            f"{self.steps:,} steps of {self.batch_size} images, SGD ({self.schedule}) with peak "
            f"{self.lr:g}, view {self.augment}"
        )

    def repeat(self, script: str, *more: str) -> str:
        """The command that measures the same again."""
        asked = f"--teacher {self.teacher.stem} --student {self.student} --steps {self.steps}"
        asked += f" --batch-size {self.batch_size} --budget {self.budget} --lr {self.lr:g}"
        asked += f" --schedule {self.schedule} --augment {self.augment} --threads {self.threads}"
        return " ".join(("python", script, asked, *more, "--data DATA --workspace WS"))


def run(*arguments: str | Path, threads: int = 0, program: Sequence[str] = KDCURATE) -> Any:
    """Run a command and return the JSON that it prints."""
    environment = dict(os.environ)
    if threads:
        environment |= {"OMP_NUM_THREADS": str(threads)}
    command = [*program, *map(str, arguments), "--json"]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def add_options(
    parser: argparse.ArgumentParser, workspace: str, teacher: str, student: str, table: bool = True
) -> None:
    """Add what `Bench` needs; a table of many rows has --jobs and --only too."""
    parser.add_argument("--data", type=Path, default=os.environ.get("KDCURATE_DATA"))
    parser.add_argument("--workspace", type=Path, default=Path(workspace))
    parser.add_argument("--teacher", default=teacher, help="a card of DATA/teachers")
    parser.add_argument("--student", default=student)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch-size", type=int, default=128, help="images a step")
    parser.add_argument("--budget", type=int, default=6000, help="web images that are selected")
    parser.add_argument("--lr", type=float, default=0.2, help="peak")
    parser.add_argument("--schedule", default="onecycle")
    parser.add_argument("--augment", default="crop")
    if table:
        parser.add_argument("--jobs", type=int, default=2, help="students trained at once")
        parser.add_argument("--only", nargs="+", help="labels of the rows to measure")
    else:
        parser.set_defaults(jobs=1)
    parser.add_argument("--threads", type=int, default=1, help="threads of each")


def spread(values: Sequence[float]) -> float:
    """Standard deviation; NaN of a single seed."""
    return statistics.stdev(values) if len(values) > 1 else math.nan


def machine() -> str:
    """The day, the versions and the size of the machine."""
    return (
        f"{date.today()}, Python {platform.python_version()}, torch {torch.__version__}, "
        f"{platform.machine()}, {os.cpu_count()} cores"
    )
