"""Sources behind URLs: every kind, by byte ranges, in worker processes, and their failures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import fsspec
import pytest

from index import sources
from index.build import build_index
from index.catalog import Catalog
from index.decoding import View
from index.errors import DataError
from index.reading import read_images
from index.sources.places import Url

from .helpers import Quadrants, content, failures, png, rows, write_tar
from .servers import Ranges, serving

KINDS = ("folder/", "s.tar", "s.parquet", "l.csv", "l.parquet")


@pytest.fixture(scope="module")
def crawl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images 0 to 5 in a folder, a shard, a Parquet file, and two lists."""
    crawl = tmp_path_factory.mktemp("crawl")
    (crawl / "folder" / "deep").mkdir(parents=True)
    for seed in range(6):
        (crawl / "folder" / ("deep" if seed % 2 else ".") / f"{seed}.png").write_bytes(png(seed))
    (crawl / "folder" / ".hidden.png").write_bytes(png(9))
    write_tar(crawl / "s.tar", {f"{seed}.png": png(seed) for seed in range(6)})
    paths = [f"folder/{'deep/' if seed % 2 else ''}{seed}.png" for seed in range(6)]
    captions = [f"{path},number {i}\n" for i, path in enumerate(paths)]
    (crawl / "l.csv").write_text("path,caption\n" + "".join(captions))
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE t (image BLOB, path VARCHAR)")
        for seed, path in enumerate(paths):
            connection.execute("INSERT INTO t VALUES (?, ?)", [png(seed), path])
        connection.execute(f"COPY (SELECT image FROM t) TO '{crawl / 's.parquet'}'")
        connection.execute(f"COPY (SELECT path FROM t) TO '{crawl / 'l.parquet'}'")
    return crawl


