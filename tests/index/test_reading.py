"""Catalogued images are read again as they were, or the error says which one changed."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pytest

from index.catalog import Catalog
from index.decoding import View
from index.errors import DataError
from index.ids import content_sha256, image_id
from index.reading import read_images

from .helpers import build, encode, noise, png, write_tar

VIEW = View(8)


def key(seed: int) -> int:
    return image_id(content_sha256(png(seed)))


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Two loose images, two in a tar, two in a Parquet file; one of them twice."""
    crawl = tmp_path / "crawl"
    write_tar(crawl / "s.tar", {"a.png": png(2), "b.png": png(3)})
    for name, seed in {"0.png": 0, "1.png": 1, "copy.png": 3}.items():
        (crawl / name).write_bytes(png(seed))
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE t (image BLOB)")
        connection.execute("INSERT INTO t VALUES (?), (NULL), (?)", [png(4), png(5)])
        connection.execute(f"COPY t TO '{crawl / 's.parquet'}' (FORMAT parquet)")
    build(tmp_path / "ws", crawl / "s.*", crawl)
    return tmp_path / "ws"


@pytest.mark.parametrize("workers", [0, 2])
def test_every_image_comes_once_with_its_own_pixels(workspace: Path, workers: int) -> None:
    found = list(read_images(Catalog(workspace), VIEW, workers=workers))
    ids = np.concatenate([ids for ids, _ in found]).tolist()
    pixels = np.concatenate([pixels for _, pixels in found])
    assert sorted(ids) == sorted(map(key, range(6)))
    for seed in range(6):
        np.testing.assert_array_equal(pixels[ids.index(key(seed))], noise(seed))


def test_a_query_says_which(workspace: Path) -> None:
    only = f"SELECT id FROM images WHERE id IN ({key(1)}, {key(5)}, 17)"
    found = [ids.tolist() for ids, _ in read_images(Catalog(workspace), VIEW, only=only)]
    assert sorted(sum(found, [])) == sorted([key(1), key(5)])
    assert list(read_images(Catalog(workspace), VIEW, only="SELECT 17")) == []


def read_all(workspace: Path) -> None:
    list(read_images(Catalog(workspace), VIEW, workers=0))


def test_an_image_that_is_gone_is_named(workspace: Path, tmp_path: Path) -> None:
    (tmp_path / "crawl" / "1.png").unlink()
    with pytest.raises(DataError, match=r"cannot read .*1\.png .*: put it back, or run build"):
        read_all(workspace)


def test_another_image_in_its_place_is_not_taken_for_it(workspace: Path, tmp_path: Path) -> None:
    file = tmp_path / "crawl" / "1.png"
    other = encode(noise(77), "BMP")[: file.stat().st_size].ljust(file.stat().st_size, b"x")
    file.write_bytes(other)
    with pytest.raises(DataError, match=rf"image {key(1)} in .*1\.png .*its content changed"):
        read_all(workspace)


def test_a_rewritten_shard_is_named(workspace: Path, tmp_path: Path) -> None:
    write_tar(tmp_path / "crawl" / "s.tar", {"a.png": png(3), "b.png": png(2)})
    with pytest.raises(DataError, match=r"in .*s\.tar .*its content changed.*run build-index"):
        read_all(workspace)
