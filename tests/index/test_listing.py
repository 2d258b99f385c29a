"""The listing of a build: what it holds, what it leaves out, and how little memory it takes."""

from __future__ import annotations

import os
import tracemalloc
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from index import sources
from index.catalog import Catalog, insert
from index.errors import NothingSelectedError
from index.listing import Listing, list_sources
from index.progress import Advance, Silent

from .helpers import png, write_tar


def listed(workspace: Path, *names: Path) -> Listing:
    folder = workspace / "scratch"
    folder.mkdir(parents=True, exist_ok=True)
    return list_sources(Catalog(workspace), [str(name) for name in names], "e", folder)


def test_partitions_come_back_from_disk_as_they_were_listed(tmp_path: Path) -> None:
    crawl = tmp_path / "crawl"
    crawl.mkdir()
    (crawl / "0.png").write_bytes(png(0))
    Path(os.fsdecode(os.fsencode(crawl) + b"/caf\xe9\n.png")).write_bytes(png(1))
    shard = write_tar(tmp_path / "s.tar", {"a.png": png(2), "a.txt": b"words", "b.png": png(3)})
    table = tmp_path / "l.csv"
    table.write_text('path,caption\ncrawl/0.png,"a, ""b"""\n')
    names = [crawl, shard, table]
    found = listed(tmp_path / "ws", *names)
    direct = list(sources.partitions([str(name) for name in names]))
    assert [part.key for part in found] == [part.key for part in direct]
    assert [list(sources.read(part)) for part in found] == [
        list(sources.read(part)) for part in direct
    ]
    assert (len(found), found.images) == (3, 5)
    assert list(found) == list(found)


def test_a_source_that_is_named_twice_is_done_once(tmp_path: Path) -> None:
    shard = write_tar(tmp_path / "s.tar", {"a.png": png(0)})
    found = listed(tmp_path / "ws", shard, shard)
    assert (len(found), found.images, len(list(found))) == (1, 1, 1)


def test_what_an_embedder_has_done_is_left_out_for_it_alone(tmp_path: Path) -> None:
    shards = [write_tar(tmp_path / f"{n}.tar", {"a.png": png(n)}) for n in range(3)]
    keys = [part.key for part in sources.partitions([str(path) for path in shards])]
    done = {"key": keys[:2], "embedder": ["e", "another"], "container": "c", "entries": 1}
    with Catalog(tmp_path / "ws").write() as connection:
        insert(connection, "partitions", done)
    assert [part.key for part in listed(tmp_path / "ws", *shards)] == keys[1:]


def test_sources_without_images_are_nothing_to_do_whatever_is_done(tmp_path: Path) -> None:
    with Catalog(tmp_path / "ws").write() as connection:
        done = {"key": "k", "embedder": "e", "container": "c", "entries": 1}
        insert(connection, "partitions", done)
    (tmp_path / "crawl").mkdir()
    with pytest.raises(NothingSelectedError, match="no images in .*crawl"):
        listed(tmp_path / "ws", tmp_path / "crawl")


def test_memory_does_not_grow_with_what_is_listed(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        path = tmp_path / f"{count}.txt"
        path.write_text("".join(f"https://host/a/folder/{i:08}.jpg\n" for i in range(count)))
        tracemalloc.start()
        try:
            found = listed(tmp_path / "ws", path)
            assert sum(part.count for part in found) == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1000)  # what is imported or cached at the first time
    assert peak(20_000) - peak(5_000) < 4 * 15_000  # a digest of each partition; a name has 45


class Said:
    """A progress that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def step(self, *_: object) -> AbstractContextManager[Advance]:
        return Silent().step("", None, "")

    def say(self, message: str) -> None:
        self.lines.append(message)


def test_what_a_folder_holds_beside_images_is_counted(tmp_path: Path) -> None:
    crawl, elsewhere = tmp_path / "crawl", tmp_path / "elsewhere"
    for name in ("a.png", ".hidden.png", "photo.jpg?w=200", "page.php", ".git/b.png"):
        (crawl / name).parent.mkdir(parents=True, exist_ok=True)
        (crawl / name).write_bytes(png(0))
    elsewhere.mkdir()
    (crawl / "link").symlink_to(elsewhere)
    said = Said()
    found = list_sources(Catalog(tmp_path / "ws"), [str(crawl)], "e", tmp_path, progress=said)
    assert found.images == 1
    (line,) = said.lines
    counted = ("2 hidden", "1 links to folders", "2 without the name of an image")
    assert line.startswith("not looked at in folders: ")
    assert sorted(line.partition(": ")[2].split(", ")) == sorted(counted)


def test_a_folder_without_images_says_what_it_has(tmp_path: Path) -> None:
    (tmp_path / "crawl").mkdir()
    (tmp_path / "crawl" / "page.php").write_bytes(png(0))
    with pytest.raises(NothingSelectedError, match=r"not looked at: 1 without the name of an im"):
        listed(tmp_path / "ws", tmp_path / "crawl")