@pytest.fixture(scope="module")
def expected(crawl: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    workspace = tmp_path_factory.mktemp("local") / "ws"
    build(workspace, str(crawl / "s.tar"), 0)
    return content(workspace)


def build(workspace: Path, source: str, workers: int) -> None:
    build_index(workspace, [source], Quadrants(), workers=workers)


@pytest.fixture(scope="module")
def server(crawl: Path) -> Iterator[str]:
    pytest.importorskip("aiohttp")

    with serving(Ranges, crawl) as url:
        yield url


@pytest.fixture(scope="module")
def memory(crawl: Path) -> Iterator[str]:
    system = fsspec.filesystem("memory")
    for file in crawl.rglob("*"):
        if file.is_file():
            system.pipe(f"/crawl/{file.relative_to(crawl)}", file.read_bytes())
    yield "memory://crawl"
    system.rm("/crawl", recursive=True)


def check(workspace: Path, source: str, expected: dict[str, Any], workers: int) -> None:
    build(workspace, source, workers)
    assert failures(workspace) == {}
    found = content(workspace)
    for same in ("images", "vectors", "indexed"):
        assert found[same] == expected[same]
    read = list(read_images(Catalog(workspace), View(8), workers=workers))
    assert sum(len(ids) for ids, _ in read) == 6
    again = build_index(workspace, [source], Quadrants(), workers=0)  # what is done stays done
    assert (again.new, len(rows(workspace, "FROM partitions"))) == (0, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_read_from_memory(
    memory: str, expected: dict[str, Any], tmp_path: Path, kind: str
) -> None:
    check(tmp_path / "ws", f"{memory}/{kind}", expected, workers=0)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_read_over_http_by_worker_processes(
    server: str, expected: dict[str, Any], tmp_path: Path, kind: str
) -> None:
    check(tmp_path / "ws", f"{server}/{kind}", expected, workers=1)
    if kind == "l.csv":
        found = rows(tmp_path / "ws", "SELECT uri, metadata FROM locations ORDER BY uri")
        assert found[0][0] == f"{server}/folder/0.png"
        assert json.loads(found[0][1]) == {"caption": "number 0"}


def test_file_urls_are_read_by_worker_processes(
    crawl: Path, expected: dict[str, Any], tmp_path: Path
) -> None:
    check(tmp_path / "ws", f"file://{crawl}/s.tar", expected, workers=2)
    found = [part.container for part in sources.partitions([f"file://{crawl}/s.*"])]
    assert found == [f"file://{crawl}/s.parquet", f"file://{crawl}/s.tar"]


def test_a_local_list_may_name_urls(server: str, crawl: Path, tmp_path: Path) -> None:
    absent = f"{server}/absent.png"
    lines = [f"{server}/folder/0.png", absent, "nosuch://x/y.png", "nowhere://"]
    (tmp_path / "l.txt").write_text("\n".join(lines))
    build(tmp_path / "ws", str(tmp_path / "l.txt"), 0)
    found = dict(rows(tmp_path / "ws", "SELECT uri, reason FROM failures"))
    assert rows(tmp_path / "ws", "SELECT uri FROM locations") == [(lines[0],)]
    assert found.keys() == set(lines[1:])
    assert found[absent] == "cannot be read: No such file or directory"
    assert "nosuch" in found["nosuch://x/y.png"]


@pytest.mark.parametrize("part", ["a/../", "a/%2e%2e/", "a/%2E./", "./"])
@pytest.mark.parametrize("kind", ["folder/", "s.tar", "s.*"])
def test_a_url_that_clients_read_differently_is_refused(
    server: str, memory: str, part: str, kind: str
) -> None:
    Ranges.asked.clear()
    for root in (server, memory):
        with pytest.raises(DataError, match=r"is not read: its path has \. or \.\. in it"):
            list(sources.partitions([f"{root}/{part}{kind}"]))
    assert Ranges.asked == []


def test_dots_of_a_query_or_a_name_are_none_of_a_path() -> None:
    for text in ("http://h/x.png?from=../y", "http://h/a..b/...png", "s3://b/.hidden/x.png"):
        assert not Url(text).has_dots


def test_a_relative_path_in_a_list_behind_a_url_is_resolved(
    memory: str, server: str, tmp_path: Path
) -> None:
    """An object store has no such name as `lists/../folder/0.png`."""
    lines = ["../folder/0.png", "./.././folder/2.png", "../../../folder/0.png"]
    lines += [f"{server}/lists/../folder/0.png", "%2e%2e/folder/0.png"]
    system = fsspec.filesystem("memory")
    system.pipe("/crawl/lists/l.txt", "\n".join(lines).encode())
    build(tmp_path / "ws", f"{memory}/lists/l.txt", 0)
    found = rows(tmp_path / "ws", "SELECT uri FROM locations ORDER BY uri")
    assert found == [(f"{memory}/folder/0.png",), (f"{memory}/folder/2.png",)]
    wrong = dict(rows(tmp_path / "ws", "SELECT uri, reason FROM failures"))
    assert wrong.keys() == {f"{memory}/lists/l.txt#{row}" for row in (2, 3, 4)}
    assert all(reason.startswith("its path has . or .. in it") for reason in wrong.values())


@pytest.mark.parametrize(
    ("folder", "name", "expected"),
    [
        ("http://h", "x.png", "http://h/x.png"),
        ("http://h/a/", "/b/x.png", "http://h/a/b/x.png"),
        ("http://h/a/b", "../x.png?of=../y", "http://h/a/x.png?of=../y"),
        ("file:///a", "../x.png", "file:///x.png"),
        ("s3://bucket/a", "../../../other/x.png", "s3://bucket/../../other/x.png"),
    ],
)
def test_paths_are_joined_up_to_the_host(folder: str, name: str, expected: str) -> None:
    assert str(Url(folder) / name) == expected


def test_a_list_is_cut_without_asking_for_what_it_names(server: str, tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_text("".join(f"{server}/{i}.png\n" for i in range(1000)))
    Ranges.asked.clear()
    parts = list(sources.partitions([str(tmp_path / "l.txt")]))
    assert sum(part.count for part in parts) == 1000
    assert Ranges.asked == []


def test_a_file_that_changed_behind_a_url_changes_its_partition(memory: str) -> None:
    def keys() -> list[str]:
        return [part.key for part in sources.partitions(["memory://changing/"])]

    system = fsspec.filesystem("memory")
    system.pipe("/changing/0.png", b"one")
    before = keys()
    assert keys() == before
    system.pipe("/changing/0.png", b"three")
    assert keys() != before
    system.rm("/changing", recursive=True)


def test_one_member_is_read_by_its_range(server: str, crawl: Path) -> None:
    (part,) = sources.partitions([f"{server}/s.tar"])
    item = list(sources.read(part))[4]
    Ranges.asked.clear()
    data = list(sources.fetch("tar", item.container, [(item.position, item.length)]))
    assert data == [png(4)]
    assert any(wanted for _, wanted in Ranges.asked)


def test_a_path_beside_a_url_is_what_is_read(server: str, tmp_path: Path) -> None:
    """No URL is followed where the list has paths."""
    (tmp_path / "0.png").write_bytes(png(0))
    (tmp_path / "l.csv").write_text(f"url,path\n{server}/folder/1.png,0.png\n")
    Ranges.asked.clear()
    build(tmp_path / "ws", str(tmp_path / "l.csv"), 0)
    assert rows(tmp_path / "ws", "SELECT uri FROM locations") == [(str(tmp_path / "0.png"),)]
    assert Ranges.asked == []


@pytest.mark.parametrize("name", ["absent.tar", "absent.png", "*.webp"])
def test_an_absent_url_is_no_source(memory: str, server: str, name: str) -> None:
    for base in (memory, server):
        with pytest.raises(DataError, match="no such source: ") as caught:
            sources.check([f"{base}/{name}"])
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nosuch://bucket/s.tar", r"cannot open nosuch://bucket/s\.tar \(.*nosuch"),
        ("http://127.0.0.1:1/", r"cannot (open|list) http://127\.0\.0\.1:1/ \(.+\): try again"),
    ],
)
def test_what_cannot_be_reached_is_one_line(url: str, said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        list(sources.partitions([url]))
    assert "\n" not in str(caught.value)


def test_what_vanished_is_named_when_it_is_read_again(memory: str, tmp_path: Path) -> None:
    system = fsspec.filesystem("memory")
    for kind in ("files", "tar", "parquet"):
        with pytest.raises(DataError, match="memory://gone/x"):
            list(sources.fetch(kind, "memory://gone/x", [(0, 5)]))
    system.pipe("/short/x.tar", b"1234")
    with pytest.raises(DataError, match="is shorter than when it was indexed"):
        list(sources.fetch("tar", "memory://short/x.tar", [(0, 5)]))
    system.rm("/short", recursive=True)


@pytest.mark.parametrize("kind", ["s.tar", "s.parquet"])
def test_a_network_that_fails_is_no_failure_of_the_images(memory: str, kind: str) -> None:
    system = fsspec.filesystem("memory")
    url = "memory://lost/" + kind
    system.pipe(f"/lost/{kind}", system.cat(f"/crawl/{kind}"))
    (part,) = sources.partitions([url])
    system.rm("/lost", recursive=True)
    with pytest.raises(DataError, match=rf"cannot read {url} \(.*run the same command again"):
        list(sources.read(part))


@pytest.mark.parametrize(
    ("url", "name", "suffix", "parent"),
    [
        ("s3://b/a/x.tar", "x.tar", ".tar", "s3://b/a"),
        ("https://h/x.JPG?w=1/2.png", "x.JPG", ".JPG", "https://h"),
        ("memory://x/", "x", "", "memory:/"),
    ],
)
def test_the_pieces_of_a_url(url: str, name: str, suffix: str, parent: str) -> None:
    assert (Url(url).name, Url(url).suffix, str(Url(url).parent)) == (name, suffix, parent)
