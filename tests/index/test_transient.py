"""Errors that may pass: tried again at once, and by the next build; never held against an image."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from index import sources
from index.build import Summary, build_index
from index.catalog import Catalog
from index.errors import DataError
from index.sources.retries import Retries, TransientError, may_be_over, may_pass

from .helpers import Quadrants, build, content, failures, png, rows, write_tar
from .servers import Overloaded, serving

KINDS = {"folder/": "1.png", "s.tar": "s.tar", "s.parquet": "s.parquet", "l.txt": "1.png"}


@pytest.fixture
def crawl(tmp_path: Path) -> Path:
    """Images 0 to 3 in a folder, a shard, a Parquet file, and a list."""
    crawl = tmp_path / "crawl"
    (crawl / "folder").mkdir(parents=True)
    for seed in range(4):
        (crawl / "folder" / f"{seed}.png").write_bytes(png(seed))
    write_tar(crawl / "s.tar", {f"{seed}.png": png(seed) for seed in range(4)})
    (crawl / "l.txt").write_text("".join(f"folder/{seed}.png\n" for seed in range(4)))
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE t (image BLOB)")
        connection.executemany("INSERT INTO t VALUES (?)", [[png(seed)] for seed in range(4)])
        connection.execute(f"COPY t TO '{crawl / 's.parquet'}'")
    return crawl


@pytest.fixture
def server(crawl: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    pytest.importorskip("aiohttp")
    monkeypatch.setattr(Overloaded, "refusals", {})
    monkeypatch.setattr(Overloaded, "status", 503)
    Overloaded.refused.clear()
    with serving(Overloaded, crawl) as url:
        yield url


def build_url(workspace: Path, source: str) -> Summary:
    return build_index(workspace, [source], Quadrants(), workers=1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_refuses_twice_costs_nothing(server: str, tmp_path: Path, kind: str) -> None:
    build_url(tmp_path / "whole", f"{server}/{kind}")
    Overloaded.refusals[KINDS[kind]] = 2
    build_url(tmp_path / "ws", f"{server}/{kind}")
    assert Overloaded.refused == {KINDS[kind]: 2}
    assert content(tmp_path / "ws") == content(tmp_path / "whole")


@pytest.mark.parametrize("kind", ["folder/", "l.txt"])
def test_what_persists_is_tried_again_by_the_next_build(
    server: str, tmp_path: Path, kind: str
) -> None:
    Overloaded.refusals["1.png"] = 1000
    first = build_url(tmp_path / "ws", f"{server}/{kind}")
    assert (first.images, first.failed, first.transient) == (3, 1, 1)
    (reason,) = failures(tmp_path / "ws").values()
    assert reason.startswith("cannot be read: ClientResponseError: 503")
    assert Overloaded.refused["1.png"] == 3
    again = build_url(tmp_path / "ws", f"{server}/{kind}")
    assert (again.new, again.transient) == (0, 1)
    assert len(failures(tmp_path / "ws")) == 1

    Overloaded.refusals.clear()
    mended = build_url(tmp_path / "ws", f"{server}/{kind}")
    assert (mended.new, mended.images, mended.failed, mended.transient) == (1, 4, 0, 0)
    build_url(tmp_path / "whole", f"{server}/{kind}")
    found, whole = content(tmp_path / "ws"), content(tmp_path / "whole")
    assert found.pop("ntotal") == whole.pop("ntotal") == 4
    assert found == whole


@pytest.mark.parametrize("kind", ["folder/", "l.txt"])
def test_an_image_that_cannot_be_read_again_for_the_moment_stays(
    server: str, crawl: Path, tmp_path: Path, kind: str
) -> None:
    ws = tmp_path / "ws"
    build_url(ws, f"{server}/{kind}")
    (kept,) = rows(ws, "SELECT image_id FROM locations WHERE uri LIKE '%/1.png'")
    with Catalog(ws).write() as connection:
        connection.execute("INSERT INTO scores VALUES (?, 'm', 0, 1, 0, 0)", list(kept))
    (crawl / "folder" / "4.png").write_bytes(png(4))  # so that the slice is another
    (crawl / "l.txt").write_text("".join(f"folder/{seed}.png\n" for seed in range(5)))
    Overloaded.refusals["1.png"] = 1000
    again = build_url(ws, f"{server}/{kind}")
    assert (again.images, again.new, again.failed, again.transient) == (5, 1, 1, 1)
    assert list(failures(ws)) == ["1.png"]
    assert rows(ws, "SELECT image_id FROM locations WHERE uri LIKE '%/1.png'") == [kept]
    assert rows(ws, "SELECT image_id FROM scores") == [kept]
    assert len(rows(ws, "SELECT DISTINCT partition FROM locations")) == 1

    Overloaded.refusals.clear()
    mended = build_url(ws, f"{server}/{kind}")
    assert (mended.images, mended.new, mended.failed) == (5, 0, 0)
    assert rows(ws, "SELECT image_id FROM scores") == [kept]
    build_url(tmp_path / "whole", f"{server}/{kind}")
    found, whole = content(ws), content(tmp_path / "whole")
    for same in ("images", "locations", "failures", "partitions", "vectors"):
        assert found[same] == whole[same]


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_refusal_that_is_meant_is_final(server: str, tmp_path: Path, status: int) -> None:
    Overloaded.status = status  # type: ignore[misc]
    Overloaded.refusals["1.png"] = 1000
    summary = build_url(tmp_path / "ws", f"{server}/folder/")
    assert (summary.failed, summary.transient) == (1, 0)
    assert Overloaded.refused["1.png"] == 1
    build_url(tmp_path / "ws", f"{server}/folder/")
    assert Overloaded.refused["1.png"] == 1


def test_a_server_that_fails_at_the_source_itself_is_named(server: str, tmp_path: Path) -> None:
    Overloaded.refusals["s.tar"] = 1000
    with pytest.raises(DataError, match=r"cannot open http://.*/s\.tar \(.*503.*\): try again"):
        build_url(tmp_path / "ws", f"{server}/s.tar")


def test_a_file_that_a_drive_cannot_give_is_not_written_off(tmp_path: Path) -> None:
    """/proc/self/mem is a regular file whose first byte no read can have: EIO, really."""
    memory = Path("/proc/self/mem")
    try:
        memory.read_bytes()
    except OSError as error:
        if error.errno != errno.EIO:
            pytest.skip(f"reading {memory} fails otherwise here: {error}")
    else:
        pytest.skip(f"{memory} can be read here")
    crawl = tmp_path / "crawl"
    crawl.mkdir()
    (crawl / "good.png").write_bytes(png(0))
    (crawl / "bad.png").symlink_to(memory)
    summary = build(tmp_path / "ws", crawl, workers=1)
    assert (summary.images, summary.failed, summary.transient) == (1, 1, 1)
    assert failures(tmp_path / "ws") == {"bad.png": "cannot be read: Input/output error"}
    (crawl / "bad.png").unlink()
    (crawl / "bad.png").write_bytes(png(1))
    summary = build(tmp_path / "ws", crawl, workers=1)
    assert (summary.images, summary.failed, summary.transient) == (2, 0, 0)
    assert rows(tmp_path / "ws", "SELECT count(*) FROM partitions") == [(1,)]


def test_waiting_ends_however_many_files_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("index.sources.retries._MOST_PAUSES_S", 1.0)
    tried = []

    def read() -> bytes:
        tried.append(1)
        raise TransientError(errno.EIO, "no")

    retries, began = Retries(), time.monotonic()
    for _ in range(100):
        with pytest.raises(TransientError):
            retries(read)
    assert time.monotonic() - began < 10
    assert 100 < len(tried) < 110


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.EIO, ""), True),
        (OSError(errno.ESTALE, ""), True),
        (ConnectionResetError(errno.ECONNRESET, ""), True),
        (TimeoutError(errno.ETIMEDOUT, ""), True),
        (FileNotFoundError(errno.ENOENT, ""), False),
        (PermissionError(errno.EACCES, ""), False),
        (OSError(errno.ELOOP, ""), False),
        (duckdb.IOException("Could not read from file: Input/output error"), True),
        (duckdb.InvalidInputException("Snappy decompression failure"), False),
        (ValueError("Input/output error"), False),
    ],
)
def test_which_errors_may_pass(error: Exception, expected: bool) -> None:
    assert may_pass(error) is expected


@pytest.mark.parametrize(
    ("cause", "passes", "over"),
    [
        (OSError(errno.EIO, ""), True, True),
        (TransientError(errno.EIO, ""), True, True),
        (PermissionError(errno.EACCES, ""), False, True),
        (ValueError("malformed"), False, False),
        (None, False, False),
    ],
)
def test_of_what_cannot_be_opened_the_cause_decides(
    cause: Exception | None, passes: bool, over: bool
) -> None:
    error = DataError("it cannot be opened")
    error.__cause__ = cause
    assert (may_pass(error), may_be_over(error)) == (passes, over)


@pytest.mark.parametrize("kind", ["s.tar", "s.parquet"])
def test_a_shard_that_its_server_cannot_give_ends_as_failures(
    server: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("index.sources.retries._MOST_PAUSES_S", 1.5)
    (part,) = sources.partitions([f"{server}/{kind}"])
    Overloaded.refusals[kind] = 1000
    items = list(sources.read(part))
    assert [item.data for item in items] == [b""] * 4
    assert all(item.transient and item.error.startswith("cannot be read: ") for item in items)
    Overloaded.refusals.clear()
    assert [item.data for item in sources.read(part)] == [png(seed) for seed in range(4)]


def test_a_table_beside_a_shard_that_is_out_of_reach_is_read_again(server: str) -> None:
    (part,) = sources.partitions([f"{server}/s.tar"])
    Overloaded.refusals["s.parquet"] = 1000
    items = list(sources.read(part))
    assert [(item.transient, item.error) for item in items] == [
        (True, "cannot be read: s.parquet beside the shard is out of reach")
    ] * 4
    Overloaded.refusals.clear()
    assert [item.data for item in sources.read(part)] == [png(seed) for seed in range(4)]
