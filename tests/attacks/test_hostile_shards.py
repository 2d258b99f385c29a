"""Tars and Parquet files made to escape, to hang, or to hide what they hold."""

from __future__ import annotations

import gzip
import io
import json
import signal
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from index.errors import DataError
from tests.index.helpers import build, failures, png, rows, write_tar

from .test_hostile_images import outside


@pytest.fixture(autouse=True)
def never_for_ever() -> Iterator[None]:
    """A header that leads back to itself would be listed without end."""
    signal.alarm(60)
    yield
    signal.alarm(0)


def member(name: str, data: bytes = b"", **header: Any) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in header.items():
        setattr(info, field, value)
    body = data + bytes(-len(data) % 512)
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape") + body


def shard(folder: Path, *blocks: bytes, end: bytes = bytes(1024)) -> Path:
    path = folder / "s.tar"
    path.write_bytes(b"".join(blocks) + end)
    return path


def uris(workspace: Path) -> list[str]:
    found = rows(workspace, "SELECT uri FROM locations ORDER BY position")
    return [uri.rpartition("s.tar#")[2] for (uri,) in found]


def test_names_that_climb_out_write_nothing(tmp_path: Path) -> None:
    names = ["../../up.png", f"{tmp_path}/absolute.png", "a/../../b.png", "..", "/"]
    blocks = [member(name, png(seed)) for seed, name in enumerate(names)]
    (tmp_path / "a" / "b").mkdir(parents=True)
    path = shard(tmp_path / "a" / "b", *blocks)
    before = outside(tmp_path)
    build(tmp_path / "ws", path)
    assert uris(tmp_path / "ws") == names[:3]
    assert outside(tmp_path) == before


def test_links_devices_and_pipes_are_failures(tmp_path: Path) -> None:
    kinds = {
        "symlink.png": {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"},
        "hardlink.png": {"type": tarfile.LNKTYPE, "linkname": "../../secret.png"},
        "device.png": {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 5},
        "block.png": {"type": tarfile.BLKTYPE},
        "pipe.png": {"type": tarfile.FIFOTYPE},
        "folder.png": {"type": tarfile.DIRTYPE},
    }
    blocks = [member(name, **header) for name, header in kinds.items()]
    path = shard(tmp_path, *blocks, member("good.png", png(0)))
    build(tmp_path / "ws", path)
    assert failures(tmp_path / "ws") == {f"s.tar#{n}": "not a regular file" for n in kinds}
    assert uris(tmp_path / "ws") == ["good.png"]


def test_a_truncated_shard_keeps_what_is_whole(tmp_path: Path) -> None:
    path = shard(tmp_path, member("a.png", png(0)), member("b.png", png(1)), end=b"")
    path.write_bytes(path.read_bytes()[:-450])
    build(tmp_path / "ws", path)
    assert uris(tmp_path / "ws") == ["a.png"]
    found = failures(tmp_path / "ws")
    assert found["s.tar#b.png"] == "truncated tar member"
    assert "the tar is damaged at byte" in found["s.tar#"]


def test_what_follows_a_damaged_header_is_not_lost_silently(tmp_path: Path) -> None:
    path = shard(tmp_path, member("a.png", png(0)), b"\xff" * 512, member("b.png", png(1)))
    build(tmp_path / "ws", path)
    assert uris(tmp_path / "ws") == ["a.png"]
    at = len(member("a.png", png(0)))
    assert failures(tmp_path / "ws") == {
        "s.tar#": f"the tar is damaged at byte {at}: what follows is not read"
    }


def with_size(block: bytes, size: bytes) -> bytes:
    """The same header, claiming another size, with its checksum made anew."""
    head = bytearray(block[:512])
    head[124:136] = size
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head) + block[512:]


