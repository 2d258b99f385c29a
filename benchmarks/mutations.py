"""100,000 random mutations of real JPEG, PNG and WebP bytes: no crash, no hang, no leak?

    .venv/bin/python benchmarks/mutations.py --count 100000

Mutations are made and decoded one by one in a child process (tests/attacks/mutations.py): bits
flipped, runs of bytes overwritten, deleted, repeated, the end cut off, two images spliced, the
header damaged; one to three of these each. The images are 28 to 248 pixels wide or high, as they
are and written anew in each format, every fourth enlarged to 500 pixels. Each number of a seed is
always the same mutation.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from datetime import date
from pathlib import Path

import duckdb
import PIL

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # tests/ is not installed

from tests.attacks.mutations import originals, run

MOST_SIDE, SMALL_SIDE = 500, 64  # half of the images are larger than the second


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    data = os.environ.get("KDCURATE_DATA", "../shared/data")
    parser.add_argument("--data", type=Path, default=data)
    given = parser.parse_args()
    with duckdb.connect() as connection:
        found = connection.execute(
            "SELECT image, width, height FROM read_parquet(?) WHERE greatest(width, height) <= ? "
            "QUALIFY row_number() OVER (PARTITION BY greatest(width, height) > ? "
            "ORDER BY md5(image)) <= ? ORDER BY md5(image)",
            [str(given.data / "webpool" / "*.parquet"), MOST_SIDE, SMALL_SIDE, given.images // 2],
        ).fetchall()
    whole = originals([row[0] for row in found])
    began = time.monotonic()
    record = run(whole, given.count, given.seed)
    took_s = time.monotonic() - began
    print(f"{date.today()}, Pillow {PIL.__version__}, {platform.machine()}, {os.cpu_count()} cores")
    print(f"{record.total:,} mutations of {len(whole)} images, seed {given.seed}, {took_s:.0f} s\n")
    print(f"processes that crashed or hung: {len(record.lost)}")
    for line in record.lost:
        print(f"- {line}")
    longest_ms = record.longest_s * 1000
    print(f"longest decode: {longest_ms:.0f} ms of processor time (mutation {record.longest})")
    memory = ", ".join(f"{value:.0f}" for value in record.memory_mb)
    print(f"memory in MB after each tenth: {memory}; peak {record.peak_mb:.0f}\n")
    print(f"| outcome | mutations |\n|---|---|\n| decoded | {record.decoded:,} |")
    most = record.reasons.most_common(30)
    for reason, count in most:
        print(f"| {reason.replace('|', '/')} | {count:,} |")
    rest = record.reasons.total() - sum(count for _, count in most)
    print(f"| {len(record.reasons) - len(most)} rarer reasons | {rest:,} |")
    sys.exit(bool(record.lost))


if __name__ == "__main__":
    main()
