"""Does a hundred kinds of bad file slow down a crawl of a thousand good images?

    .venv/bin/python benchmarks/bad_files.py --embedder teachers/resnet20.toml

The same command indexes the good images alone and the good and bad together, in turn, each time
into a new workspace. Time on the clock is that of the command as it is typed; processor time, which
other work on the machine hardly touches, that of one process (--workers 0). Start-up, the same for
both crawls, is measured with one good image and taken off a second ratio.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
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

ALONE = ("--workers", "0")
KDCURATE = Path(sys.executable).with_name("kdcurate")


def build(crawl: Path, workspace: Path, embedder: Path, *options: str) -> tuple[float, float]:
    """Index a crawl by the command; return the seconds on the clock and of the processor."""
    command = [KDCURATE, "build-index", crawl, "-w", workspace, "--embedder", embedder]
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    line = [*map(str, command), "--device", "cpu", *options]
    done = subprocess.run(line, capture_output=True, text=True)
    took, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(done.stderr)
    shutil.rmtree(workspace)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return took, processor


def print_table(what: str, took: dict[str, list[float]]) -> None:
    runs = len(next(iter(took.values())))
    print(f"\n| {what} | {' | '.join(f'run {run + 1}' for run in range(runs))} | median |")
    print("|---" * (runs + 2) + "|")
    for name, seconds in took.items():
        cells = " | ".join(f"{value:.2f}" for value in seconds)
        print(f"| {name} | {cells} | {statistics.median(seconds):.2f} |")
    one, alone, both = took.values()
    ratios = sorted(b / a for a, b in zip(alone, both, strict=True))
    start = statistics.median(one)
    rest = (statistics.median(both) - start) / (statistics.median(alone) - start)
    print(f"\ngood and bad to good alone: median ratio {statistics.median(ratios):.3f}, ", end="")
    print(f"{ratios[0]:.3f} to {ratios[-1]:.3f}; of the medians without start-up {rest:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--good", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=5)
    data = Path(os.environ.get("KDCURATE_DATA", "../shared/data"))
    parser.add_argument("--data", type=Path, default=data)
    parser.add_argument("--embedder", type=Path, default=data / "teachers" / "resnet20.toml")
    given = parser.parse_args()
    crawls = ("one image", "good alone", "good and bad")
    clock: dict[str, list[float]] = {name: [] for name in crawls}
    processor: dict[str, list[float]] = {name: [] for name in crawls}
    with tempfile.TemporaryDirectory(prefix="kdcurate-bad-") as scratch:
        folder = Path(scratch)
        bad_files.write_good(given.data, folder / "one image", 1)
        bad_files.write_good(given.data, folder / "good alone", given.good)
        bad_files.write_good(given.data, folder / "good and bad", given.good)
        bad = len(bad_files.write(folder / "good and bad"))
        for _ in range(given.runs):
            for name in crawls:
                crawl, workspace = folder / name, folder / "ws"
                clock[name].append(build(crawl, workspace, given.embedder)[0])
                processor[name].append(build(crawl, workspace, given.embedder, *ALONE)[1])
    print(f"{date.today()}, Pillow {PIL.__version__}, {platform.machine()}, {os.cpu_count()} cores")
    print(f"{given.good} good images, {bad} kinds of bad file")
    print_table("seconds on the clock", clock)
    print_table("seconds of the processor", processor)


if __name__ == "__main__":
    main()