@pytest.mark.parametrize(
    "size",
    [
        (-512 % 2**96).to_bytes(12, "big"),  # base 256: steps back onto itself
        (-1024 % 2**96).to_bytes(12, "big"),
        b"\x80" + (2**62).to_bytes(11, "big"),
        b"99999999999\0",
    ],
)
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_size_that_lies_ends_in_a_failure(tmp_path: Path, size: bytes, kind: bytes) -> None:
    lying = with_size(member("b.png", png(1), type=kind), size)
    path = shard(tmp_path, member("a.png", png(0)), lying, member("c.png", png(2)))
    build(tmp_path / "ws", path)
    assert "a.png" in uris(tmp_path / "ws")
    assert any("damaged" in reason for reason in failures(tmp_path / "ws").values())


@pytest.mark.parametrize(
    "data",
    [b"<html>" * 200, gzip.compress(png(0)), b"\xff" * 2048],
    ids=["html", "gzip", "noise"],
)
def test_what_is_no_tar_is_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "s.tar").write_bytes(data)
    with pytest.raises(DataError, match=r"not a readable tar: .*s\.tar"):
        build(tmp_path / "ws", tmp_path / "s.tar")
    write_tar(tmp_path / "good.tar", {"good.png": png(0)})
    assert build(tmp_path / "ws", tmp_path / "*.tar").images == 1
    assert failures(tmp_path / "ws")["s.tar"].startswith("not a readable tar (")


def test_hostile_side_files_stay_text(tmp_path: Path) -> None:
    sidecars = {
        "0.txt": "'); DROP TABLE images; -- \0 [red]x[/red] <script> \U0001f600".encode(),
        "1.txt": b"\xff\xfe not UTF-8",
        "2.json": b'{"x": NaN, "y": -Infinity, "z": 1e999, "w": [NaN]}',
        "3.json": b'{"\\ud800": "\\udfff lone \\u0000"}',
        "4.json": b"[" * 50_000,
        "5.json": b'{"a":' * 600 + b"1" + b"}" * 600,
        "6.json": b'{"caption": "' + b"x" * 2**20 + b'"}',
        "7.json": b'{"n": ' + b"9" * 6000 + b"}",
    }
    images = {f"{i}.png": png(i) for i in range(8)}
    summary = build(tmp_path / "ws", write_tar(tmp_path / "s.tar", {**images, **sidecars}))
    assert (summary.images, summary.failed) == (8, 0)
    found = rows(tmp_path / "ws", "SELECT metadata FROM locations ORDER BY uri")
    text = [json.loads(row, parse_constant=pytest.fail) if row else None for (row,) in found]
    assert text[0] == {"caption": sidecars["0.txt"].decode()}
    assert text[1] == {"caption": "\ufffd\ufffd not UTF-8"}
    assert text[2] == {"x": None, "y": None, "z": None, "w": [None]}
    assert text[3] == {"?": "? lone \0"}
    assert text[4] == text[7] == {"json_error": "not valid JSON"}
    assert text[6] is None  # too long for a side file


def test_member_names_of_any_bytes_are_kept_apart(tmp_path: Path) -> None:
    names = ["caf\udce9.png", "'; DROP TABLE x.png", "[b]x[/b].png", "new\nline.png"]
    blocks = [member(name, png(seed)) for seed, name in enumerate(names)]
    build(tmp_path / "ws", shard(tmp_path, *blocks))
    assert uris(tmp_path / "ws") == ["caf\\xe9.png", *names[1:]]


