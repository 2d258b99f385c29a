"""Exports: what is in them, that they are whole or absent, and that they are sources again."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import duckdb
import pytest

from curate.exporting import ExportOptions, export_manifest
from curate.importing import import_manifest
from curate.options import SelectOptions
from curate.pool import Pool
from curate.selection import select
from index.catalog import Catalog
from index.errors import DataError, UsageError
from index.models import register_model
from tests.distill.workspaces import add_manifest

from .helpers import PROJECT, build, pixels_of, png, query, write_files, write_parquet

LABELS = ["ant", "../be e/\\:*", "cat"]
SELECTED = 9


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Images as files, in a tar with captions, and in Parquet; 10 in all."""
    folder = write_files(tmp_path / "crawl", {f"{n}.png": png(pixels_of(n)) for n in range(4)})
    with tarfile.open(folder / "s.tar", "w") as shard:
        for n in range(4, 7):
            for name, data in (
                (f"{n}.png", png(pixels_of(n))),
                (f"{n}.json", json.dumps({"caption": f'a "{n}", =1+1\n', "tags": [n]}).encode()),
            ):
                header = tarfile.TarInfo(name)
                header.size = len(data)
                shard.addfile(header, io.BytesIO(data))
    rows = [(png(pixels_of(n)), f"https://example.org/{n}") for n in range(7, 10)]
    write_parquet(folder / "p.parquet", "image BLOB, url VARCHAR", rows)
    return folder


@pytest.fixture
def own(mixed: Path, tmp_path: Path) -> Path:
    """A workspace with the manifest `first` of 9 of the 10 images, all of class 1."""
    own = tmp_path / "ws"
    build(own, [mixed, mixed / "s.tar", mixed / "p.parquet"])
    catalog = Catalog(own)
    register_model(catalog, "teacher", "x", "{}", LABELS)
    add_manifest(catalog, "first", "hash-of-first", SELECTED)
    with catalog.write() as connection:
        connection.execute("UPDATE ledger SET pseudo_label = 1")
    return own


def export(own: Path, target: Path, format: str, **options: Any) -> bool:
    done = export_manifest(Catalog(own), "first", target, ExportOptions(format, **options))
    assert (done.images, done.path) == (SELECTED, str(target))
    return done.written


def expected(own: Path) -> list[dict[str, Any]]:
    """The rows of the export, worked out in Python."""
    found = query(
        own,
        'SELECT d."rank", d.image_id, d.weight, l.uri, l.kind, l.metadata, i.sha256 FROM decisions '
        "d JOIN locations l USING (image_id) JOIN images i ON i.id = image_id WHERE selected "
        'ORDER BY "rank"',
    )
    return [
        {
            "rank": rank,
            "image_id": key,
            "pseudo_label": 1,
            "class_name": LABELS[1],
            "weight": weight,
            "score": 0.0,
            "uri": uri,
            "path": uri if kind == "files" else None,
            "width": 16,
            "height": 16,
            "format": "PNG",
            "metadata": json.loads(metadata) if metadata else None,
            "sha256": bytes(sha256).hex(),
        }
        for rank, key, weight, uri, kind, metadata, sha256 in found
    ]


def ids_of(source: str, own: Path) -> set[int]:
    build(own, [Path(source)])
    return {key for (key,) in query(own, "SELECT id FROM images")}


def selected(own: Path) -> set[int]:
    return {row["image_id"] for row in expected(own)}


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def test_a_table_holds_a_row_an_image(own: Path, tmp_path: Path) -> None:
    rows = expected(own)
    assert export(own, tmp_path / "o.jsonl", "jsonl")
    lines = (tmp_path / "o.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == rows
    assert export(own, tmp_path / "o.csv", "csv")
    with (tmp_path / "o.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert list(table[0]) == list(rows[0])
    for text, row in zip(table, rows, strict=True):
        assert (text["image_id"], text["uri"]) == (str(row["image_id"]), row["uri"])
        assert text["path"] == (row["path"] or "") and text["class_name"] == LABELS[1]
        assert (json.loads(text["metadata"]) if text["metadata"] else None) == row["metadata"]
    assert export(own, tmp_path / "o.parquet", "parquet")
    relation = duckdb.sql(f"FROM '{tmp_path / 'o.parquet'}'")
    read = [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]
    for row in read:
        row["metadata"] = json.loads(row["metadata"]) if row["metadata"] else None
    assert read == rows
    assert export(own, tmp_path / "o.txt", "txt")
    assert (tmp_path / "o.txt").read_text().splitlines() == [row["uri"] for row in rows]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "txt"])
