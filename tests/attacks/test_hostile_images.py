"""A folder of hostile files: each ends in `failures` with a reason, the good ones are indexed."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from index.decoding import DecodeError, View, decode
from tests.index.helpers import build, encode, failures, noise, png, rows

from .bad_files import DECODABLE, write
from .damage import png_of


def outside(folder: Path) -> dict[str, tuple[int, int]]:
    """Everything beside the workspace, with size and time of change."""
    return {
        str(path): (path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in folder.rglob("*")
        if "ws" not in path.relative_to(folder).parts
    }


def test_bad_files_are_recorded_and_good_ones_indexed(tmp_path: Path) -> None:
    crawl = tmp_path / "crawl"
    reasons = write(crawl)
    good = {f"good-{seed}.png": png(seed) for seed in range(3)}
    for name, data in good.items():
        (crawl / name).write_bytes(data)
    before = outside(tmp_path)
    summary = build(tmp_path / "ws", crawl, workers=0)
    found = failures(tmp_path / "ws")
    assert len(reasons) > 100
    assert found.keys() == reasons.keys()
    assert {name: found[name][: len(reason)] for name, reason in reasons.items()} == reasons
    assert all("\n" not in reason and len(reason) <= 200 for reason in found.values())
    assert (summary.images, summary.vectors, summary.failed) == (3, 3, len(reasons))
    assert summary.transient == 1
    uris = [uri for (uri,) in rows(tmp_path / "ws", "SELECT uri FROM locations ORDER BY 1")]
    assert uris == [str(crawl / name) for name in sorted(good)]
    assert outside(tmp_path) == before


@pytest.mark.parametrize("name", DECODABLE)
def test_what_is_odd_and_yet_an_image_is_decoded(name: str) -> None:
    assert decode(DECODABLE[name](), View(8), hashed=True).pixels.shape == (8, 8, 3)


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
    found = failures(tmp_path / "ws")
    assert {name.partition(".")[0]: reason for name, reason in found.items()} == {
        "postscript": "not an image of a known format: PostScript",
        "shell": "not an image of a known format: script",
        "pickle": "not an image of a known format: text",
        "pdf": "not an image of a known format: PDF",
    }
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
