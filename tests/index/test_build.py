"""build-index: the same content however it is worked, and every input ends somewhere."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from index.build import build_index
from index.catalog import Catalog, insert
from index.decoding import Pixels
from index.errors import DataError, WorkspaceError
from index.ids import content_sha256, image_id
from index.neighbours import index_path
from index.progress import Advance
from index.sources import SourceOptions
from index.vectors import live_vectors

from .helpers import (
    Quadrants,
    build,
    content,
    encode,
    failures,
    noise,
    png,
    rows,
    write_shards,
    write_tar,
)
from .test_catalog import held


@pytest.fixture(scope="module")
def crawl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("crawl"))


@pytest.fixture(scope="module")
def undisturbed(crawl: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = tmp_path_factory.mktemp("whole") / "ws"
    build(workspace, crawl / "*.tar")
    return workspace


def test_a_build_counts_what_it_found(crawl: Path, tmp_path: Path) -> None:
    summary = build(tmp_path / "ws", crawl / "*.tar")
    # Four shards of three images, a damaged file and a copy of the first image each.
    assert summary.recall_at_10 == 1.0
    assert summary.query_ms is not None and summary.images_per_s is not None
    assert asdict(summary) == {
        "images": 12,
        "new": 12,
        "duplicates": 4,
        "failed": 4,
        "transient": 0,
        "vectors": 12,
        "index": "IDMap,Flat",
        "index_reason": "exact search; takes 1.7 KB of the 4 GB that it may",
        "index_mb": 0.001,
        "recall_at_10": summary.recall_at_10,
        "query_ms": summary.query_ms,
        "images_per_s": summary.images_per_s,
    }
    again = build(tmp_path / "ws", crawl / "*.tar")
    assert asdict(again) == {**asdict(summary), "new": 0, "images_per_s": None}


def test_images_locations_and_vectors_are_those_of_the_files(undisturbed: Path) -> None:
    seeds = [100 * shard + i for shard in range(4) for i in range(3)]
    keys = {image_id(content_sha256(png(seed))): seed for seed in seeds}
    facts = rows(undisturbed, "SELECT id, sha256, bytes, format, width, height, mode FROM images")
    assert {row[0] for row in facts} == keys.keys()
    for key, sha256, size, *header in facts:
        data = png(keys[key])
        assert (bytes(sha256), size) == (content_sha256(data), len(data))
        assert header == ["PNG", 8, 8, "RGB"]
    copies = rows(
        undisturbed, "SELECT image_id, count(*) FROM locations GROUP BY 1 HAVING count(*) > 1"
    )
    assert copies == [(image_id(content_sha256(png(0))), 5)]
    for ids, vectors in live_vectors(Catalog(undisturbed), Quadrants.key):
        for key, vector in zip(ids.tolist(), vectors, strict=True):
            image = noise(keys[key]).astype(np.float64)
            means = [image[y : y + 4, x : x + 4].mean((0, 1)) for y in (0, 4) for x in (0, 4)]
            expected = np.concatenate(means) / np.linalg.norm(means)
            np.testing.assert_allclose(vector, expected, atol=1e-3)  # stored as float16


@pytest.mark.parametrize(("workers", "rows_a_part"), [(1, 4), (2, 1), (0, 8192)])
def test_content_depends_on_neither_workers_nor_part_size(
    crawl: Path, undisturbed: Path, tmp_path: Path, workers: int, rows_a_part: int
) -> None:
    build(tmp_path / "ws", crawl / "*.tar", workers=workers, rows_a_part=rows_a_part)
    assert content(tmp_path / "ws") == content(undisturbed)


def test_sources_may_come_one_by_one_twice_and_overlapping(
    crawl: Path, undisturbed: Path, tmp_path: Path
) -> None:
    for shard in sorted(crawl.iterdir()):
        build(tmp_path / "ws", shard)
    build(tmp_path / "ws", crawl / "*.tar", crawl / "00001.tar")
    assert content(tmp_path / "ws") == content(undisturbed)
    build(tmp_path / "both", crawl / "*.tar", crawl / "00001.tar", rows_a_part=8192)
    assert content(tmp_path / "both") == content(undisturbed)


def test_a_file_below_two_sources_has_one_location(tmp_path: Path) -> None:
    file = tmp_path / "crawl" / "deep" / "0.png"
    file.parent.mkdir(parents=True)
    file.write_bytes(png(0))
    file.with_name("bad.png").write_bytes(b"<html>")
    build(tmp_path / "ws", tmp_path / "crawl", file.parent, rows_a_part=8192)
    assert rows(tmp_path / "ws", "SELECT uri FROM locations") == [(str(file),)]
    assert failures(tmp_path / "ws") == {"bad.png": "not an image of a known format: HTML"}


def test_members_of_one_name_are_all_kept(tmp_path: Path) -> None:
    blocks = [
        write_tar(tmp_path / f"{i}.tar", {"x.png": png(i)}).read_bytes()[:1024] for i in range(3)
    ]
    (tmp_path / "all.tar").write_bytes(b"".join(blocks) + bytes(1024))
    build(tmp_path / "ws", tmp_path / "all.tar")
    assert len(rows(tmp_path / "ws", "SELECT DISTINCT image_id, uri FROM locations")) == 3


def test_a_mended_file_leaves_the_failures_and_a_broken_one_the_locations(tmp_path: Path) -> None:
    crawl = tmp_path / "crawl"
    crawl.mkdir()
    (crawl / "a.png").write_bytes(png(0)[:50])
    (crawl / "b.png").write_bytes(png(1))
    build(tmp_path / "ws", crawl)
    assert failures(tmp_path / "ws").keys() == {"a.png"}
    (crawl / "a.png").write_bytes(png(0))
    (crawl / "b.png").write_bytes(b"")
    summary = build(tmp_path / "ws", crawl)
    assert failures(tmp_path / "ws") == {"b.png": "empty file"}
    assert rows(tmp_path / "ws", "SELECT uri FROM locations") == [(str(crawl / "a.png"),)]
    assert summary.new == 1


def test_copies_of_a_damaged_file_have_the_same_reason(tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", dict.fromkeys(("a.png", "b.png"), png(0)[:50]))
    build(tmp_path / "ws", tmp_path / "0.tar")
    reasons = set(failures(tmp_path / "ws").values())
    assert len(reasons) == 1
    assert reasons.pop().startswith("damaged PNG: ")


def test_a_source_without_one_good_image_is_a_whole_workspace(tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", {"a.png": b"", "b.png": b"x"})
    summary = build(tmp_path / "ws", tmp_path / "0.tar")
    assert (summary.images, summary.failed) == (0, 2)
    assert content(tmp_path / "ws")["ntotal"] == 0


class Halves(Quadrants):
    key = "halves"
    dim = 6

    def __call__(self, pixels: Pixels) -> NDArray[np.float32]:
        return super().__call__(pixels)[:, :6]


def test_two_embedders_share_images_and_keep_their_vectors_apart(
    crawl: Path, undisturbed: Path, tmp_path: Path
) -> None:
    build(tmp_path / "ws", crawl / "*.tar")
    build_index(tmp_path / "ws", [str(crawl / "*.tar")], Halves(), workers=0)
    second = content(tmp_path / "ws", "halves")
    first = content(undisturbed)
    assert second["ntotal"] == 12
    assert len(next(iter(second["vectors"].values()))) == 6 * 4
    for same in ("images", "locations", "failures"):
        assert second[same] == first[same]
    assert content(tmp_path / "ws")["vectors"] == first["vectors"]


def test_a_missing_source_is_an_error_and_nothing_is_catalogued(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such source"):
        build(tmp_path / "ws", tmp_path / "absent")
    assert not Catalog(tmp_path / "ws").exists()


def test_two_contents_under_one_id_are_refused(tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", {"a.png": png(0)})
    key = image_id(content_sha256(png(0)))
    with Catalog(tmp_path / "ws").write() as connection:
        facts = {"bytes": 1, "format": "PNG", "width": 1, "height": 1, "mode": "L"}
        columns = {"id": [key], "sha256": [b"other"], "added_at": np.datetime64("now", "us")}
        insert(connection, "images", {**columns, **facts})
    with pytest.raises(WorkspaceError, match=rf"share id {key}: .*0\.tar#a\.png.*remove one"):
        build(tmp_path / "ws", tmp_path / "0.tar")
    assert rows(tmp_path / "ws", "FROM locations") == []


def test_a_second_build_of_the_workspace_is_refused(crawl: Path, tmp_path: Path) -> None:
    class Impatient(Quadrants):
        def __call__(self, pixels: Pixels) -> NDArray[np.float32]:
            with pytest.raises(WorkspaceError, match="another build-index works in .*ws: wait"):
                build(tmp_path / "ws", crawl / "*.tar")
            return super().__call__(pixels)

    build_index(tmp_path / "ws", [str(crawl / "00000.tar")], Impatient(), workers=0)
    assert len(rows(tmp_path / "ws", "FROM images")) == 3


@pytest.mark.parametrize("name", ["index.faiss", "part-00000.npz"])
def test_after_damage_a_rebuild_mends_or_names(crawl: Path, tmp_path: Path, name: str) -> None:
    build(tmp_path / "ws", crawl / "*.tar")
    before = content(tmp_path / "ws")
    damaged = index_path(tmp_path / "ws", Quadrants.key).with_name(name)
    damaged.write_bytes(damaged.read_bytes()[:-3])
    if name == "index.faiss":
        build(tmp_path / "ws", crawl / "*.tar")
        assert content(tmp_path / "ws") == before
        return
    index_path(tmp_path / "ws", Quadrants.key).unlink()  # so that the parts are needed
    with pytest.raises(WorkspaceError, match=r"part-00000\.npz is missing or damaged: .*verify"):
        build(tmp_path / "ws", crawl / "*.tar")


class KillsDecoders(Quadrants):
    """Every decoder process dies while the first images are being embedded."""

    def __call__(self, pixels: Pixels) -> NDArray[np.float32]:
        for process in multiprocessing.active_children():
            assert process.pid is not None
            with suppress(ProcessLookupError):  # the pool reaps those that are dead as well
                os.kill(process.pid, signal.SIGKILL)
            process.join()
        return super().__call__(pixels)


def test_decoders_that_are_killed_from_outside_lose_nothing(
    crawl: Path, undisturbed: Path, tmp_path: Path
) -> None:
    names = [str(crawl / "*.tar")]
    build_index(tmp_path / "ws", names, KillsDecoders(), workers=2, rows_a_part=1)
    assert content(tmp_path / "ws") == content(undisturbed)


class Told:
    """Progress that keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    @contextmanager
    def step(self, name: str, total: int | None, unit: str) -> Iterator[Advance]:  # noqa: ARG002
        yield lambda _: None

    def say(self, message: str) -> None:
        self.said.append(message)


