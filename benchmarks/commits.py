"""What the catalog costs as it grows: bytes an image, and seconds a commit.

    .venv/bin/python benchmarks/commits.py --images 100000 1000000 4000000

A catalog is filled with made-up images, one location each, with a caption and a URL as metadata of
150 bytes. Then batches of 8,192 images are committed as a build commits them; the median of five.
At its start a build reads what there is once. One image in 20 of each batch is there already, as
in crawls that hold copies.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from datetime import date
from pathlib import Path

import duckdb
import numpy as np

from index.build import ROWS_A_PART
from index.catalog import Catalog
from index.commit import Batch, PendingCommits
from index.known import Known
from index.parts import Part
from index.progress import Silent

EMBEDDER = "synthetic"
_FILL = """
CREATE TEMP TABLE made AS SELECT range AS n, (hash(range + {start}) >> 1)::BIGINT AS id
    FROM range({start}, {stop});
INSERT INTO images SELECT id, unhex(sha256(n::VARCHAR)), 24000, 'JPEG', 640, 480, 'RGB', id, now()
    FROM made;
INSERT INTO locations SELECT id, printf('/crawl/shard-%06d.tar#%09d.jpg', n // 10000, n), 'tar',
    printf('/crawl/shard-%06d.tar', n // 10000), n * 24000, 24000,
    json_object('url', printf('https://example.org/%s.jpg', md5(n::VARCHAR)),
                'caption', repeat('w', 60)), md5((n // 512)::VARCHAR) FROM made;
INSERT INTO vectors SELECT id, '{embedder}', (n // 8192)::INTEGER, (n % 8192)::INTEGER FROM made;
INSERT INTO partitions SELECT DISTINCT md5((n // 512)::VARCHAR), '{embedder}',
    printf('/crawl/shard-%06d.tar', n // 10000), 512 FROM made;
DROP TABLE made
"""


def fill(catalog: Catalog, start: int, stop: int) -> None:
    for begin in range(start, stop, 500_000):
        end = min(begin + 500_000, stop)
        with catalog.write() as connection:
            connection.execute(_FILL.format(start=begin, stop=end, embedder=EMBEDDER))


def copied(catalog: Catalog) -> dict[int, bytes]:
    """Return ids and hashes of some images that are there."""
    with catalog.read() as connection:
        found = connection.execute(
            "SELECT id, sha256 FROM images LIMIT ?",
            [ROWS_A_PART // 20],
        )
        return dict(found.fetchall())


def batch(number: int, copies: dict[int, bytes]) -> Batch:
    """Return a batch of new images, as an engine hands it over once its part is written."""
    rng = np.random.default_rng(number)
    made = Batch(part=Part(f"vectors/{EMBEDDER}", number, ROWS_A_PART, 512, 1, "0" * 64))
    made.vector_ids = rng.integers(2**62, size=ROWS_A_PART).tolist()
    made.vector_ids[: len(copies)] = copies
    place = {"kind": "tar", "container": f"/crawl/new-{number}.tar", "length": 24000}
    for row, key in enumerate(made.vector_ids):
        sha256 = copies.get(key, key.to_bytes(8) + bytes(24))
        size = {"format": "JPEG", "width": 640, "height": 480, "mode": "RGB", "dhash": key}
        made.images.append({"id": key, "sha256": sha256, "bytes": 24000, **size})
        here = {"uri": f"/crawl/new-{number}.tar#{row:09d}.jpg", "position": row * 24000}
        partition = f"{number:016x}{row // 512:016x}"
        made.locations.append(
            {"image_id": key, **place, **here, "metadata": '{"w": 1}', "partition": partition}
        )
    for slice_ in range(ROWS_A_PART // 512):
        key = f"{number:016x}{slice_:016x}"
        made.partitions.append({"key": key, "container": place["container"], "entries": 512})
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, nargs="+", default=[100_000, 1_000_000, 4_000_000])
    options = parser.parse_args()
    print(
        f"{date.today()}, DuckDB {duckdb.__version__}, {platform.machine()}, {os.cpu_count()} cores"
    )
    print(
        "\n| images | bytes an image | s to read them once | s a commit of 8,192 "
        "| ms to look up 256 ids |"
    )
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        catalog, filled, number = Catalog(Path(scratch)), 0, 1_000_000
        for images in sorted(options.images):
            fill(catalog, filled, images)
            filled = images
            size = catalog.path.stat().st_size / images
            began = time.perf_counter()
            known = Known(catalog, EMBEDDER, 5 * ROWS_A_PART)
            reading = time.perf_counter() - began
            copies, commits, lookups = copied(catalog), [], []
            for _ in range(5):
                pending = PendingCommits(catalog, EMBEDDER, Silent(), known)
                made = batch(number, copies)
                number += 1
                began = time.perf_counter()
                pending.offer(made)
                pending.settle()
                commits.append(time.perf_counter() - began)
                began = time.perf_counter()
                assert len(known.with_vector(made.vector_ids[:256])) == 256
                lookups.append(time.perf_counter() - began)
            print(
                f"| {images:,} | {size:.0f} | {reading:.1f} | {statistics.median(commits):.2f} "
                f"| {1000 * statistics.median(lookups):.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
