"""Does a training that is killed with -9, again and again, end as an undisturbed one?

    .venv/bin/python benchmarks/kill_distill.py --kills 50

A small student is trained on real web images: `kd` with gradients in parts, clipping and a moving
average, `kd3` in rounds that re-select. A training is killed up to 0.3 s after it took its n-th
step or wrote its n-th checkpoint, both at random (seeded), the main process alone or all of its
group, up to 8 times. Then it runs to its end, and is compared with an undisturbed one: the bytes of
the student's weights, the metrics, the manifest of each round, and what `verify` finds.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import torch

from helpers.kills import LONGEST_DELAY_S, kill_once, start, to_its_end
from index.catalog import Catalog
from index.verify import findings

MOST_KILLS_A_RUN = 8
COMMON = ["--student", "cifar:resnet8", "--batch-size", "32", "--max-steps", "60", "--lr", "0.05"]
COMMON += ["--checkpoint-every", "7", "--precision", "float32", "--device", "cpu", "--workers", "0"]
KINDS = {
    "kd": ["--method", "kd", "--accumulate", "2", "--clip-norm", "5", "--ema", "0.99"],
    "kd3, 3 rounds": ["--method", "kd3", "--rounds", "3"],
}


def kdcurate(*arguments: object) -> list[str]:
    script = "from curate.cli.main import main; main()"
    return [sys.executable, "-W", "ignore", "-c", script, *map(str, arguments)]


def make_workspace(data: Path, folder: Path, images: int) -> Path:
    """Index real web images and select half of them with kd3."""
    source, workspace = folder / "pool.parquet", folder / "ws"
    with duckdb.connect() as connection:
        pool = data / "webpool" / "webpool_0.parquet"
        rows = f"SELECT * FROM read_parquet('{pool}') LIMIT {images}"
        connection.execute(f"COPY ({rows}) TO '{source}' (FORMAT parquet)")
    teacher = data / "teachers" / "resnet20.toml"
    for command in (
        ["build-index", source, "--embedder", teacher],
        ["select", "--teacher", teacher, "--budget", images // 2, "--name", "first"],
    ):
        to_its_end(start_alone(kdcurate(*command, "-w", workspace)))
    return workspace


def distill(workspace: Path, data: Path, kind: str) -> list[str]:
    teacher = data / "teachers" / "resnet20.toml"
    named = ["--manifest", "first", "--teacher", teacher, "--run", "run", "-w", workspace]
    return kdcurate("distill", *named, *COMMON, *KINDS[kind])


def killed(command: list[str], workspace: Path, steps: int, delay_s: float, *, group: bool) -> str:
    """Train until a checkpoint of so many steps lies there, and a little on; say where it stood."""
    checkpoint = workspace / "runs" / "run" / "checkpoint" / "last.pt"
    process = start_alone(command)
    if not kill_once(process, lambda: steps_of(checkpoint) >= steps, delay_s, group=group):
        return ""
    if list(workspace.rglob(".*.tmp")):
        return "a file half written"
    if (workspace / "runs" / "run" / "student.toml").is_file():
        return "the student written"
    return f"checkpoint of step {steps_of(checkpoint)}"


def start_alone(command: list[str]) -> subprocess.Popen[str]:
    return start(command, OMP_NUM_THREADS="1")


def steps_of(checkpoint: Path) -> int:
    if not checkpoint.is_file():
        return 0
    step: int = torch.load(checkpoint, weights_only=True)["step"]
    return step


def result(workspace: Path) -> dict[str, Any]:
    """What has to be the same: weights, curves, rounds; and what must be nothing."""
    run = workspace / "runs" / "run"
    catalog = Catalog(workspace)
    with catalog.read() as connection:
        manifests = connection.execute("SELECT name, content_hash FROM manifests ORDER BY 1")
        rounds = manifests.fetchall()
        rows = connection.execute("SELECT name, steps, student FROM runs").fetchall()
    weights = (run / "student.safetensors").read_bytes()
    return {
        "weights": hashlib.sha256(weights).hexdigest(),
        "metrics": (run / "metrics.jsonl").read_text(),
        "manifests": rounds,
        "row": rows,
        "findings": [str(finding) for finding in findings(catalog)],
        "leftovers": [str(path) for path in run.rglob(".*.tmp")],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--images", type=int, default=240)
    parser.add_argument("--seed", type=int, default=0)
    data = os.environ.get("KDCURATE_DATA", "../shared/data")
    parser.add_argument("--data", type=Path, default=data)
    given = parser.parse_args()
    rng = np.random.default_rng(given.seed)
    moments: Counter[tuple[str, str]] = Counter()
    trained: Counter[str] = Counter()
    wrong: list[str] = []
    with tempfile.TemporaryDirectory(prefix="kdcurate-kill-") as scratch:
        folder = Path(scratch)
        made = make_workspace(given.data.resolve(), folder, given.images)
        expected: dict[str, dict[str, Any]] = {}
        while moments.total() < given.kills:
            kind = list(KINDS)[trained.total() % len(KINDS)]
            command = distill(folder / "trained", given.data.resolve(), kind)
            if kind not in expected:
                workspace = Path(shutil.copytree(made, folder / "trained"))
                to_its_end(start_alone(command))
                expected[kind] = result(workspace)
                shutil.rmtree(workspace)
            workspace = Path(shutil.copytree(made, folder / "trained"))
            left = min(given.kills - moments.total(), -(-given.kills // len(KINDS)))
            for _ in range(rng.integers(1, min(left, MOST_KILLS_A_RUN) + 1)):
                target, delay_s = int(rng.integers(0, 61)), rng.uniform(0, LONGEST_DELAY_S)
                group = bool(rng.integers(2))
                stood = killed(command, workspace, target, delay_s, group=group)
                if not stood:
                    break
                moments[kind, stood] += 1
            to_its_end(start_alone(command))
            found = result(workspace)
            wrong += [f"{kind}: {name}" for name in found if found[name] != expected[kind][name]]
            trained[kind] += 1
            shutil.rmtree(workspace)
            print(f"{moments.total()} kills, {len(wrong)} differences", file=sys.stderr)
    print(f"{date.today()}, torch {torch.__version__}, {platform.machine()}, ", end="")
    print(f"{os.cpu_count()} cores, seed {given.seed}\n")
    print(f"kills: {moments.total()} in {trained.total()} trainings of 60 steps")
    print(f"differences from the undisturbed ones: {len(wrong)}\n")
    print("| training | at the kill | kills |\n|---|---|---|")
    for (kind, stood), count in sorted(moments.items(), key=lambda one: (one[0][0], one[0][1])):
        print(f"| {kind} | {stood} | {count} |")
    for line in wrong:
        print(line)
    print(json.dumps({kind: one["weights"][:16] for kind, one in expected.items()}))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
