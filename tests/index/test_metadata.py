"""What travels along with an image: every fact that stands beside it, but no bytes."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from index import sources
from index.sources import Item

from .helpers import png, write_tar

LICENCE = "{'name': 'CC-BY', 'version': NULL, 'seal': 'x'::BLOB}"


def items(name: Path) -> list[Item]:
    return [item for part in sources.partitions([str(name)]) for item in sources.read(part)]


def write_parquet(path: Path, query: str) -> Path:
    with duckdb.connect() as connection:
        connection.execute(f"COPY ({query}) TO '{path}' (FORMAT parquet)")
    return path


@pytest.mark.parametrize("kind", ["parquet", "list", "tar"])
def test_a_null_in_a_struct_takes_nothing_with_it(tmp_path: Path, kind: str) -> None:
    first = {
        "parquet": "'x'::BLOB AS image",
        "list": "'1.png' AS path",
        "tar": "'1' AS key",
    }[kind]
    columns = f"{LICENCE} AS licence, [{LICENCE}] AS licences, {{'seal': 'x'::BLOB}} AS sealed"
    path = write_parquet(tmp_path / "0.parquet", f"SELECT {first}, {columns}, NULL AS nothing")
    (tmp_path / "1.png").write_bytes(png(1))
    if kind == "tar":
        path = write_tar(tmp_path / "0.tar", {"1.png": png(1)})
    (item,) = items(path)
    kept = {"name": "CC-BY", "version": None}
    key = {"key": "1"} if kind == "tar" else {}
    assert item.metadata == {**key, "licence": kept, "licences": [kept]}


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ("{'bytes': 'x'::BLOB, 'path': 'a/1.jpg'} AS image", {"path": "a/1.jpg"}),
        ("{'bytes': 'x'::BLOB, 'path': NULL::VARCHAR} AS image", {}),
        (
            "{'bytes': 'x'::BLOB, 'path': '1.jpg', 'width': 8} AS image",
            {"path": "1.jpg", "image": {"width": 8}},
        ),
        (
            "{'bytes': 'x'::BLOB, 'path': '1.jpg'} AS image, 'own.jpg' AS path",
            {"path": "own.jpg", "image": {"path": "1.jpg"}},
        ),
    ],
)
def test_the_path_beside_image_bytes_is_kept(
    tmp_path: Path, columns: str, expected: dict[str, object]
) -> None:
    (item,) = items(write_parquet(tmp_path / "0.parquet", f"SELECT {columns}"))
    assert (item.data, item.metadata) == (b"x", expected)
