"""Parts: written whole, recorded in the catalog, and checked when they are read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from index.catalog import Catalog
from index.errors import WorkspaceError
from index.parts import (
    damaged_parts,
    list_parts,
    map_rows,
    next_number,
    read_part,
    record_part,
    write_part,
)

IDS = np.array([3, 2**62, 7], dtype=np.int64)
ROWS = np.array([[1, 0.5], [-2, 3], [0, 65504]], dtype=np.float16)


def test_a_part_is_read_as_it_was_written(tmp_path: Path) -> None:
    part = write_part(tmp_path, "vectors/x", 12, IDS, ROWS)
    path = tmp_path / "vectors" / "x" / "part-00012.npz"
    assert part.path(tmp_path) == path
    assert (part.rows, part.width, part.bytes) == (3, 2, path.stat().st_size)
    assert part.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    ids, rows = read_part(tmp_path, part)
    np.testing.assert_array_equal(ids, IDS)
    np.testing.assert_array_equal(rows, ROWS)
    assert (ids.dtype, rows.dtype) == (np.int64, np.float16)
    assert list(path.parent.iterdir()) == [path]


def test_recorded_parts_are_listed_by_store_and_counted_on(tmp_path: Path) -> None:
    parts = [
        write_part(tmp_path, store, number, IDS, ROWS)
        for store, number in (("vectors/x", 2), ("vectors/x", 0), ("logits/x", 5))
    ]
    catalog = Catalog(tmp_path)
    with catalog.write() as connection:
        for part in parts:
            record_part(connection, part)
    with catalog.read() as connection:
        assert list_parts(connection, "vectors/x") == [parts[1], parts[0]]
        assert [next_number(connection, s) for s in ("vectors/x", "logits/x", "y")] == [3, 6, 0]


def flip(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 0xFF]) + data[position + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: flip(data, 0),
        lambda data: flip(data, data.index(IDS.tobytes())),
        lambda data: flip(data, data.index(ROWS.tobytes()) + 3),
        lambda data: flip(data, len(data) - 30),
        lambda data: b"<html>".ljust(len(data), b"x"),
    ],
)
def test_a_damaged_part_is_named(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    part = write_part(tmp_path, "vectors/x", 0, IDS, ROWS)
    path = part.path(tmp_path)
    assert list(damaged_parts(tmp_path, [part])) == []
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(WorkspaceError, match=r"part-00000\.npz is missing or damaged: `kdcurate"):
        read_part(tmp_path, part)
    assert list(damaged_parts(tmp_path, [part])) == [path]


def test_other_rows_than_were_recorded_are_not_mapped(tmp_path: Path) -> None:
    """Nothing checks the header of an array whose rows are only mapped."""
    part = write_part(tmp_path, "vectors/x", 0, IDS, ROWS)
    np.testing.assert_array_equal(map_rows(tmp_path, part), ROWS)
    path = part.path(tmp_path)
    assert path.read_bytes().count(b"(3, 2)") == 1
    path.write_bytes(path.read_bytes().replace(b"(3, 2)", b"(2, 3)"))
    with pytest.raises(WorkspaceError, match=r"part-00000\.npz is missing or damaged: `kdcurate"):
        map_rows(tmp_path, part)


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    part = write_part(tmp_path, "vectors/x", 0, IDS, ROWS)
    part.path(tmp_path).unlink()
    with pytest.raises(WorkspaceError, match=r"part-00000\.npz is missing"):
        read_part(tmp_path, part)
    assert list(damaged_parts(tmp_path, [part])) == [part.path(tmp_path)]
