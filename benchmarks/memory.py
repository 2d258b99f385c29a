"""Does memory grow with the pool? Peak resident memory of commands at several sizes of crawl.

    .venv/bin/python benchmarks/memory.py --data DATA --scratch DIR

DATA holds webpool/*.parquet and teachers/. The pool is repeated until it is as large as asked; each
copy of an image gets its number as a comment of the JPEG or PNG, and so an id of its own.
Everything goes through the command line in a fresh process. Peaks are Linux's VmHWM, read every
50 ms: of the main process, and of the largest of its others. They count what is shared (libraries,
mapped files).
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import shutil
import struct
import subprocess
import sys
import tarfile
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import faiss
import torch

KDCURATE = str(Path(sys.executable).with_name("kdcurate"))
SMALL_BUDGET = "8MB"  # Flat up to 30,000 vectors of 64 components, IVF-SQ8, then OPQ-PQ
_A_SHARD = 10_000


@dataclass(frozen=True)
class Peak:
    """What a command took: MB of its main process and of its largest other, and seconds."""

    main: float
    worker: float
    seconds: float
    printed: Any


def commented(image: bytes, number: int) -> bytes:
    """Return a JPEG or PNG with a comment that changes its bytes and no pixel."""
    text = f"copy {number}".encode()
    if image[:2] == b"\xff\xd8":
        return image[:2] + b"\xff\xfe" + struct.pack(">H", len(text) + 2) + text + image[2:]
    chunk = b"tEXt" + b"Comment\0" + text
    sealed = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return image[:33] + sealed + image[33:]


def write_crawl(data: Path, folder: Path, count: int) -> None:
    """Write shards of 10,000 images; those that are there already are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as connection:
        images = [
            image
            for (image,) in connection.execute(
                "SELECT image FROM read_parquet(?)", [str(data / "webpool" / "*.parquet")]
            ).fetchall()
        ]
    for start in range(0, count, _A_SHARD):
        path = folder / f"{start // _A_SHARD:05d}.tar"
        if path.exists():
            continue
        with tarfile.open(path.with_suffix(".part"), "w") as shard:
            for number in range(start, start + _A_SHARD):
                content = commented(images[number % len(images)], number)
                header = tarfile.TarInfo(f"{number:09d}.jpg")
                header.size = len(content)
                shard.addfile(header, io.BytesIO(content))
        path.with_suffix(".part").rename(path)


def measured(*arguments: str | Path) -> Peak:
    """Run a command to its end and watch it."""
    began = time.monotonic()
    process = subprocess.Popen(
        [KDCURATE, *map(str, arguments), "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    peaks: dict[int, int] = {}
    while process.poll() is None:
        for pid in family(process.pid):
            # Not the largest: a process that was only just forked has its parent's.
            peaks[pid] = high_water(pid) or peaks.get(pid, 0)
        time.sleep(0.05)
    assert process.stdout and process.stderr
    printed = process.stdout.read()
    if process.returncode:
        raise SystemExit(process.stderr.read().decode())
    main = peaks.pop(process.pid)
    return Peak(main / 1e3, max(peaks.values(), default=0) / 1e3, time.monotonic() - began, printed)


def family(pid: int) -> Iterator[int]:
    """Yield a process and all that descend from it."""
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found = children.read_text().split()
        except OSError:  # it ended meanwhile
            continue
        for child in found:
            yield from family(int(child))


def high_water(pid: int) -> int:
    """Return the peak of a process so far in kB; 0 where it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


def row(count: int, label: str, peak: Peak, index: str = "") -> str:
    cells = [f"{count:,}", label, f"{peak.main:.0f}", f"{peak.worker:.0f}", f"{peak.seconds:.0f}"]
    return f"| {' | '.join([*cells, index])} |"


def measure(count: int, scratch: Path, teacher: Path, only: set[str]) -> Iterator[str]:
    """Yield a row for each command on the first `count` images."""
    shards = [scratch / "crawl" / f"{i:05d}.tar" for i in range(count // _A_SHARD)]
    for name, options in (("build, budget 4GB", ()), ("build", ("--memory-budget", SMALL_BUDGET))):
        if name not in only:
            continue
        workspace = scratch / f"ws-{count}-{len(options)}"
        shutil.rmtree(workspace, ignore_errors=True)
        peak = measured(*("build-index", *shards, "-w", workspace, "--embedder", teacher, *options))
        facts = json.loads(peak.printed)
        yield row(count, name, peak, f"`{facts['index']}`, {facts['index_mb']:.1f} MB")
    workspace = scratch / f"ws-{count}-2"
    select = ("select", "-w", workspace, "--teacher", teacher, "--budget", 6000)
    commands: dict[str, tuple[Any, ...]] = {
        "build again": ("build-index", *shards, "-w", workspace),
        "select, first": (*select, "--strategy", "kd3", "--name", "first"),
        "select, scored": (*select, "--strategy", "kd3", "--name", "second"),
        "duplicates": ("duplicates", "-w", workspace),
    }
    for name, command in commands.items():
        if name in only:
            yield row(count, name, measured(*command))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="+", default=[20_000, 60_000, 200_000])
    names = ("build, budget 4GB", "build", "build again")
    names += ("select, first", "select, scored", "duplicates")
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    options = parser.parse_args()
    write_crawl(options.data, options.scratch / "crawl", max(options.sizes))
    teacher = options.data / "teachers" / "resnet20.toml"
    print(
        f"{date.today()}, Python {platform.python_version()}, DuckDB {duckdb.__version__}, "
        f"FAISS {faiss.__version__}, torch {torch.__version__}, {platform.machine()}, "
        f"{os.cpu_count()} cores\n"
    )
    print("| images | command | main MB | largest worker MB | s | index |")
    print("|---|---|---|---|---|---|", flush=True)
    for count in options.sizes:
        for line in measure(count, options.scratch, teacher, set(options.only)):
            print(line, flush=True)


if __name__ == "__main__":
    main()
