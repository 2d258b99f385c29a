"""Containers that cannot be opened: one failure each beside others, an error alone."""

from __future__ import annotations

import errno
import tarfile
from pathlib import Path

import duckdb
import pytest

from index import sources
from index.build import Summary
from index.errors import DataError
from index.sources import unopened

from .helpers import build, content, failures, png, rows, write_tar

BAD = {
    "empty.tar": b"",
    "header.tar": b"\xff" * 2048,
    "truncated.parquet": b"PAR1 and no more",
    "other.csv": b"a,b\n1,2\n",
    "latin.csv": "größe;b\n1;2\n".encode("latin-1"),
    "half.jsonl": b'{"\\ud800": 1}\n',
    "header.csv": b"x" * 140_000 + b"\n",
    "long.txt": b"x" * 2**20,
}


@pytest.fixture
def crawl(tmp_path: Path) -> Path:
    """A good shard, and containers of every kind that cannot be opened."""
    folder = tmp_path / "crawl"
    write_tar(folder / "good.tar", {"1.png": png(1)})
    for name, data in BAD.items():
        (folder / name).write_bytes(data)
    return folder


def counts(summary: Summary) -> tuple[int, int, int]:
    return summary.images, summary.failed, summary.transient


def test_each_is_one_failure_and_the_crawl_goes_on(crawl: Path, tmp_path: Path) -> None:
    for _ in range(2):
        assert counts(build(tmp_path / "ws", crawl / "*")) == (1, len(BAD), 0)
    found = failures(tmp_path / "ws")
    assert found.keys() == BAD.keys()
    assert found["empty.tar"] == "not a readable tar (empty file); remove it or mend it"
    assert found["other.csv"].startswith("it has no column of paths (a, b): name it one of path,")
    assert not any(str(crawl) in reason for reason in found.values())


def test_one_that_was_mended_is_read_and_its_failure_goes(crawl: Path, tmp_path: Path) -> None:
    build(tmp_path / "ws", crawl / "*")
    write_tar(crawl / "empty.tar", {"2.png": png(2)})
    (crawl / "header.tar").write_bytes(b"\xfe" * 4096)  # another file, and no better
    assert counts(build(tmp_path / "ws", crawl / "*")) == (2, len(BAD) - 1, 0)
    assert "empty.tar" not in failures(tmp_path / "ws")
    build(tmp_path / "whole", crawl / "*")
    found, whole = content(tmp_path / "ws"), content(tmp_path / "whole")
    for same in ("images", "locations", "failures", "partitions"):
        assert found[same] == whole[same]


@pytest.mark.parametrize("name", BAD)
def test_the_only_source_is_an_error(crawl: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=name):
        build(tmp_path / "ws", crawl / name)


def test_where_none_can_be_opened_the_last_is_named(crawl: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none of 2 sources can be opened: .*header\.tar"):
        build(tmp_path / "ws", crawl / "empty.tar", crawl / "header.tar")


def test_what_is_out_of_reach_for_the_moment_is_not_gone(tmp_path: Path) -> None:
    """/proc/self/mem is a regular file whose first byte no read can have: EIO, really."""
    for seed in range(2):
        write_tar(tmp_path / f"{seed}.tar", {f"{seed}.png": png(seed)})
    build(tmp_path / "ws", tmp_path / "*.tar")
    before = content(tmp_path / "ws")
    (tmp_path / "1.tar").rename(tmp_path / "away")
    (tmp_path / "1.tar").symlink_to("/proc/self/mem")
    for _ in range(2):
        assert counts(build(tmp_path / "ws", tmp_path / "*.tar")) == (2, 1, 1)
    (tmp_path / "away").rename(tmp_path / "1.tar")
    assert counts(build(tmp_path / "ws", tmp_path / "*.tar")) == (2, 0, 0)
    assert content(tmp_path / "ws") == before


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        (PermissionError(errno.EACCES, ""), True),
        (OSError(errno.EMFILE, ""), True),
        (MemoryError(), True),
        (duckdb.IOException("Cannot open file: Too many open files"), True),
        (duckdb.OutOfMemoryException(""), True),
        (tarfile.ReadError("empty file"), False),
        (duckdb.InvalidInputException("No magic bytes"), False),
        (None, False),
    ],
)
def test_what_fails_this_machine_is_not_the_file(
    tmp_path: Path, cause: Exception | None, expected: bool
) -> None:
    error = DataError("it cannot be opened")
    error.__cause__ = cause
    assert unopened.partition(tmp_path / "s.tar", error).out_of_reach is expected


@pytest.mark.parametrize(
    ("name", "head", "row"),
    [("l.txt", "0.png", "1.png"), ("l.csv", "path\n0.png", "1.png")]
    + [("l.jsonl", '{"path": "0.png"}', '{"path": "1.png"}')],
)
def test_a_line_without_end_is_one_bad_row(tmp_path: Path, name: str, head: str, row: str) -> None:
    for seed in range(2):
        (tmp_path / f"{seed}.png").write_bytes(png(seed))
    (tmp_path / name).write_text("\n".join([head, "a," * 2**20, row]))
    items = [item for p in sources.partitions([str(tmp_path / name)]) for item in sources.read(p)]
    assert [item.data for item in items] == [png(0), b"", png(1)]
    assert len(items[1].error) < 100


def test_a_bad_row_of_a_list_is_one_failure(tmp_path: Path) -> None:
    for seed in range(4):
        (tmp_path / f"{seed}.png").write_bytes(png(seed))
    text = b'path,caption\n0.png,"a\n\nb"\n1.png,caf\xe9\n2.png,a,b,c\n2.png,"x"y\n3.png\n'
    (tmp_path / "l.csv").write_bytes(text)
    for _ in range(2):
        assert counts(build(tmp_path / "ws", tmp_path / "l.csv")) == (2, 3, 0)
    assert failures(tmp_path / "ws") == {
        "l.csv#1": "not UTF-8",
        "l.csv#2": "4 values in a row of 2 columns",
        "l.csv#3": "lines 7 to 7: ',' expected after '\"'",
    }
    found = rows(tmp_path / "ws", "SELECT metadata->>'caption' FROM locations ORDER BY uri")
    assert found == [("a\n\nb",), (None,)]


def test_a_quote_that_is_never_closed_does_not_swallow_the_list(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(png(0))
    lines = ["path,caption", '0.png,"open', *("0.png," + "x" * 1000 for _ in range(300))]
    (tmp_path / "l.csv").write_text("\n".join(lines))
    summary = build(tmp_path / "ws", tmp_path / "l.csv")
    assert (summary.images, summary.failed) == (1, 1)
    (reason,) = failures(tmp_path / "ws").values()
    assert reason.startswith("lines 2 to 133: field larger than field limit")


def test_a_truncated_table_of_paths_is_a_failure(tmp_path: Path) -> None:
    write_tar(tmp_path / "good.tar", {"1.png": png(1)})
    with duckdb.connect() as connection:
        connection.execute(f"COPY (SELECT 'a.png' AS path) TO '{tmp_path}/l.parquet'")
    data = (tmp_path / "l.parquet").read_bytes()
    (tmp_path / "l.parquet").write_bytes(data[: len(data) // 2])
    build(tmp_path / "ws", tmp_path / "*.*")
    assert failures(tmp_path / "ws") == {
        "l.parquet": "not a readable Parquet file; mend or remove it"
    }
