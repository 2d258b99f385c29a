"""The output folder of img2dataset as it is: 00000.tar, 00000.parquet, 00000_stats.json."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from index.errors import DataError, NothingSelectedError

from .helpers import build, png, rows, write_tar


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two shards with their tables and statistics."""
    for shard in range(2):
        stem = f"{shard:05d}"
        write_tar(tmp_path / "i2d" / f"{stem}.tar", {f"{shard}.jpg": png(shard)})
        with duckdb.connect() as connection:
            connection.execute(
                f"COPY (SELECT '{shard}' AS key, 'http://x/{shard}' AS url) "
                f"TO '{tmp_path}/i2d/{stem}.parquet'"
            )
        (tmp_path / "i2d" / f"{stem}_stats.json").write_text('{"count": 1}')
    (tmp_path / "i2d" / "00001.parquet").write_bytes(b"PAR1 no more")
    return tmp_path / "i2d"


def test_a_glob_of_all_of_it_reads_the_shards(folder: Path, tmp_path: Path) -> None:
    summary = build(tmp_path / "ws", folder / "*")
    assert (summary.images, summary.failed) == (2, 0)
    found = rows(tmp_path / "ws", "SELECT metadata->>'url' FROM locations ORDER BY uri")
    assert found == [("http://x/0",), (None,)]


@pytest.mark.parametrize("pattern", ["*.parquet", "*.json"])
def test_a_glob_of_what_lies_beside_names_the_shards(
    folder: Path, tmp_path: Path, pattern: str
) -> None:
    with pytest.raises(DataError, match=r"give the shards, such as '.*/i2d/\*\.tar'"):
        build(tmp_path / "ws", folder / pattern)


def test_the_folder_itself_names_the_glob_to_type(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(NothingSelectedError, match=r"holds \.tar files: give '.*/i2d/\*\.tar'"):
        build(tmp_path / "ws", folder)
    with pytest.raises(NothingSelectedError, match=r"give '.*/\*\*/\*\.tar'"):
        build(tmp_path / "ws", folder.parent)
    for shard in folder.glob("*.tar"):
        shard.unlink()
    with pytest.raises(NothingSelectedError, match=r"holds \.parquet files: .*/\*\.parquet'"):
        build(tmp_path / "ws", folder)