def test_an_exported_table_is_imported_as_the_same_manifest(
    scored: Pool, pool: Pool, tmp_path: Path, kind: str
) -> None:
    made = select(pool, "first", SelectOptions("kd3", budget=20))
    file = tmp_path / f"o.{kind}"
    export_manifest(pool.catalog, "first", file, ExportOptions(kind))
    found = import_manifest(pool.catalog, file, "again", pool.teacher)
    assert found.content_hash == made.content_hash


@pytest.mark.parametrize("link", ["copy", "hard", "symbolic"])
def test_a_folder_holds_the_original_bytes(own: Path, tmp_path: Path, link: str) -> None:
    target = tmp_path / "out"
    assert export(own, target, "folder", link=link)
    rows = expected(own)
    for row in rows:
        file = target / f"{row['image_id']:019d}.png"
        assert hashlib.sha256(file.read_bytes()).hexdigest() == row["sha256"]
        assert file.is_symlink() == (link == "symbolic" and row["path"] is not None)
        linked = row["path"] is not None and file.samefile(row["path"])
        assert linked == (link != "copy" and row["path"] is not None)
    named = {f"{row['image_id']:019d}.png" for row in rows} | {"metadata.jsonl", "kdcurate.json"}
    assert {file.name for file in target.iterdir()} == named
    lines = (target / "metadata.jsonl").read_text().splitlines()
    first = {key: value for key, value in rows[0].items() if key != "path"}
    assert json.loads(lines[0]) == {"file_name": f"{rows[0]['image_id']:019d}.png"} | first
    assert ids_of(str(target), tmp_path / "again") == selected(own)
    assert ids_of(str(target / "metadata.jsonl"), tmp_path / "listed") == selected(own)


def test_class_folders_have_safe_names(own: Path, tmp_path: Path) -> None:
    with Catalog(own).write() as connection:
        connection.execute('UPDATE ledger SET pseudo_label = 2 WHERE "rank" <= 2')
        connection.execute('UPDATE ledger SET pseudo_label = 7 WHERE "rank" = 3')
    target = tmp_path / "out"
    export_manifest(Catalog(own), "first", target, ExportOptions("folder", by_class=True))
    folders = {file.name: len(list(file.iterdir())) for file in target.iterdir() if file.is_dir()}
    assert folders == {"0001_bee": SELECTED - 3, "0002_cat": 2, "0007": 1}


