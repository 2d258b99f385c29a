"""How damaged, lying and foreign files are made, from real ones where that is possible."""

from __future__ import annotations

import io
import os
import socket
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from tests.index.helpers import encode, noise

Maker = Callable[[], bytes]


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width: int, height: int, *between: bytes, pixels: bytes = b"\0" * 4) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    body = b"".join([header, *between, chunk(b"IDAT", zlib.compress(pixels)), chunk(b"IEND", b"")])
    return b"\x89PNG\r\n\x1a\n" + body


def whole(format: str, size: int = 64) -> bytes:
    return encode(noise(0, size), format)


def cut(format: str, share: float) -> Maker:
    """The first bytes of a real file of this format."""
    return lambda: whole(format)[: int(len(whole(format)) * share)]


def head(format: str, count: int) -> Maker:
    return lambda: whole(format)[:count]


def patched(format: str, position: int, code: str, *values: int) -> Maker:
    """A real file with other numbers at a position."""

    def make() -> bytes:
        data = bytearray(whole(format, 16))
        struct.pack_into(code, data, position, *values)
        return bytes(data)

    return make


def jpeg_of(width: int, height: int) -> bytes:
    """A real JPEG whose header claims another size."""
    data = bytearray(whole("JPEG", 16))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def jpeg_without(marker: int) -> Maker:
    """A real JPEG whose segments of one kind are left out."""

    def make() -> bytes:
        data, found, position = whole("JPEG"), bytearray(b"\xff\xd8"), 2
        while data[position + 1] != 0xDA:
            length = 2 + struct.unpack_from(">H", data, position + 2)[0]
            if data[position + 1] != marker:
                found += data[position : position + length]
            position += length
        return bytes(found) + (b"" if marker == 0xDA else data[position:])

    return make


def webp_of(width: int, height: int) -> bytes:
    """An extended WebP whose canvas claims another size."""
    canvas = struct.pack("<I", 0x10) + struct.pack("<II", width - 1, height - 1)[:3]
    canvas += struct.pack("<I", height - 1)[:3]
    body = b"WEBPVP8X" + struct.pack("<I", 10) + canvas + whole("WEBP", 16)[12:]
    return b"RIFF" + struct.pack("<I", len(body)) + body


def tiff_of(*entries: tuple[int, int, int, int], following: int = 0) -> bytes:
    """A TIFF with these (tag, type, count, value) entries in its only directory."""
    packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    head = b"II*\0" + struct.pack("<IH", 8, len(entries))
    return head + packed + struct.pack("<I", following)


def grey_tiff(width: int = 16, height: int = 16, compression: int = 1, **other: int) -> bytes:
    bits, strip = other.get("bits", 8), other.get("strip", 8)
    tags = [(256, width), (257, height), (258, bits), (259, compression), (262, 1)]
    tags += [(273, strip), (279, other.get("length", 256))]
    following = other.get("following", 0)
    return tiff_of(*((tag, 4, 1, value) for tag, value in tags), following=following)


def tiff_without(tag: int) -> bytes:
    entries = [(256, 16), (257, 16), (258, 8), (259, 1), (262, 1), (273, 8), (279, 256)]
    return tiff_of(*((name, 4, 1, value) for name, value in entries if name != tag))


def zeros_in_a_zip() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(10_000_000))
    return stream.getvalue()


def gif_without_frames() -> bytes:
    return b"GIF89a" + struct.pack("<HHBBB", 16, 16, 0x80, 0, 0) + bytes(6) + b";"


def gif_code_size() -> bytes:
    frame = b"," + struct.pack("<HHHHB", 0, 0, 16, 16, 0) + b"\x20" + b"\2\xff\xff\0;"
    return gif_without_frames()[:-1] + frame


def avif_box(name: bytes, change: Callable[[bytearray, int], None]) -> Maker:
    """A real AVIF one of whose boxes is changed."""

    def make() -> bytes:
        data = bytearray(whole("AVIF"))
        change(data, data.index(name))
        return bytes(data)

    return make


def other(format: str) -> Maker:
    """A whole image of a format that is not opened."""
    return lambda: encode(Image.new("RGB", (16, 16), (250, 10, 20)), format)


def broken_later_frame(format: str) -> Maker:
    """An animation whose first frame is whole."""

    def make() -> bytes:
        frames = [Image.fromarray(noise(seed, 64)) for seed in range(3)]
        data = bytearray(encode(frames[0], format, save_all=True, append_images=frames[1:]))
        start = data.index(b"fcTL", 200) + 60 if format == "PNG" else len(data) * 2 // 3
        data[start : start + 200] = bytes(200)
        return bytes(data)

    return make


def rename_box(data: bytearray, at: int) -> None:
    data[at : at + 4] = b"free"


def grow_box(data: bytearray, at: int) -> None:
    data[at - 4 : at] = b"\x7f\xff\xff\xff"


def link(target: str) -> Callable[[Path], object]:
    return lambda path: path.symlink_to(target)


def put_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        here = os.open(path.parent, os.O_RDONLY)  # a socket's path may be 107 bytes long
        bound.bind(f"/proc/self/fd/{here}/{path.name}")
        os.close(here)


def put_sparse(path: Path) -> None:
    with path.open("wb") as file:
        os.truncate(file.fileno(), 1 << 33)  # takes no room


def put_image(path: Path) -> None:
    path.write_bytes(whole("JPEG"))
