"""Ids: the first 63 bits of SHA-256, worked out bit by bit."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.ids import content_sha256, image_id


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        # SHA-256 of nothing begins e3b0c44298fc1c14, that of "abc" ba7816bf8f01cfea.
        (b"", 0xE3B0C44298FC1C14 // 2),
        (b"abc", 0xBA7816BF8F01CFEA // 2),
    ],
)
def test_known_ids(data: bytes, expected: int) -> None:
    assert image_id(content_sha256(data)) == expected


@given(st.binary(max_size=300))
def test_an_id_is_the_first_63_bits(data: bytes) -> None:
    bits = "".join(f"{byte:08b}" for byte in hashlib.sha256(data).digest())
    found = image_id(content_sha256(data))
    assert found == int(bits[:63], 2)
    assert 0 <= found < 2**63


@given(st.binary(min_size=32, max_size=32))
def test_only_the_63_bits_count(digest: bytes) -> None:
    assert image_id(digest) == image_id(digest[:7] + bytes([digest[7] ^ 1]) + digest[8:])
    assert image_id(digest) != image_id(bytes([digest[0] ^ 128]) + digest[1:])
