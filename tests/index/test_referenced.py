"""Parquet files that name their images in place of bytes, as struct{bytes: null, path}."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb

from index import sources
from index.catalog import Catalog
from index.decoding import View
from index.reading import read_images

from .helpers import build, failures, noise, png, rows


def write(folder: Path, paths: list[str | None]) -> Path:
    """Image 0 with its bytes, then rows that have only these paths."""
    (folder / "deep").mkdir(parents=True)
    for seed in range(1, 4):
        (folder / "deep" / f"{seed}.png").write_bytes(png(seed))
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE t (image STRUCT(bytes BLOB, path VARCHAR), label INT)")
        connection.execute("INSERT INTO t VALUES ({'bytes': ?, 'path': 'in.png'}, 0)", [png(0)])
        for number, path in enumerate(paths, 1):
            row = [None, path, number]
            connection.execute("INSERT INTO t VALUES ({'bytes': ?, 'path': ?}, ?)", row)
        connection.execute(f"COPY t TO '{folder / 's.parquet'}'")
    return folder / "s.parquet"


def test_an_image_is_read_from_its_path(tmp_path: Path) -> None:
    folder = tmp_path / "crawl"
    path = write(folder, ["deep/1.png", str(folder / "deep" / "2.png"), None, "deep/absent.png"])
    build(tmp_path / "ws", path, workers=1)
    assert failures(tmp_path / "ws") == {
        "s.parquet#3": "no image bytes in this row",
        "absent.png": "cannot be read: No such file or directory",
    }
    found = rows(tmp_path / "ws", "SELECT kind, uri, metadata FROM locations ORDER BY kind, uri")
    deep = folder / "deep"
    assert [row[:2] for row in found] == [
        ("files", str(deep / "1.png")),
        ("files", str(deep / "2.png")),
        ("parquet", f"{path}#0"),
    ]
    assert json.loads(found[0][2]) == {"label": 1, "path": "deep/1.png"}
    ((_, pixels),) = read_images(Catalog(tmp_path / "ws"), View(8), workers=0)
    assert {image.tobytes() for image in pixels} == {noise(n).tobytes() for n in range(3)}

    (deep / "absent.png").write_bytes(png(3))
    assert build(tmp_path / "ws", path).images == 4
    assert failures(tmp_path / "ws").keys() == {"s.parquet#3"}


def test_no_path_leads_out_of_the_folder(tmp_path: Path) -> None:
    for name in ("secret.png", "crawl.png"):
        (tmp_path / name).write_bytes(png(9))
    (tmp_path / "crawl").mkdir()
    (tmp_path / "crawl" / "link").symlink_to(tmp_path)
    paths = [
        "link/secret.png",
        "../secret.png",
        f"{tmp_path}/secret.png",
        "deep/../../crawl.png",
        "file:///etc/x",
    ]
    summary = build(tmp_path / "ws", write(tmp_path / "crawl", [*paths, "deep/../deep/1.png"]))
    assert (summary.images, summary.failed) == (2, 5)
    assert all("leads out of the folder" in why for why in failures(tmp_path / "ws").values())


def test_each_partition_has_the_paths_of_its_own_rows(tmp_path: Path) -> None:
    count = 1100
    path = write(tmp_path / "crawl", ["deep/1.png"])
    with duckdb.connect() as connection:
        connection.execute(
            "COPY (SELECT {'bytes': NULL::BLOB, 'path': 'deep/' || range || '.png'} AS image "
            f"FROM range({count})) TO '{path}' (FORMAT parquet)"
        )
    listed = [part.entries[3] for part in sources.partitions([str(path)])]
    assert [len(entries) for entries in listed] == [512, 512, count - 1024]
    assert [entry[0] for entries in listed for entry in entries] == list(range(count))