def test_a_teammates_open_shell_does_not_end_a_build(
    crawl: Path, undisturbed: Path, tmp_path: Path
) -> None:
    catalog = Catalog(tmp_path / "ws")
    with catalog.write():
        pass
    shell = held(catalog.path)
    pids: list[int] = []
    parts: list[int] = []
    one_at_a_time = threading.Lock()

    class Watched(Quadrants):
        def __call__(self, pixels: Pixels) -> NDArray[np.float32]:
            with one_at_a_time:
                if not pids:
                    pids.append(shell.__enter__())
            return super().__call__(pixels)

    class Watching(Told):
        @contextmanager
        def step(self, name: str, total: int | None, unit: str) -> Iterator[Advance]:
            with super().step(name, total, unit) as advance:

                def watched(count: int) -> None:
                    there = len(list((tmp_path / "ws").rglob("part-*.npz")))
                    if there == 2 and not parts:  # two batches wait, their parts are on disk
                        parts.append(there)
                        shell.__exit__(None, None, None)
                    advance(count)

                yield watched

    told = Watching()
    names = [str(crawl / "*.tar")]
    build_index(tmp_path / "ws", names, Watched(), workers=0, rows_a_part=1, progress=told)
    assert parts == [2]
    assert len(told.said) == 1
    assert f"process {pids[0]} " in told.said[0]
    assert "goes on and commits when it is free" in told.said[0]
    assert content(tmp_path / "ws") == content(undisturbed)


def test_formats_that_are_not_asked_for_are_failures_until_they_are(tmp_path: Path) -> None:
    crawl = write_tar(tmp_path / "0.tar", {"a.png": png(0), "b.gif": encode(noise(1), "GIF")})
    ws = tmp_path / "ws"
    few = SourceOptions(formats=("JPEG", "PNG"))
    for _ in range(2):  # what is done stays done, and may be asked for otherwise again
        assert build(ws, crawl, options=few).failed == 1
        assert failures(ws) == {"0.tar#b.gif": "format GIF is not in --formats"}
        assert build(ws, crawl, options=few).failed == 1
        assert build(ws, crawl).failed == 0
        assert rows(ws, "SELECT count(*) FROM partitions") == [(1,)]
    assert len(rows(ws, "FROM locations")) == 2
