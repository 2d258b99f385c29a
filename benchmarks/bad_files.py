"""Does a hundred kinds of bad file slow down a crawl of a thousand good images?

    .venv/bin/python benchmarks/bad_files.py --embedder teachers/resnet20.toml

The same command indexes the good images alone and the good and bad together, in turn, each time
into a new workspace, on one decoding process, so that what the bad files take does not hide behind
another core. Start-up, the same for both, is measured with one good image and taken off the second
ratio.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import PIL

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # tests/ is not installed

from tests.attacks import bad_files

KDCURATE = Path(sys.executable).with_name("kdcurate")


def build(crawl: Path, workspace: Path, embedder: Path) -> float:
    """Index a crawl by the command; return the seconds that it took."""
    options = ["-w", workspace, "--embedder", embedder, "--device", "cpu", "--workers", "1"]
    began = time.monotonic()
    command = [KDCURATE, "build-index", crawl, *options]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    took = time.monotonic() - began
    if done.returncode:
        raise SystemExit(done.stderr)
    shutil.rmtree(workspace)
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--good", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=5)
    data = Path(os.environ.get("KDCURATE_DATA", "../shared/data"))
    parser.add_argument("--data", type=Path, default=data)
    parser.add_argument("--embedder", type=Path, default=data / "teachers" / "resnet20.toml")
    given = parser.parse_args()
    crawls = ("one image", "good alone", "good and bad")
    took: dict[str, list[float]] = {name: [] for name in crawls}
    with tempfile.TemporaryDirectory(prefix="kdcurate-bad-") as scratch:
        folder = Path(scratch)
        bad_files.write_good(given.data, folder / "one image", 1)
        bad_files.write_good(given.data, folder / "good alone", given.good)
        bad_files.write_good(given.data, folder / "good and bad", given.good)
        bad = len(bad_files.write(folder / "good and bad"))
        for _ in range(given.runs):
            for name in crawls:
                took[name].append(build(folder / name, folder / "ws", given.embedder))
    print(f"{date.today()}, Pillow {PIL.__version__}, {platform.machine()}, {os.cpu_count()} cores")
    print(f"{given.good} good images, {bad} kinds of bad file, one decoding process\n")
    print(f"| crawl | {' | '.join(f'run {run + 1}' for run in range(given.runs))} | median s |")
    print("|---" * (given.runs + 2) + "|")
    for name in crawls:
        runs = " | ".join(f"{seconds:.2f}" for seconds in took[name])
        print(f"| {name} | {runs} | {statistics.median(took[name]):.2f} |")
    one, alone, both = (took[name] for name in crawls)
    whole = statistics.median(b / a for a, b in zip(alone, both, strict=True))
    print(f"\nmedian of the runs' ratios, good and bad to good alone: {whole:.3f}")
    start = statistics.median(one)
    rest = (statistics.median(both) - start) / (statistics.median(alone) - start)
    print(f"the same without start-up, of the medians: {rest:.3f}")


if __name__ == "__main__":
    main()
