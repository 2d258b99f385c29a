"""Content ids: what an image is called everywhere, whatever its path."""

from __future__ import annotations

import hashlib


def content_sha256(data: bytes) -> bytes:
    """Return the 32-byte SHA-256 of an image file's bytes."""
    return hashlib.sha256(data).digest()


def image_id(sha256: bytes) -> int:
    """Return the first 63 bits of a SHA-256: a non-negative int64, key in DuckDB and FAISS."""
    return int.from_bytes(sha256[:8], "big") >> 1
