"""A folder of hostile files: each ends in `failures` with a reason, the good ones are indexed."""

from __future__ import annotations

import os
import pickle
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from index.decoding import DecodeError, View, decode
from tests.index.helpers import build, encode, failures, noise, png, rows


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width: int, height: int, *between: bytes, pixels: bytes = b"\0" * 4) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    body = b"".join([header, *between, chunk(b"IDAT", zlib.compress(pixels)), chunk(b"IEND", b"")])
    return b"\x89PNG\r\n\x1a\n" + body


def jpeg_of(width: int, height: int) -> bytes:
    """A real JPEG whose header claims another size."""
    data = bytearray(encode(noise(0, 16), "JPEG"))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def bmp_of(width: int, height: int) -> bytes:
    data = bytearray(encode(noise(0, 16), "BMP"))
    data[18:26] = struct.pack("<ii", width, height)
    return bytes(data)


def gif_of(width: int, height: int) -> bytes:
    data = bytearray(encode(noise(0, 16), "GIF"))
    data[6:10] = struct.pack("<HH", width, height)
    return bytes(data)


def tiff_of(width: int, height: int) -> bytes:
    tags = [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 8), (279, 4)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)


BIG_TEXT = zlib.compress(bytes(80_000_000), 9)
BOMBS = {
    "header.png": png_of(100_000, 100_000),
    "just-over.png": png_of(8_001, 8_000),
    "full.png": png_of(8_100, 8_100, pixels=bytes(8_100 * (3 * 8_100 + 1))),
    "header.jpg": jpeg_of(65_500, 65_500),
    "header.bmp": bmp_of(60_000, 60_000),
    "header.gif": gif_of(65_535, 65_535),
    "header.tif": tiff_of(200_000, 200_000),
}
DAMAGED = {
    "text-bomb.png": png_of(1, 1, chunk(b"zTXt", b"k\0\0" + BIG_TEXT)),
    "international-text-bomb.png": png_of(1, 1, chunk(b"iTXt", b"k\0\1\0\0\0" + BIG_TEXT)),
    "profile-bomb.png": png_of(1, 1, chunk(b"iCCP", b"k\0\0" + BIG_TEXT)),
    "truncated.png": png(0, 64)[:-2000],
    "truncated.jpg": encode(noise(0, 64), "JPEG")[:-500],
    "truncated.webp": encode(noise(0, 64), "WEBP")[:-300],
    "truncated.gif": encode(noise(0, 64), "GIF")[:900],
    "truncated.bmp": encode(noise(0, 64), "BMP")[:-100],
    "truncated.tif": encode(noise(0, 64), "TIFF")[:300],
    "wrong-checksum.png": png(0).replace(b"IDAT", b"IDAT\1", 1),
    "no-pixels.png": png_of(64, 64),
}
UNKNOWN = {
    "page.jpg": b"<!DOCTYPE html><html><script>alert(1)</script></html>",
    "signature-only.png": b"\x89PNG\r\n\x1a\n",
    "two-bytes.jpg": b"\xff\xd8",
    "text.webp": b"not an image at all " * 50,
    "zeros.gif": bytes(5000),
    "drawing.png": b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>',
    "archive.jpg": b"PK\x03\x04" + bytes(200),
}


def outside(folder: Path) -> dict[str, tuple[int, int]]:
    """Everything beside the workspace, with size and time of change."""
    return {
        str(path): (path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in folder.rglob("*")
        if "ws" not in path.relative_to(folder).parts
    }


def test_bad_files_are_recorded_and_good_ones_indexed(tmp_path: Path) -> None:
    crawl = tmp_path / "crawl"
    crawl.mkdir()
    bad = {**BOMBS, **DAMAGED, **UNKNOWN, "empty.png": b""}
    good = {f"good-{seed}.png": png(seed) for seed in range(3)}
    for name, data in {**bad, **good}.items():
        (crawl / name).write_bytes(data)
    before = outside(tmp_path)
    summary = build(tmp_path / "ws", crawl, workers=0)
    found = failures(tmp_path / "ws")
    assert found.keys() == bad.keys()
    assert (summary.images, summary.vectors, summary.failed) == (3, 3, len(bad))
    uris = [uri for (uri,) in rows(tmp_path / "ws", "SELECT uri FROM locations ORDER BY 1")]
    assert uris == [str(crawl / name) for name in sorted(good)]
    assert all(found[name].startswith("too many pixels") for name in BOMBS)
    assert all(found[name].startswith("damaged ") for name in DAMAGED)
    assert {found[name] for name in UNKNOWN} == {"not an image of a known format"}
    assert found["empty.png"] == "empty file"
    assert all("\n" not in reason and len(reason) <= 200 for reason in found.values())
    assert outside(tmp_path) == before


def test_the_largest_allowed_size_is_not_a_bomb() -> None:
    with pytest.raises(DecodeError, match="damaged"):  # past the size check: its pixels are cut
        decode(png_of(8_000, 8_000), View(8))
    with pytest.raises(DecodeError, match="too many pixels: 8001x8000 > 64000000"):
        decode(png_of(8_001, 8_000), View(8))


def test_the_callers_bomb_limit_does_not_weaken_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # as people do
    with pytest.raises(DecodeError, match="too many pixels"):
        decode(png_of(100_000, 100_000), View(8))


class Payload:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.target), "w")


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_nothing_is_executed(tmp_path: Path, suffix: str) -> None:
    target = tmp_path / "owned"
    script = f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n({target}) (w) file closefile\n"
    attacks = {"postscript": script.encode(), "shell": f"#!/bin/sh\ntouch {target}\n".encode()}
    attacks["pickle"] = pickle.dumps(Payload(target), protocol=0)
    attacks["pdf"] = b"%PDF-1.4\n/OpenAction << /S /Launch /F (/bin/sh) >>"
    (tmp_path / "crawl").mkdir()
    for name, data in attacks.items():
        (tmp_path / "crawl" / f"{name}.{suffix}").write_bytes(data)
    build(tmp_path / "ws", tmp_path / "crawl")
    assert set(failures(tmp_path / "ws").values()) == {"not an image of a known format"}
    assert len(failures(tmp_path / "ws")) == len(attacks)
    assert not target.exists()


def test_noise_never_escapes_as_another_error() -> None:
    """Every byte of the head of each format, changed: it decodes or says why it does not."""
    for format in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"):
        data = encode(noise(0), format)
        for position in range(min(len(data), 120)):
            changed = data[:position] + bytes([data[position] ^ 0xFF]) + data[position + 1 :]
            try:
                assert decode(changed, View(8)).pixels.shape == (8, 8, 3)
            except DecodeError as error:
                assert str(error)


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "crawl").mkdir()
    with (tmp_path / "crawl" / "big.png").open("wb") as file:
        os.truncate(file.fileno(), 2**33)  # takes no room
    build(tmp_path / "ws", tmp_path / "crawl")
    reason = failures(tmp_path / "ws")["big.png"]
    assert reason == f"too large: {2**33} bytes > {256 * 2**20}"
