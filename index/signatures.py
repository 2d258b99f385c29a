"""What bytes look like by how they begin, for the reason why they are no image."""

from __future__ import annotations

_HEAD = 1024
_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"%PDF", "PDF"),
    (b"%!PS", "PostScript"),
    (b"\xc5\xd0\xd3\xc6", "PostScript"),
    (b"PK\x03\x04", "ZIP"),
    (b"PK\x05\x06", "ZIP"),
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"(\xb5/\xfd", "Zstandard"),
    (b"7z\xbc\xaf'\x1c", "7-Zip"),
    (b"Rar!\x1a\x07", "RAR"),
    (b"\x7fELF", "ELF program"),
    (b"MZ", "Windows program"),
    (b"\0asm", "WebAssembly"),
    (b"#!", "script"),
    (b"SQLite format 3\0", "SQLite"),
    (b"PAR1", "Parquet"),
    (b"8BPS", "PSD"),
    (b"\0\0\1\0", "ICO"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"DDS ", "DDS"),
    (b"qoif", "QOI"),
    (b"\x93NUMPY", "NumPy array"),
    (b"OggS", "Ogg"),
    (b"ID3", "MP3"),
    (b"fLaC", "FLAC"),
    (b"\x1a\x45\xdf\xa3", "Matroska or WebM video"),
    (b"/* XPM */", "XPM"),
    (b"#define ", "XBM"),
    *((b"P%d" % number, "PNM") for number in range(1, 8)),
    (b"\x0a\x05\x01", "PCX"),
)
_OPENED: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8", "JPEG"),
    (b"\x89PNG", "PNG"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
)
_RIFF = {b"WAVE": "WAV", b"AVI ": "AVI video"}
_BRANDS = {b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIF"}
_MARKUP: tuple[tuple[bytes, str], ...] = (
    (b"<svg", "SVG"),
    (b"<html", "HTML"),
    (b"<!doctype html", "HTML"),
    (b"<head", "HTML"),
    (b"<body", "HTML"),
    (b"<?xml", "XML"),
)


def opened_format(data: bytes) -> str | None:
    """Return the format, of those that are opened, as which these bytes begin."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp" and data[8:12] in (b"avif", b"avis"):
        return "AVIF"
    return next((format for start, format in _OPENED if data.startswith(start)), None)


def looks_like(data: bytes) -> str:
    """Return what bytes of no format that is opened seem to be; empty where nothing tells."""
    if data[:4] == b"RIFF":
        return _RIFF.get(data[8:12], "RIFF")
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12], "MP4 or MOV video")
    for start, name in _SIGNATURES:
        if data.startswith(start):
            return name
    if data[-18:-2] == b"TRUEVISION-XFILE":
        return "TGA"
    return _text(data[:_HEAD])


def _text(head: bytes) -> str:
    if not head.strip(b"\0"):
        return "zeros"
    try:
        text = head.decode("utf-8", "strict").lstrip("\ufeff \t\r\n").lower().encode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:  # and not a character that the head ends in
            return ""
        text = head[: error.start].lower()
    if any(byte < 9 or 13 < byte < 32 for byte in text):
        return ""
    for mark, format in _MARKUP:
        if text.startswith(mark) or (mark in text and format in ("SVG", "HTML")):
            return format
    return "JSON" if text[:1] in (b"{", b"[") else "text"
