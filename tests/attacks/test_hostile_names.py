"""Names are text: they reach no shell, no SQL, no glob, and nothing that is not a plain file."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from index.errors import DataError
from tests.index.helpers import build, failures, png, rows

NAMES = (
    "'); DROP TABLE images; --.png",
    "quote\"s and 's.png",
    "[red]markup[link=x] [bold].png",
    "<script>alert(1)</script>.png".replace("/", "\u2215"),
    "$(touch owned) `touch owned` ; | &.png",
    "-rf --help.png",
    "line\nbreak\tand \x1b[31mescape.png",
    "emoji \U0001f600 \u202e gnp.png",
    "star*?[1].png",
    "back\\slash%s{0}.png",
    "#fragment.png",
    " .png",
)


@pytest.fixture(autouse=True)
def never_for_ever() -> Iterator[None]:
    """A pipe that is read would block without end: turn that into a failure."""
    signal.alarm(60)
    yield
    signal.alarm(0)


def test_any_name_is_indexed_under_itself(tmp_path: Path) -> None:
    crawl = tmp_path / "crawl"
    crawl.mkdir()
    for seed, name in enumerate(NAMES):
        (crawl / name).write_bytes(png(seed))
    summary = build(tmp_path / "ws", crawl)
    assert (summary.images, summary.failed) == (len(NAMES), 0)
    found = {uri for (uri,) in rows(tmp_path / "ws", "SELECT uri FROM locations")}
    assert found == {str(crawl / name) for name in NAMES}
    assert not list(tmp_path.rglob("owned"))


def test_a_folder_of_any_name_is_a_source(tmp_path: Path) -> None:
    for seed, name in enumerate(("quote\"s and 's", "star*?[1]", "back\\slash%s{0}", "#fragment")):
        folder = tmp_path / name / "x"
        folder.mkdir(parents=True)
        (folder / "0.png").write_bytes(png(seed))
        assert build(tmp_path / "ws", folder).images == seed + 1


def test_names_that_are_not_utf8_are_recorded(tmp_path: Path) -> None:
    crawl = tmp_path / "crawl"
    crawl.mkdir()
    (crawl / "good.png").write_bytes(png(0))
    Path(os.fsdecode(os.fsencode(crawl) + b"/caf\xe9.png")).write_bytes(png(1))
    summary = build(tmp_path / "ws", crawl)
    assert (summary.images, summary.failed) == (1, 1)
    assert failures(tmp_path / "ws") == {"caf\\xe9.png": "file name is not UTF-8: rename it"}


def test_a_source_whose_own_name_is_not_utf8_is_refused(tmp_path: Path) -> None:
    crawl = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    crawl.mkdir()
    (crawl / "0.png").write_bytes(png(0))
    with pytest.raises(DataError, match=r"not UTF-8: .*caf\\udce9.*rename it") as caught:
        build(tmp_path / "ws", crawl)
    str(caught.value).encode()


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    crawl = tmp_path / "crawl"
    (crawl / "folder.png").mkdir(parents=True)
    (crawl / "folder.png" / "inside.png").write_bytes(png(0))
    os.mkfifo(crawl / "pipe.png")
    (crawl / "device.png").symlink_to("/dev/null")
    (crawl / "dangling.png").symlink_to(crawl / "absent")
    (crawl / "loop.png").symlink_to(crawl / "loop.png")
    (crawl / "link.png").symlink_to(crawl / "folder.png" / "inside.png")
    (crawl / "parent").symlink_to(crawl)  # walked into, it would never end
    (crawl / "secret.png").symlink_to("/etc/passwd")
    summary = build(tmp_path / "ws", crawl)
    assert failures(tmp_path / "ws") == {
        "pipe.png": "cannot be read: not a regular file",
        "device.png": "cannot be read: not a regular file",
        "dangling.png": "cannot be read: No such file or directory",
        "loop.png": "cannot be read: Too many levels of symbolic links",
        "secret.png": "not an image of a known format: text",
    }
    assert (summary.images, summary.duplicates) == (1, 1)


@pytest.mark.parametrize("name", ["pipe.tar", "pipe.parquet", "pipe.png"])
def test_a_pipe_is_no_source(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match="neither a folder nor a regular file"):
        build(tmp_path / "ws", tmp_path / name)


def test_a_folder_that_cannot_be_listed_is_a_failure(tmp_path: Path) -> None:
    crawl = tmp_path / "crawl"
    crawl.mkdir()
    (crawl / "good.png").write_bytes(png(0))
    descriptor = os.open(crawl, os.O_RDONLY)
    for _ in range(20):  # deeper than a path may be long
        os.mkdir("d" * 250, dir_fd=descriptor)
        below = os.open("d" * 250, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)
    summary = build(tmp_path / "ws", crawl)
    assert (summary.images, summary.failed) == (1, 1)
    (reason,) = failures(tmp_path / "ws").values()
    assert reason == "cannot be read: File name too long"
