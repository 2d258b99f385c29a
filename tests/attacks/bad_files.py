"""Bad files of every kind that a crawl may hold: how each is made, and how its reason begins.

`CONTENTS` are bytes by file name, `PLACES` are things in a folder that no read gives bytes of.
"""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import duckdb
from PIL import Image

from index.sources.files import MAX_BYTES
from tests.index.helpers import encode, noise

from .damage import (
    Maker,
    avif_box,
    broken_later_frame,
    chunk,
    cut,
    gif_code_size,
    gif_without_frames,
    grey_tiff,
    grow_box,
    head,
    jpeg_of,
    jpeg_without,
    link,
    other,
    patched,
    png_of,
    put_image,
    put_socket,
    put_sparse,
    rename_box,
    tiff_of,
    tiff_without,
    webp_of,
    whole,
    zeros_in_a_zip,
)

BIG_TEXT = zlib.compress(bytes(80_000_000), 9)
UNKNOWN = "not an image of a known format: "
CONTENTS: dict[str, tuple[Maker, str]] = {
    "empty.jpg": (lambda: b"", "empty file"),
    "page.jpg": (
        lambda: b"<!DOCTYPE html><html><script>alert(1)</script></html>",
        UNKNOWN + "HTML",
    ),
    "drawing.png": (
        lambda: b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>',
        UNKNOWN + "SVG",
    ),
    "feed.webp": (lambda: b"<?xml version='1.0'?><rss/>", UNKNOWN + "XML"),
    "error.gif": (lambda: b'{"error": "rate limit exceeded"}', UNKNOWN + "JSON"),
    "note.webp": (lambda: b"not an image at all " * 50, UNKNOWN + "text"),
    "zeros.gif": (lambda: bytes(5000), UNKNOWN + "zeros"),
    "noise.jpg": (lambda: noise(7, 32).tobytes(), "not an image of a known format"),
    "paper.jpg": (lambda: b"%PDF-1.4\n/OpenAction << /S /Launch /F (/bin/sh) >>", UNKNOWN + "PDF"),
    "bomb.zip.png": (zeros_in_a_zip, UNKNOWN + "ZIP"),
    "packed.jpg": (lambda: gzip.compress(whole("JPEG")), UNKNOWN + "gzip"),
    "program.jpg": (lambda: b"\x7fELF\2\1\1" + bytes(200), UNKNOWN + "ELF program"),
    "setup.png": (lambda: b"MZ" + bytes(200), UNKNOWN + "Windows program"),
    "shell.jpg": (lambda: b"#!/bin/sh\ntouch owned\n", UNKNOWN + "script"),
    "clip.gif": (lambda: b"\0\0\0\x18ftypisom" + bytes(50), UNKNOWN + "MP4 or MOV video"),
    "phone.jpg": (lambda: b"\0\0\0\x18ftypheic" + bytes(50), UNKNOWN + "HEIC"),
    "sound.webp": (lambda: b"RIFF\x24\0\0\0WAVEfmt " + bytes(30), UNKNOWN + "WAV"),
    "portable.png": (other("PPM"), UNKNOWN + "PNM"),
    "icon.png": (other("ICO"), UNKNOWN + "ICO"),
    "targa.jpg": (other("TGA"), UNKNOWN + "TGA"),
    "brush.png": (other("PCX"), UNKNOWN + "PCX"),
    "script.jpg": (other("EPS"), UNKNOWN + "PostScript"),
    "wavelet.jpg": (other("JPEG2000"), UNKNOWN + "JPEG 2000"),
    "bits.png": (lambda: encode(Image.new("1", (16, 16)), "XBM"), UNKNOWN + "XBM"),
    "surface.png": (other("DDS"), UNKNOWN + "DDS"),
    "layers.jpg": (
        lambda: b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 16, 16, 8, 3) + bytes(800),
        UNKNOWN + "PSD",
    ),
    "cut-2-bytes.jpg": (head("JPEG", 2), "damaged JPEG header: not a JPEG file"),
    "cut-header.jpg": (head("JPEG", 100), "damaged JPEG header: it is cut short"),
    "cut-half.jpg": (cut("JPEG", 0.5), "damaged JPEG: image file is truncated"),
    "cut-signature.png": (head("PNG", 8), "damaged PNG header: it is cut short"),
    "cut-header.png": (head("PNG", 20), "damaged PNG header: it is cut short"),
    "cut-before-data.png": (head("PNG", 33), "damaged PNG header: it is cut short"),
    "cut-half.png": (cut("PNG", 0.5), "damaged PNG: image file is truncated"),
    "cut-header.gif": (head("GIF", 10), "damaged GIF header: it is cut short"),
    "cut-palette.gif": (head("GIF", 400), "damaged GIF header: no more images in GIF file"),
    "cut-half.gif": (cut("GIF", 0.5), "damaged GIF: image file is truncated"),
    "cut-header.webp": (head("WEBP", 18), "damaged WEBP header: could not create decoder object"),
    "cut-half.webp": (cut("WEBP", 0.5), "damaged WEBP header: could not create decoder object"),
    "cut-header.bmp": (head("BMP", 30), "damaged BMP header: it is cut short"),
    "cut-half.bmp": (cut("BMP", 0.5), "damaged BMP: image file is truncated"),
    "cut-header.tif": (head("TIFF", 6), "damaged TIFF header: it is cut short"),
    "cut-directory.tif": (head("TIFF", 60), "damaged TIFF header: unknown data organization"),
    "cut-half.tif": (cut("TIFF", 0.5), "damaged TIFF: image file is truncated"),
    "cut-header.avif": (
        head("AVIF", 24),
        "damaged AVIF header: Failed to decode image: Truncated data",
    ),
    "cut-half.avif": (
        cut("AVIF", 0.5),
        "damaged AVIF header: Failed to decode image: BMFF parsing failed",
    ),
    "bomb-header.png": (
        lambda: png_of(100_000, 100_000),
        "too many pixels: 10000000000 > 64000000",
    ),
    "bomb-just-over.png": (lambda: png_of(8_001, 8_000), "too many pixels: 8001x8000 > 64000000"),
    "bomb-full.png": (
        lambda: png_of(8_100, 8_100, pixels=bytes(8_100 * (3 * 8_100 + 1))),
        "too many pixels: 8100x8100 > 64000000",
    ),
    "bomb-header.jpg": (lambda: jpeg_of(65_500, 65_500), "too many pixels: 4290250000 > 64000000"),
    "bomb-header.bmp": (
        patched("BMP", 18, "<ii", 60_000, 60_000),
        "too many pixels: 3600000000 > 64000000",
    ),
    "bomb-header.gif": (
        patched("GIF", 6, "<HH", 65_535, 65_535),
        "too many pixels: 4294836225 > 64000000",
    ),
    "bomb-header.tif": (
        lambda: grey_tiff(200_000, 200_000),
        "too many pixels: 40000000000 > 64000000",
    ),
    "bomb-header.webp": (lambda: webp_of(16_000, 16_000), "too many pixels: 256000000 > 64000000"),
    "bomb-text.png": (
        lambda: png_of(1, 1, chunk(b"zTXt", b"k\0\0" + BIG_TEXT)),
        "damaged PNG header: ValueError: Decompressed data too large",
    ),
    "bomb-international-text.png": (
        lambda: png_of(1, 1, chunk(b"iTXt", b"k\0\1\0\0\0" + BIG_TEXT)),
        "damaged PNG header: ValueError: Decompressed data too large",
    ),
    "bomb-profile.png": (
        lambda: png_of(1, 1, chunk(b"iCCP", b"k\0\0" + BIG_TEXT)),
        "damaged PNG header: ValueError: Decompressed data too large",
    ),
    "wrong-header-checksum.png": (
        lambda: whole("PNG").replace(b"IHDR\0\0\0\x40", b"IHDR\0\0\0\x41"),
        "damaged PNG header: broken PNG file (bad header checksum in b'IHDR')",
    ),
    "wrong-data-checksum.png": (
        patched("PNG", 60, "B", 0x55),
        "damaged PNG: broken data stream when reading image file",
    ),
    "broken-chunk.png": (
        lambda: whole("PNG").replace(b"IDAT", b"IDAT\1", 1),
        "damaged PNG: broken data stream when reading image file",
    ),
    "no-pixels.png": (lambda: png_of(64, 64), "damaged PNG: image file is truncated"),
    "no-data.png": (
        lambda: png_of(64, 64).replace(b"IDAT", b"IDOT"),
        "damaged PNG header: broken PNG file (bad header checksum in b'IDOT')",
    ),
    "zero-width.png": (
        lambda: png_of(0, 64),
        "damaged PNG header: it tells no size or no known mode",
    ),
    "no-such-depth.png": (
        lambda: (
            b"\x89PNG\r\n\x1a\n"
            + chunk(b"IHDR", struct.pack(">IIBBBBB", 9, 9, 3, 2, 0, 0, 0))
            + png_of(9, 9)[33:]
        ),
        "damaged PNG header: it tells no size or no known mode",
    ),
    "no-such-filter.png": (
        lambda: png_of(16, 16, pixels=b"\x09" * (16 * 49)),
        "damaged PNG: unrecognized data stream contents when reading image file",
    ),
    "no-frame.jpg": (jpeg_without(0xC0), "damaged JPEG header: it tells no size or no known mode"),
    "no-quantisation.jpg": (
        jpeg_without(0xDB),
        "damaged JPEG: broken data stream when reading image file",
    ),
    "no-scan.jpg": (jpeg_without(0xDA), "damaged JPEG: cannot load this image"),
    "zero-height.jpg": (
        lambda: jpeg_of(16, 0),
        "damaged JPEG header: it tells no size or no known mode",
    ),
    "twelve-bits.jpg": (
        lambda: whole("JPEG").replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"),
        "damaged JPEG header: cannot handle 12-bit layers",
    ),
    "no-frames.gif": (gif_without_frames, "damaged GIF header: no more images in GIF file"),
    "code-size.gif": (
        gif_code_size,
        "damaged GIF: codec configuration error when reading image file",
    ),
    "size-beyond-file.webp": (
        patched("WEBP", 4, "<I", 1 << 30),
        "damaged WEBP header: could not create decoder object",
    ),
    "empty-riff.webp": (lambda: b"RIFF\4\0\0\0WEBP", "damaged WEBP header: not a WEBP file"),
    "no-such-chunk.webp": (
        lambda: whole("WEBP").replace(b"WEBPVP8 ", b"WEBPJUNK"),
        "damaged WEBP header: not a WEBP file",
    ),
    "start-code.webp": (
        lambda: whole("WEBP").replace(b"\x9d\x01\x2a", b"\x9d\x01\x2b"),
        "damaged WEBP header: could not create decoder object",
    ),
    "negative-width.bmp": (
        patched("BMP", 18, "<i", -16),
        "too many pixels: 68719476480 > 64000000",
    ),
    "zero-width.bmp": (
        patched("BMP", 18, "<i", 0),
        "damaged BMP header: it tells no size or no known mode",
    ),
    "odd-header.bmp": (
        patched("BMP", 14, "<I", 41),
        "damaged BMP header: Unsupported BMP header type (41)",
    ),
    "no-such-compression.bmp": (
        patched("BMP", 30, "<I", 77),
        "damaged BMP header: Unsupported BMP compression (77)",
    ),
    "five-bits.bmp": (
        patched("BMP", 28, "<H", 5),
        "damaged BMP header: Unsupported BMP pixel depth (5)",
    ),
    "data-beyond-file.bmp": (
        patched("BMP", 10, "<I", 1 << 30),
        "damaged BMP: image file is truncated",
    ),
    "broken-runs.bmp": (
        patched("BMP", 28, "<HI", 8, 1),
        "damaged BMP: ValueError: not enough image data",
    ),
    "no-directory.tif": (
        lambda: b"II*\0" + struct.pack("<I", 1 << 30),
        "damaged TIFF header: Missing dimensions",
    ),
    "directory-in-itself.tif": (
        lambda: tiff_of(following=8),
        "damaged TIFF header: Missing dimensions",
    ),
    "many-values.tif": (
        lambda: tiff_of((256, 4, 0xFFFFFFF0, 8), (257, 4, 0xFFFFFFF0, 8)),
        "damaged TIFF header: Missing dimensions",
    ),
    "no-such-compression.tif": (
        lambda: grey_tiff(compression=40_000),
        "damaged TIFF header: no such value: 40000",
    ),
    "strip-beyond-file.tif": (
        lambda: grey_tiff(strip=1 << 30),
        "damaged TIFF: image file is truncated",
    ),
    "bits.tif": (
        lambda: grey_tiff(bits=13),
        "damaged TIFF header: no such value: unknown pixel mode",
    ),
    "zero-width.tif": (
        lambda: grey_tiff(0, 16),
        "damaged TIFF header: it tells no size or no known mode",
    ),
    "no-width.tif": (lambda: tiff_without(256), "damaged TIFF header: Missing dimensions"),
    "no-strips.tif": (lambda: tiff_without(273), "damaged TIFF header: unknown data organization"),
    "broken-lzw.tif": (
        lambda: grey_tiff(compression=5, length=40) + b"\xff" * 40,
        "damaged TIFF: decoder error -2",
    ),
    "broken-deflate.tif": (
        lambda: grey_tiff(compression=8, length=40) + b"\xff" * 40,
        "damaged TIFF: decoder error -2",
    ),
    "no-items.avif": (
        avif_box(b"iinf", rename_box),
        "damaged AVIF header: RuntimeError: Failed to decode image: Missing",
    ),
    "no-locations.avif": (
        avif_box(b"iloc", rename_box),
        "damaged AVIF header: RuntimeError: Failed to decode image: Missing",
    ),
    "box-beyond-file.avif": (
        avif_box(b"meta", grow_box),
        "damaged AVIF header: Failed to decode image: Truncated data",
    ),
    "no-properties.avif": (
        avif_box(b"iprp", rename_box),
        "damaged AVIF header: Failed to decode image: BMFF parsing failed",
    ),
}
# Odd, and yet Pillow shows them as every viewer does.
DECODABLE: dict[str, Maker] = {
    "no-huffman-tables.jpg": jpeg_without(0xC4),
    "taller-than-its-data.jpg": lambda: jpeg_of(16, 4_000),
    "zero-size.gif": patched("GIF", 6, "<HH", 0, 0),
    "directory-loop.tif": lambda: grey_tiff(strip=98, following=8) + bytes(256),
    "broken-later-frame.gif": broken_later_frame("GIF"),
    "broken-later-frame.png": broken_later_frame("PNG"),
    "without-end.png": lambda: whole("PNG")[:-12],
    "with-a-tail.jpg": lambda: whole("JPEG") + bytes(1000),
}
PLACES: dict[str, tuple[Callable[[Path], object], str]] = {
    "pipe.jpg": (os.mkfifo, "cannot be read: not a regular file"),
    "socket.jpg": (put_socket, "cannot be read: not a regular file"),
    "device.jpg": (link("/dev/zero"), "cannot be read: not a regular file"),
    "dangling.jpg": (link("absent"), "cannot be read: No such file or directory"),
    "loop.jpg": (link("loop.jpg"), "cannot be read: Too many levels of symbolic links"),
    "secret.jpg": (link("/etc/passwd"), UNKNOWN + "text"),
    "memory.jpg": (link("/proc/self/mem"), "cannot be read: Input/output error"),
    "sparse.jpg": (put_sparse, f"too large: {1 << 33} bytes > {MAX_BYTES}"),
    "caf\udce9.jpg": (put_image, "file name is not UTF-8: rename it"),
}


def write(folder: Path) -> dict[str, str]:
    """Make every bad file in a folder; return the reason of each, by its name as it is stored."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (make, _) in CONTENTS.items():
        (folder / name).write_bytes(make())
    for name, (put, _) in PLACES.items():
        put(folder / name)
    reasons = {name: reason for name, (_, reason) in (CONTENTS | PLACES).items()}
    return {
        os.fsencode(name).decode("utf-8", "backslashreplace"): reason
        for name, reason in reasons.items()
    }


def write_good(data_dir: Path, folder: Path, count: int) -> None:
    """Write so many different real images into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as connection:
        rows = connection.execute(
            "SELECT DISTINCT image FROM read_parquet(?, file_row_number = true) "
            "WHERE file_row_number % 7 = 0 ORDER BY md5(image) LIMIT ?",
            [str(data_dir / "webpool" / "webpool_0.parquet"), count],
        ).fetchall()
    for number, (image,) in enumerate(rows):
        (folder / f"good-{number:05d}.jpg").write_bytes(image)
