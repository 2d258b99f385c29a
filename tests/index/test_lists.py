"""Lists of paths: every row ends as an image with its columns, or as a failure."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import duckdb
import pytest

from index import sources
from index.catalog import Catalog
from index.decoding import View
from index.errors import DataError, UsageError
from index.reading import read_images
from index.sources import Item, SourceOptions

from .helpers import build, encode, failures, noise, png, rows, write_tar


def items(name: Path) -> list[Item]:
    return [item for part in sources.partitions([str(name)]) for item in sources.read(part)]


def keys(name: Path) -> list[str]:
    return [part.key for part in sources.partitions([str(name)])]


def write_parquet(path: Path, query: str) -> Path:
    with duckdb.connect() as connection:
        connection.execute(f"COPY ({query}) TO '{path}' (FORMAT parquet)")
    return path


@pytest.fixture
def crawl(tmp_path: Path) -> Path:
    """Images 0.png to 3.png below deep/, to be listed from above."""
    folder = tmp_path / "crawl"
    (folder / "deep").mkdir(parents=True)
    for seed in range(4):
        (folder / "deep" / f"{seed}.png").write_bytes(png(seed))
    return folder


CAPTION = '"a, ""b""\nc"'  # as CSV writes it
LISTS = {
    "l.txt": "deep/0.png\n\n{absolute}\r\ndeep/absent.png\n",
    "l.csv": f"id,path,caption\n007,deep/0.png,{CAPTION}\n8,{{absolute}},\n9,deep/absent.png\n",
    "l.tsv": f"id\tfile_name\tcaption\n007\tdeep/0.png\t{CAPTION}\n8\t{{absolute}}\t\n"
    "9\tdeep/absent.png\t\n",
    "semicolon.csv": f"\ufeffFilePath;id;caption\ndeep/0.png;007;{CAPTION}\n{{absolute}};8;\n"
    "deep/absent.png;9\n",
    "l.jsonl": '{{"image_path": "deep/0.png", "id": "007", "caption": "a, \\"b\\"\\nc"}}\n'
    '{{"image_path": "{absolute}", "id": "8", "caption": null}}\n\n'
    '{{"image_path": "deep/absent.png", "id": "9"}}',
}


@pytest.mark.parametrize("name", [*LISTS, "l.parquet"])
def test_every_kind_of_list_gives_the_same_images(
    crawl: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    absolute = str(crawl / "deep" / "1.png")
    if name == "l.parquet":
        write_parquet(
            crawl / name,
            "SELECT * FROM (VALUES ('deep/0.png', '007', 'a, \"b\"\nc'), "
            f"('{absolute}', '8', NULL), ('deep/absent.png', '9', NULL)) t(path, id, caption)",
        )
    else:
        (crawl / name).write_text(LISTS[name].format(absolute=absolute), newline="")
    monkeypatch.chdir(tmp_path)  # paths are relative to the list
    summary = build(tmp_path / "ws", Path("crawl") / name)
    assert (summary.images, summary.failed) == (2, 1)
    assert failures(tmp_path / "ws") == {"absent.png": "cannot be read: No such file or directory"}
    found = rows(tmp_path / "ws", "SELECT uri, kind, container, metadata FROM locations ORDER BY 1")
    uris = [str(crawl / "deep" / f"{seed}.png") for seed in range(2)]
    assert [row[:3] for row in found] == [(uri, "list", uri) for uri in uris]
    metadata = [json.loads(row[3] or "{}") for row in found]
    text = {"id": "007", "caption": 'a, "b"\nc'}
    assert metadata == ([{}, {}] if name == "l.txt" else [text, {"id": "8"}])


@pytest.mark.parametrize("workers", [0, 2])
def test_listed_images_are_read_again_without_the_list(
    crawl: Path, tmp_path: Path, workers: int
) -> None:
    (crawl / "l.txt").write_text("deep/2.png\ndeep/3.png\n")
    build(tmp_path / "ws", crawl / "l.txt", workers=workers)
    (crawl / "l.txt").unlink()
    ((ids, pixels),) = read_images(Catalog(tmp_path / "ws"), View(8), workers=0)
    assert len(ids) == 2
    assert {image.tobytes() for image in pixels} == {noise(2).tobytes(), noise(3).tobytes()}


def test_what_parquet_holds_travels_as_json(crawl: Path) -> None:
    path = write_parquet(
        crawl / "l.parquet",
        "SELECT 'deep/0.png' AS url, 'deep/1.png' AS file, 3 AS n, 'NaN'::DOUBLE AS nan, "
        "DATE '2020-01-01' AS day, [1.5::DOUBLE] AS box, 'x'::BLOB AS feature, "
        "MAP {DATE '2020-01-02': 1} AS by_day",
    )
    (item,) = items(path)
    assert item.uri == str(crawl / "deep" / "1.png")  # a path goes before a url
    assert item.metadata == {
        "url": "deep/0.png",
        "n": 3,
        "nan": None,
        "day": "2020-01-01",
        "box": [1.5],
        "by_day": {"2020-01-02": 1},
    }


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("l.csv", "a,b\n1,2\n", r"l\.csv has no column of paths \(a, b\): name it one of path,"),
        ("l.csv", "", r"l\.csv has no column of paths \(empty\)"),
        ("l.csv", "path,a\n0.png,1,2,3\n", "not a readable list of paths: .*mend it"),
        ("l.csv", "path\n\udcff.png\n", "not a readable list of paths: .*mend it"),
        ("l.tsv", "path,a\nx,y\n", r"no column of paths \(path,a\)"),
        ("l.jsonl", '{"a": 1}\n', r"l\.jsonl has no column of paths \(a\)"),
        ("l.txt", "x" * 2**20, r"line 1 of .*l\.txt is too long"),
    ],
)
def test_a_list_without_paths_is_one_clear_line(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    (tmp_path / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=said) as caught:
        items(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_parquet_file_of_neither_images_nor_paths_is_named(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "l.parquet", "SELECT 1 AS path, 'x' AS caption")
    with pytest.raises(DataError, match=r"l\.parquet has no column of image bytes"):
        items(path)


def test_the_table_beside_a_shard_is_no_list(tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", {"1.png": png(1)})
    path = write_parquet(tmp_path / "0.parquet", "SELECT 'http://x/1.png' AS url, '1' AS key")
    with pytest.raises(DataError, match=r"0\.parquet has no column of image bytes"):
        items(path)


def test_rows_that_are_no_path_are_failures(crawl: Path, tmp_path: Path) -> None:
    lines = ['{"path": "deep/0.png"}', "{broken", "[1]", '{"path": 7}', '{"path": ""}']
    lines += ['{"path": "a\\u0000b"}', '{"path": "deep"}', '{"id": 1}', "[" * 100_000]
    lines += ['{"path": "\\ud800.png"}', json.dumps({"path": "x" * 5000})]
    lines += ['{"path": "deep/1.png", "a": ' + "[" * 600 + "]" * 600 + "}"]
    (crawl / "l.jsonl").write_text("\n".join(lines))
    summary = build(tmp_path / "ws", crawl / "l.jsonl")
    assert (summary.images, summary.failed) == (1, 11)
    found = failures(tmp_path / "ws")
    expected = {
        "l.jsonl#1": "not valid JSON",
        "l.jsonl#2": "not a JSON object",
        "l.jsonl#3": "no path in this row",
        "l.jsonl#4": "no path in this row",
        "l.jsonl#5": "no path can hold these characters",
        "deep": "cannot be read: not a regular file",
        "l.jsonl#7": "no path in this row",
        "l.jsonl#8": "not valid JSON",
        "l.jsonl#9": "no path can hold these characters",
        "l.jsonl#11": "nested too deeply",
        "x" * 5000: "cannot be read: File name too long",
    }
    assert {name: found[name] for name in expected} == expected
    assert len(found) == 11


def test_a_row_that_is_added_changes_one_partition_only(crawl: Path) -> None:
    lines = [f"deep/{i}.png" for i in range(3000)]
    (crawl / "l.txt").write_text("\n".join(lines))
    before = keys(crawl / "l.txt")
    assert len(before) >= 6
    assert keys(crawl / "l.txt") == before
    (crawl / "l.txt").write_text("\n".join(["deep/x.png", *lines, "deep/y.png"]))
    after = keys(crawl / "l.txt")
    assert after[1:-1] == before[1:-1]
    assert (after[0], after[-1]) != (before[0], before[-1])


def test_a_listed_file_that_changed_changes_its_partition(crawl: Path) -> None:
    (crawl / "l.txt").write_text("deep/0.png\n")
    before = keys(crawl / "l.txt")
    os.utime(crawl / "l.txt", ns=(0, 0))  # the same list, written again
    assert keys(crawl / "l.txt") == before
    (crawl / "deep" / "0.png").write_bytes(encode(noise(9), "BMP"))
    assert keys(crawl / "l.txt") != before


def test_a_new_caption_replaces_the_old_one(crawl: Path, tmp_path: Path) -> None:
    found: list[Any] = []
    for caption in ("a cat", "a dog"):
        (crawl / "l.csv").write_text(f"path,caption\ndeep/0.png,{caption}\n")
        build(tmp_path / "ws", crawl / "l.csv")
        found += rows(tmp_path / "ws", "SELECT metadata->>'caption' FROM locations")
    assert found == [("a cat",), ("a dog",)]


@pytest.mark.parametrize("name", ["l.csv", "l.jsonl", "l.parquet"])
def test_the_column_of_paths_may_be_named(crawl: Path, name: str) -> None:
    if name == "l.csv":
        (crawl / name).write_text("path,My File\nhttp://x/0,deep/0.png\n")
    elif name == "l.jsonl":
        (crawl / name).write_text('{"path": "http://x/0", "My File": "deep/0.png"}\n')
    else:
        write_parquet(crawl / name, "SELECT 'http://x/0' AS path, 'deep/0.png' AS \"My File\"")
    options = SourceOptions("my file")
    sources.check([str(crawl / name)], options)
    (part,) = sources.partitions([str(crawl / name)], options)
    (item,) = sources.read(part)
    assert (item.data, item.metadata) == (png(0), {"path": "http://x/0"})
    with pytest.raises(DataError, match=r"no column absent of .*: its columns are path, My File$"):
        list(sources.partitions([str(crawl / name)], SourceOptions("absent")))


def test_lines_have_no_columns_to_name(crawl: Path) -> None:
    (crawl / "l.txt").write_text("deep/0.png\n")
    with pytest.raises(UsageError, match="lists with columns"):
        sources.check([str(crawl / "l.txt")], SourceOptions("photo"))