def write_parquet(path: Path, query: str, *parameters: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = path.with_name("plain.pq")
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE t AS " + query, list(parameters))
        connection.execute(f"COPY t TO '{plain}' (FORMAT parquet)")
    return plain.rename(path)


@pytest.mark.parametrize(
    "name",
    [
        *("it's.parquet", 'say "x".parquet', "a;b--.parquet", "emoji \U0001f600.parquet"),
        *("a*.parquet", "a?.parquet", "a[1].parquet", "{x}.parquet", "image=1/x.parquet"),
    ],
)
def test_a_parquet_name_is_neither_sql_nor_a_pattern(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "crawl"
    write_parquet(folder / "a1.parquet", "SELECT ?::BLOB AS image", png(99))
    path = write_parquet(folder / name, "SELECT ?::BLOB AS image, 7 AS label", png(0))
    summary = build(tmp_path / "ws", path)
    assert (summary.images, summary.failed) == (1, 0)
    found = rows(tmp_path / "ws", "SELECT uri, metadata::VARCHAR FROM locations")
    assert found == [(f"{path}#0", '{"label": 7}')]


def test_odd_columns_travel_as_json(tmp_path: Path) -> None:
    columns = {
        '"quote"" \'s"': "1",
        '"; DROP TABLE x"': "'x'",
        '"kdcurate_image"': "'y'",
        '"nan"': "'NaN'::DOUBLE",
        '"map"': "MAP {DATE '2020-01-01': 'a'::BLOB, DATE '2020-01-02': 'b'::BLOB}",
        '"keys"': "MAP {'k'::BLOB: 1}",
        '"when"': "TIMESTAMP '2020-01-01 00:00:00'",
        '"nul"': "'a' || chr(0) || 'b'",
    }
    listed = ", ".join(f"{value} AS {name}" for name, value in columns.items())
    path = write_parquet(tmp_path / "s.parquet", f"SELECT ?::BLOB AS image, {listed}", png(0))
    assert build(tmp_path / "ws", path).images == 1
    ((text,),) = rows(tmp_path / "ws", "SELECT metadata FROM locations")
    found = json.loads(text, parse_constant=pytest.fail)
    assert found.pop("quote\" 's") == 1
    assert (found["nan"], found["nul"]) == (None, "a\0b")
    assert (found["kdcurate_image"], found["; DROP TABLE x"]) == ("y", "x")
    assert len(rows(tmp_path / "ws", "FROM images")) == 1


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELECT 1 AS other", "has no column of image bytes"),
        ("SELECT {'x': {'bytes': 'y'::BLOB}} AS image", "has no column of image bytes"),
        ("SELECT {'my_bytes': 'y'::BLOB} AS image", "has no column of image bytes"),
        ("SELECT ['y'::BLOB] AS image", "has no column of image bytes"),
        ("SELECT 'y'::BLOB AS image, 0 AS file_row_number", "rename it"),
    ],
)
def test_a_parquet_file_of_the_wrong_shape_is_named(tmp_path: Path, query: str, said: str) -> None:
    path = write_parquet(tmp_path / "s.parquet", query)
    with pytest.raises(DataError, match=rf"s\.parquet .*{said}"):
        build(tmp_path / "ws", path)


def test_what_is_no_parquet_is_named(tmp_path: Path) -> None:
    path = tmp_path / "s.parquet"
    whole = write_parquet(tmp_path / "w.parquet", "SELECT 'x'::BLOB AS image").read_bytes()
    good = write_tar(tmp_path / "good.tar", {"good.png": png(0)})
    for data in (b"", b"<html>", b"PAR1" + bytes(100) + b"PAR1", whole[:-9]):
        path.write_bytes(data)
        with pytest.raises(DataError, match=r"not a readable Parquet file: .*s\.parquet"):
            build(tmp_path / "ws", path)
        assert build(tmp_path / "ws", path, good).images == 1
        said = "not a readable Parquet file; mend or remove it"
        assert failures(tmp_path / "ws") == {"s.parquet": said}


def test_damaged_pages_of_a_parquet_file_are_failures(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "s.parquet", "SELECT ?::BLOB AS image FROM range(3)", png(0))
    data = bytearray(path.read_bytes())
    data[4:60] = b"\xff" * 56  # the header of the first page
    path.write_bytes(data)
    good = io.BytesIO(png(1)).getvalue()
    build(tmp_path / "ws", path, write_tar(tmp_path / "s.tar", {"good.png": good}))
    found = failures(tmp_path / "ws")
    assert found.keys() == {f"s.parquet#{row}" for row in range(3)}
    assert all(reason.startswith("damaged Parquet: ") for reason in found.values())
    assert uris(tmp_path / "ws") == ["good.png"]
