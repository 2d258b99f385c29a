"""Parquet files and class folders, in every layout."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from PIL import Image

from distill.labelled import load_labelled, read_labelled
from index.decoding import View
from index.errors import DataError

VIEW = View(4, None, "bilinear")


def png(grey: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (6, 6), (grey, grey, grey)).save(buffer, "PNG")
    return buffer.getvalue()


def parquet(path: Path, rows: Sequence[tuple[Any, ...]], columns: str) -> str:
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE rows ({columns})")
        places = ", ".join("?" * len(rows[0]))
        connection.executemany(f"INSERT INTO rows VALUES ({places})", rows)
        connection.execute(f"COPY rows TO '{path}' (FORMAT parquet)")
    return str(path)


def folders(root: Path, *names: str) -> str:
    """Write one grey image for each name: the first 0, the next 10 ..."""
    for place, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(png(10 * place))
    return str(root)


def greys(source: str) -> dict[int, int]:
    """Label by grey level."""
    found = load_labelled(source, VIEW)
    assert found.pixels.shape == (len(found.labels), 4, 4, 3)
    assert (found.pixels.dtype, found.labels.dtype) == (np.uint8, np.int64)
    return dict(zip(found.pixels[:, 0, 0, 0].tolist(), found.labels.tolist(), strict=True))


@pytest.mark.parametrize("column", ["label", "labels", "class", "target"])
def test_parquet_rows_carry_their_label(tmp_path: Path, column: str) -> None:
    rows = [(png(10), 2, "cat"), (png(20), 0, "dog"), (png(30), 2, "cat")]
    source = parquet(tmp_path / "t.parquet", rows, f"image BLOB, {column} TINYINT, name VARCHAR")
    assert greys(source) == {10: 2, 20: 0, 30: 2}


def test_several_parquet_files_are_one_data_set(tmp_path: Path) -> None:
    for number in range(2):
        parquet(tmp_path / f"{number}.parquet", [(png(number), number)], "image BLOB, label INT")
    assert greys(str(tmp_path / "*.parquet")) == {0: 0, 1: 1}


def test_folders_are_classes_in_the_order_of_their_names(tmp_path: Path) -> None:
    source = folders(tmp_path, "cat/1.png", "ant/1.png", "bee/1.png", "bee/2.png")
    assert greys(source) == {0: 2, 10: 0, 20: 1, 30: 1}


def test_folders_named_after_the_cards_classes_have_their_numbers(tmp_path: Path) -> None:
    source = folders(tmp_path, "dog/1.png", "ant/1.png")
    found = load_labelled(source, VIEW, ["dog", "bee", "cat", "ant"])
    assert sorted(zip(found.pixels[:, 0, 0, 0].tolist(), found.labels.tolist(), strict=True)) == [
        (0, 0),
        (10, 3),
    ]
    with pytest.raises(DataError, match=r"ant is no class of the card: did you mean cat"):
        load_labelled(source, VIEW, ["dog", "cat"])


def test_numbers_are_classes_and_not_words(tmp_path: Path) -> None:
    assert greys(folders(tmp_path, "2/1.png", "11/1.png", "0/1.png")) == {0: 2, 10: 11, 20: 0}


def test_a_class_folder_may_have_folders_of_its_own(tmp_path: Path) -> None:
    assert greys(folders(tmp_path, "ant/images/1.png", "bee/ant/1.png")) == {0: 0, 10: 1}


def test_a_hidden_folder_is_no_class(tmp_path: Path) -> None:
    (tmp_path / ".cache").mkdir()
    assert greys(folders(tmp_path, "ant/1.png", "bee/1.png")) == {0: 0, 10: 1}


def test_an_image_outside_the_class_folders_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"stray\.png lies in no class folder"):
        load_labelled(folders(tmp_path, "ant/1.png", "bee/1.png", "stray.png"), VIEW)


@pytest.mark.parametrize(
    ("columns", "label"),
    [
        ("image BLOB, colour VARCHAR", "red"),
        ("image BLOB, label VARCHAR", "3"),
        ("image BLOB, label DOUBLE", 3.0),
        ("image BLOB, label BOOLEAN", True),
        ("image BLOB, label INT", None),
    ],
)
def test_a_row_without_an_integer_label_is_named(
    tmp_path: Path, columns: str, label: object
) -> None:
    source = parquet(tmp_path / "t.parquet", [(png(0), label)], columns)
    with pytest.raises(DataError, match=r"t\.parquet#0 has no label: name an integer column label"):
        load_labelled(source, VIEW)


def test_a_flat_folder_has_no_labels(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"1\.png has no label.*one folder a class"):
        load_labelled(folders(tmp_path, "1.png"), VIEW)


def test_a_broken_row_is_refused_and_named(tmp_path: Path) -> None:
    rows = [(png(0), 1), (png(10)[:45], 1)]
    source = parquet(tmp_path / "t.parquet", rows, "image BLOB, label INT")
    with pytest.raises(DataError, match=r"t\.parquet#1: .*; remove it from"):
        load_labelled(source, VIEW)


def test_a_row_without_an_image_is_refused_with_the_reason(tmp_path: Path) -> None:
    rows = [(png(0), 1), (None, 1)]
    source = parquet(tmp_path / "t.parquet", rows, "image BLOB, label INT")
    with pytest.raises(DataError, match="#1: no image bytes in this row"):
        load_labelled(source, VIEW)


def test_a_broken_file_is_refused_and_named(tmp_path: Path) -> None:
    source = folders(tmp_path, "ant/1.png", "bee/1.png")
    (tmp_path / "bee" / "2.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"bee/2\.png: "):
        load_labelled(source, VIEW)


def test_nothing_to_evaluate_on_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ant").mkdir()
    with pytest.raises(DataError, match="holds no images"):
        load_labelled(str(tmp_path), VIEW)
    with pytest.raises(DataError, match="no such source"):
        load_labelled(str(tmp_path / "absent.parquet"), VIEW)


def test_batches_are_the_same_images_in_the_same_order(tmp_path: Path) -> None:
    rows = [(png(n), n % 3) for n in range(7)]
    source = parquet(tmp_path / "t.parquet", rows, "image BLOB, label INT")
    batches = list(read_labelled(source, VIEW, batch=3))
    assert [len(batch.labels) for batch in batches] == [3, 3, 1]
    whole = load_labelled(source, VIEW)
    np.testing.assert_array_equal(np.concatenate([one.pixels for one in batches]), whole.pixels)
    assert np.concatenate([one.labels for one in batches]).tolist() == [n % 3 for n in range(7)]
