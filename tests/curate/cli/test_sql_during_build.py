"""`kdcurate sql` beside a running build: it answers, whenever it is asked."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from index.catalog import Catalog
from tests.index.helpers import PROJECT, write_shards

from ..conftest import Kdcurate

BUILD = """
import sys
from pathlib import Path
from index.build import build_index
from tests.index.helpers import Quadrants

class Paced(Quadrants):  # a batch a line of stdin, so that questions fall between commits
    def __call__(self, pixels):
        sys.stdin.readline()
        return super().__call__(pixels)

build_index(Path(sys.argv[2]), [sys.argv[1]], Paced(), workers=0, rows_a_part=4)
"""
QUERY = (
    "SELECT (SELECT count(*) FROM images) images, "
    "(SELECT count(DISTINCT image_id) FROM locations) located, "
    "(SELECT count(*) FROM vectors) embedded"
)


def one_more_batch(build: subprocess.Popen[bytes]) -> None:
    assert build.stdin is not None
    with suppress(BrokenPipeError):  # it has just ended
        build.stdin.write(b"\n")


def test_sql_in_a_loop_never_fails_and_sees_whole_commits(
    kdcurate: Kdcurate, tmp_path: Path
) -> None:
    crawl = write_shards(tmp_path / "crawl", shards=40)
    command = [sys.executable, "-c", BUILD, str(crawl / "*.tar"), str(tmp_path / "ws")]
    seen: list[int] = []
    with subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.PIPE, bufsize=0) as build:
        while not Catalog(tmp_path / "ws").exists():
            assert build.poll() is None
            one_more_batch(build)
            time.sleep(0.1)
        while build.poll() is None:
            found = kdcurate("sql", QUERY, "-w", tmp_path / "ws", "--json")
            assert (found.code, found.err) == (0, "")
            (row,) = json.loads(found.out)
            assert row["images"] == row["located"] == row["embedded"]
            seen.append(row["images"])
            one_more_batch(build)
    assert build.returncode == 0
    assert seen == sorted(seen)
    assert len(set(seen)) > 3
