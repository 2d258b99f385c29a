"""The start of labelled data tells what evaluation would find only in the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from distill import labelled
from distill.labelled import check_start
from index.errors import DataError

from .test_annotated import tiny_imagenet
from .test_folders import VIEW, folders, parquet, png

MANY = 300  # more than are looked at


def check(source: object, classes: int = 3, names: list[str] | None = None) -> None:
    check_start(str(source), VIEW, names, classes)


@pytest.mark.parametrize(
    ("columns", "row", "said"),
    [
        ("image BLOB", (png(1),), "has no label: name an integer column label, labels"),
        ("image BLOB, label VARCHAR", (png(1), "cat"), "has no label: name an integer column"),
        (
            "image BLOB, label INTEGER",
            (png(1), 95),
            r"t\.parquet: labels run from 95 to 95, the network has classes 0 to 2: check the",
        ),
        ("image BLOB, label INTEGER", (png(1), -1), "labels run from -1 to -1"),
        ("image BLOB, label INTEGER", (b"<html>", 1), "remove it from"),
    ],
)
def test_labels_without_classes_are_found(
    tmp_path: Path, columns: str, row: tuple[Any, ...], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        check(parquet(tmp_path / "t.parquet", [row], columns))


def test_no_more_than_the_start_is_read(tmp_path: Path) -> None:
    rows = [(png(1), n % 3) for n in range(MANY)] + [(b"<html>", 99)]
    source = parquet(tmp_path / "t.parquet", rows, "image BLOB, label INTEGER")
    check(source)
    with pytest.raises(DataError):
        list(labelled.read_labelled(source, VIEW))


def test_every_folder_counts_without_being_read(tmp_path: Path) -> None:
    names = [f"{label}/{n}.png" for label in ("a", "b", "c") for n in range(MANY)]
    source = folders(tmp_path, *(name for name in names if not name.startswith("c")))
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "readme.txt").write_text("none yet")
    check(source, classes=2)  # the third has no images
    (tmp_path / "c" / "0.png").write_bytes(b"<html>")
    check(source)
    with pytest.raises(DataError, match="labels run from 0 to 2, the network has classes 0 to 1"):
        check(source, classes=2)
    with pytest.raises(DataError, match="c is no class of the card"):
        check(source, names=["a", "b", "d"])


def test_every_line_of_a_list_counts(tmp_path: Path) -> None:
    val = tiny_imagenet(tmp_path / "tiny") / "val"
    check(val)
    with pytest.raises(DataError, match="labels run from 0 to 2, the network has classes 0 to 1"):
        check(val, classes=2)


def test_nothing_at_all_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no images"):
        check(tmp_path)


def test_nothing_is_downloaded_to_plan(tmp_path: Path) -> None:
    source = f"torchvision:MNIST?root={tmp_path}&download=true"
    check_start(source, VIEW, None, 10, fetch=False)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DataError, match="torchvision cannot read it"):
        check_start(source.partition("&")[0], VIEW, None, 10, fetch=False)
