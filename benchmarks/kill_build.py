"""Is a build that is killed with -9, again and again, the same in the end as an undisturbed one?

    .venv/bin/python benchmarks/kill_build.py --kills 200

A crawl of real images, copies and damaged files is indexed in small parts, so that a build commits
often. A build is killed up to 0.3 s after the n-th part appeared, both at random (seeded), every
fourth one with a process for decoding, the main process alone or all of them, up to four times a
workspace. Then it runs to its end, and the workspace is compared with an undisturbed one: `images`,
`locations`, `failures`, `partitions`, every vector by its id, the ids of the index and what
`verify` finds. The embedder is NumPy's mean of colours: `index` needs no torch, whose start would
take most of the time.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from collections import Counter
from datetime import date
from pathlib import Path

import duckdb
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # tests/ is not installed

from helpers import kills
from helpers.kills import LONGEST_DELAY_S, kill_once, to_its_end
from index.build import build_index
from index.catalog import Catalog
from index.verify import findings
from tests.index.helpers import Quadrants, content, write_tar

ROWS_A_PART = IMAGES_A_SHARD = 8
MOST_KILLS_A_WORKSPACE = 4  # a build goes on from where it was: later ones fall on its end


def write_crawl(data: Path, folder: Path, images: int) -> Path:
    """Shards of eight real images, a copy of another shard's, and a damaged file; return a glob."""
    numbered = "read_parquet(?, file_row_number = true)"
    query = f"SELECT image FROM {numbered} WHERE file_row_number % 17 = 0 LIMIT ?"
    with duckdb.connect() as connection:
        pool = str(data / "webpool" / "webpool_0.parquet")
        rows = [image for (image,) in connection.execute(query, [pool, images]).fetchall()]
    for first in range(0, images, IMAGES_A_SHARD):
        members = {f"{i}.jpg": rows[i] for i in range(first, first + IMAGES_A_SHARD)}
        members |= {"copy.jpg": rows[first // 2], "damaged.jpg": rows[first][:150]}
        write_tar(folder / f"{first:05d}.tar", members)
    return folder / "*.tar"


def build(crawl: str, workspace: str, workers: str) -> None:
    """Run in a process of its own; say when the work begins."""
    print("began", flush=True)
    source, rows = [crawl], ROWS_A_PART
    build_index(Path(workspace), source, Quadrants(), workers=int(workers), rows_a_part=rows)


def start(crawl: Path, workspace: Path, workers: int = 0) -> subprocess.Popen[str]:
    # Of a process killed alone, Python's helper says what it cleans up.
    command = [sys.executable, "-W", "ignore", __file__, "--build"]
    command += [str(crawl), str(workspace), str(workers)]
    process = kills.start(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == "began\n"
    return process


def killed(
    crawl: Path, workspace: Path, parts: int, delay_s: float, workers: int, *, group: bool
) -> str:
    """Build until so many parts lie there, and a little on; return where it stood, or nothing."""
    process = start(crawl, workspace, workers)
    if not kill_once(process, lambda: parts_in(workspace) >= parts, delay_s, group=group):
        return ""
    if list(workspace.rglob(".*.tmp")):
        return "a file half written"
    if list(workspace.rglob("index.faiss")):
        return "the index written"
    first = parts_in(workspace) // 8 * 8
    return f"{first} to {first + 7} parts written"


def parts_in(workspace: Path) -> int:
    return len(list(workspace.glob("vectors/*/part-*.npz")))


def differences(expected: dict[str, object], workspace: Path) -> list[str]:
    found = content(workspace)
    wrong = [name for name in expected if found[name] != expected[name]]
    return wrong + [str(finding) for finding in findings(Catalog(workspace))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", nargs=3)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--images", type=int, default=240)
    parser.add_argument("--seed", type=int, default=0)
    data = os.environ.get("KDCURATE_DATA", "../shared/data")
    parser.add_argument("--data", type=Path, default=data)
    given = parser.parse_args()
    if given.build:
        return build(*given.build)
    rng = np.random.default_rng(given.seed)
    moments: Counter[str] = Counter()
    wrong: list[str] = []
    workspaces = 0
    with tempfile.TemporaryDirectory(prefix="kdcurate-kill-") as scratch:
        folder = Path(scratch)
        crawl = write_crawl(given.data, folder / "crawl", given.images)
        to_its_end(start(crawl, folder / "whole"))
        parts = parts_in(folder / "whole")
        expected = content(folder / "whole")
        while moments.total() < given.kills:
            workspace = folder / f"ws-{workspaces}"
            workspaces += 1
            for _ in range(rng.integers(1, MOST_KILLS_A_WORKSPACE + 1)):
                target = int(rng.integers(parts_in(workspace), parts + 1))
                delay_s = LONGEST_DELAY_S * rng.uniform() ** 3  # most within a part or two
                workers = int(moments.total() % 4 == 0)
                group = bool(rng.integers(2))
                stood = killed(crawl, workspace, target, delay_s, workers, group=group)
                if not stood:
                    break
                moments[stood] += 1
            to_its_end(start(crawl, workspace))
            wrong += [f"{workspace.name}: {what}" for what in differences(expected, workspace)]
            print(f"{moments.total()} kills, {len(wrong)} differences", file=sys.stderr)
    print(f"{date.today()}, duckdb {duckdb.__version__}, {platform.machine()}, ", end="")
    print(f"{os.cpu_count()} cores, seed {given.seed}")
    print(f"undisturbed: {parts} parts, {len(expected['images'])} images, ", end="")
    print(f"{len(expected['locations'])} locations, {len(expected['failures'])} failures\n")
    print(f"kills: {moments.total()} in {workspaces} workspaces")
    print(f"workspaces that differ from the undisturbed one: {len(wrong)}\n")
    print("| at the kill | kills |\n|---|---|")
    for stood, count in sorted(moments.items(), key=lambda item: (len(item[0]), item[0])):
        print(f"| {stood} | {count} |")
    for line in wrong:
        print(line)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
