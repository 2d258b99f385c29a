"""How much memory does it take to list a crawl, and how long? By number of files, or of images.

    .venv/bin/python benchmarks/listing.py --scratch DIR

Makes empty files in DIR: a tree of folders of 1,000 each, and one flat folder; and four tar shards
of images of 20 kB, which are holes in the file, each with a .json and a .txt. Each listing runs in
a fresh process, as `kdcurate build-index` does it before it decodes anything; the peak is Linux's
VmHWM less what the process had before. The file system's cache is warm. Files a second are by the
clock; processor time is less moved by other work on the machine.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from datetime import date
from pathlib import Path

_A_FOLDER = 1000
_SHARDS = 4
_MEMBERS = ((".jpg", 20_000), (".json", 200), (".txt", 60))  # of an image, and their bytes


def make_tree(root: Path, count: int) -> Path:
    """Make folders of 1,000 empty files; what is there already is kept."""
    for start in range(0, count, _A_FOLDER):
        make_flat(root / f"{start // _A_FOLDER:06d}", _A_FOLDER, start)
    return root


def make_flat(folder: Path, count: int, first: int = 0) -> Path:
    """Make one folder of empty files with names as crawlers give them."""
    if not folder.exists():
        folder.mkdir(parents=True)
        for number in range(first, first + count):
            os.close(os.open(folder / f"{number:09d}_image.jpg", os.O_CREAT | os.O_WRONLY))
    return folder


def make_shards(folder: Path, count: int) -> Path:
    """Make four shards of so many images in all; return a pattern that finds them."""
    for shard in range(_SHARDS):
        path = folder / f"{shard:05d}.tar"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                for number in range(shard, count, _SHARDS):
                    for suffix, size in _MEMBERS:
                        member = tarfile.TarInfo(f"{number:09d}{suffix}")
                        member.size = size
                        file.write(member.tobuf())
                        # What a listing does not read need not be written.
                        file.seek(-(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE, os.SEEK_CUR)
                file.write(bytes(2 * tarfile.BLOCKSIZE))
    return folder / "*.tar"


def list_here(crawl: str) -> None:
    """List a crawl in this process; print images, kB, seconds, processor seconds and bytes."""
    from index.catalog import Catalog
    from index.listing import list_sources

    with tempfile.TemporaryDirectory() as folder:
        before, began, worked = high_water(), time.monotonic(), time.process_time()
        found = list_sources(Catalog(Path(folder) / "ws"), [crawl], "none", Path(folder))
        seconds, worked = time.monotonic() - began, time.process_time() - worked
        disk = sum(path.stat().st_size for path in Path(folder).glob("*.gz"))
        print(found.images, high_water() - before, seconds, worked, disk)


def high_water() -> int:
    """Return the peak of this process so far in kB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def row(label: str, crawl: Path) -> str:
    """List a crawl in a fresh process; return a row of the table."""
    done = subprocess.run(
        [sys.executable, __file__, "--list", str(crawl)], check=True, capture_output=True, text=True
    )
    images, kilobytes, seconds, worked, disk = (float(word) for word in done.stdout.split())
    cells = [label, f"{images:,.0f}", f"{kilobytes / 1e3:.1f}", f"{1e3 * kilobytes / images:.1f}"]
    cells += [f"{images / seconds:,.0f}", f"{1e6 * worked / images:.0f}", f"{disk / images:.1f}"]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scratch", type=Path)
    parser.add_argument("--tree", type=int, nargs="*", default=[100_000, 300_000, 1_000_000])
    parser.add_argument("--flat", type=int, nargs="*", default=[100_000, 300_000])
    parser.add_argument("--tars", type=int, nargs="*", default=[8_000, 80_000])
    parser.add_argument("--keep", action="store_true", help="leave the files for another time")
    parser.add_argument("--list", metavar="CRAWL", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.list:
        list_here(options.list)
        return
    scratch = options.scratch or Path(tempfile.mkdtemp(prefix="kdcurate-listing-"))
    print(f"{date.today()}, Python {platform.python_version()}, {platform.machine()}, ", end="")
    print(f"{os.cpu_count()} cores\n")
    columns = ["crawl", "files", "MB", "bytes a file", "files/s", "processor microseconds a file"]
    print(f"| {' | '.join(columns)} | bytes on disk a file |")
    print("|---" * (len(columns) + 1) + "|", flush=True)
    for count in options.tree:
        print(row("folders of 1,000", make_tree(scratch / f"tree-{count}", count)), flush=True)
    for count in options.flat:
        print(row("one folder", make_flat(scratch / f"flat-{count}", count)), flush=True)
    for count in options.tars:
        shards = make_shards(scratch / f"tars-{count}", count)
        print(row(f"{_SHARDS} tars, .jpg .json .txt", shards), flush=True)
    if not options.keep:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