def test_webdataset_shards_hold_images_and_json(own: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    assert export(own, target, "webdataset", shard_size=4)
    rows = expected(own)
    members: list[tuple[str, bytes]] = []
    for number, count in enumerate((8, 8, 2)):
        with tarfile.open(target / f"{number:05d}.tar") as shard:
            headers = shard.getmembers()
            assert len(headers) == count
            assert {(h.mtime, h.uid, h.gid, h.mode) for h in headers} == {(0, 0, 0, 0o644)}
            members += [(h.name, shard.extractfile(h).read()) for h in headers]  # type: ignore[union-attr]
    for row, image, document in zip(rows, members[::2], members[1::2], strict=True):
        key = f"{row['image_id']:019d}"
        assert (image[0], document[0]) == (f"{key}.png", f"{key}.json")
        assert hashlib.sha256(image[1]).hexdigest() == row["sha256"]
        facts = json.loads(document[1])
        assert (facts["label"], facts["class"], facts["uri"]) == (1, LABELS[1], row["uri"])
        assert facts.get("metadata") == row["metadata"]
    assert ids_of(str(target / "*.tar"), tmp_path / "again") == selected(own)
    other = tmp_path / "other"
    export(own, other, "webdataset", shard_size=4)
    assert bytes_of(other) == bytes_of(target)


def test_parquet_with_images_is_a_source_again(own: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    assert export(own, target, "parquet", images=True, shard_size=4)
    files = sorted(file.name for file in target.glob("*.parquet"))
    assert files == [f"part-{n:05d}.parquet" for n in range(3)]
    columns = "rank, image_id, sha256, image.bytes, image.path"
    found = duckdb.sql(f"SELECT {columns} FROM '{target}/*.parquet'").fetchall()
    assert [row[:3] for row in found] == [
        (row["rank"], row["image_id"], row["sha256"]) for row in expected(own)
    ]
    assert all(hashlib.sha256(image).hexdigest() == sha for _, _, sha, image, _ in found)
    assert [name for *_, name in found] == [f"{row['image_id']:019d}.png" for row in expected(own)]
    assert ids_of(str(target / "*.parquet"), tmp_path / "again") == selected(own)


def test_a_part_is_cut_before_it_outgrows_memory(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = len(png(pixels_of(0)))
    monkeypatch.setattr("curate.exporting.shards._MOST_BYTES", 2 * size + size // 2)
    export(own, tmp_path / "out", "parquet", images=True)
    rows = [
        duckdb.sql(f"SELECT count(*) FROM '{file}'").fetchall()[0][0]
        for file in sorted((tmp_path / "out").glob("*.parquet"))
    ]
    assert sum(rows) == SELECTED and max(rows) <= 2


@pytest.mark.parametrize("format", ["csv", "folder"])
def test_the_same_export_is_not_written_twice(own: Path, tmp_path: Path, format: str) -> None:
    target = tmp_path / "out"
    assert export(own, target, format)
    stamp = target.stat().st_mtime_ns
    assert not export(own, target, format)
    assert target.stat().st_mtime_ns == stamp


@pytest.mark.parametrize("format", ["csv", "folder", "webdataset"])
def test_what_stands_there_is_never_overwritten(own: Path, tmp_path: Path, format: str) -> None:
    for target in (tmp_path / "file", tmp_path / "empty", tmp_path / "link"):
        if target.name == "file":
            target.write_text("mine")
        elif target.name == "empty":
            target.mkdir()
        else:
            target.symlink_to("nowhere")
        said = "another thing than this export: remove it, or give"
        if target.is_dir() and format == "csv":
            said = r"cannot write .*empty \(it is a folder\): name another file"
        with pytest.raises(UsageError, match=said):
            export(own, target, format)
    assert (tmp_path / "file").read_text() == "mine" and not list((tmp_path / "empty").iterdir())
    assert os.readlink(tmp_path / "link") == "nowhere"
    assert not list(tmp_path.glob(".*tmp"))


def test_another_export_in_its_place_is_refused(own: Path, tmp_path: Path) -> None:
    export(own, tmp_path / "out", "folder")
    with pytest.raises(UsageError, match="another thing than this export"):
        export(own, tmp_path / "out", "folder", by_class=True)


def test_an_image_that_changed_ends_the_export_without_a_trace(
    own: Path, mixed: Path, tmp_path: Path
) -> None:
    taken = next(row["path"] for row in expected(own) if row["path"])
    Path(taken).write_bytes(png(pixels_of(77)))
    with pytest.raises(DataError, match=r"\.png"):
        export(own, tmp_path / "out", "folder")
    assert not list(tmp_path.glob("*out*")) and not list((own / "scratch").iterdir())


def test_images_that_are_gone_from_the_pool_are_counted(own: Path, tmp_path: Path) -> None:
    with Catalog(own).write() as connection:
        connection.execute(
            'DELETE FROM images WHERE id IN (SELECT image_id FROM decisions WHERE "rank" < 3)'
        )
    with pytest.raises(DataError, match="2 of 9 images are no longer in the sources"):
        export(own, tmp_path / "out", "folder")


@pytest.mark.parametrize(
    ("format", "options", "message"),
    [
        ("zip", {}, "--format is 'zip': choose one of parquet, csv"),
        ("folder", {"link": "soft"}, "--link is 'soft'"),
        ("csv", {"link": "hard"}, "--link is for --format folder and fiftyone"),
        ("webdataset", {"by_class": True}, "--by-class is for --format folder"),
        ("csv", {"images": True}, "--images is for --format parquet"),
        ("webdataset", {"shard_size": 0}, "--shard-size is 0"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    own: Path, tmp_path: Path, format: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        export(own, tmp_path / "out", format, **options)
    with pytest.raises(UsageError, match="make its folder first"):
        export(own, tmp_path / "no" / "out", "csv")


def test_a_folder_is_not_where_a_file_can_be(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("curate.exporting.write_rows")  # the work
    with pytest.raises(UsageError, match=r"cannot write .* \(it is a folder\)"):
        export(own, tmp_path, "csv")


_KILLED = """
import os, signal, sys
from pathlib import Path
import curate.exporting.target as target
from curate.exporting import ExportOptions, export_manifest
from index.catalog import Catalog
target._to_disk = lambda _: os.kill(os.getpid(), signal.SIGKILL)
export_manifest(Catalog(Path(sys.argv[1])), "first", Path(sys.argv[2]), ExportOptions(sys.argv[3]))
"""


@pytest.mark.parametrize("format", ["csv", "webdataset"])
def test_after_a_kill_the_same_command_completes(own: Path, tmp_path: Path, format: str) -> None:
    target = tmp_path / "out"
    command = [sys.executable, "-c", _KILLED, str(own), str(target), format]
    killed = subprocess.run(command, cwd=PROJECT, check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not target.exists() and list(tmp_path.glob(".out.kdcurate-tmp"))
    assert export(own, target, format)
    assert target.exists() and not list(tmp_path.glob(".*tmp"))
    assert not list((own / "scratch").iterdir())
