"""Folders whose labels stand in a list, laid out as TinyImageNet and MNIST-M are published."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distill.labelled import check_labelled, load_labelled
from index.decoding import View
from index.errors import DataError

VIEW = View(4)


def jpeg(path: Path, grey: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = io.BytesIO()
    Image.new("L", (8, 8), grey).save(stream, "JPEG", quality=95)
    path.write_bytes(stream.getvalue())


def tiny_imagenet(root: Path) -> Path:
    """All of the layout: three classes, of which `val` has images of two."""
    root.mkdir()
    (root / "wnids.txt").write_text("n03\nn01\nn02\n")
    (root / "words.txt").write_text("n01\tgoldfish\n")
    for wnid in ("n01", "n02", "n03"):
        jpeg(root / "train" / wnid / "images" / f"{wnid}_0.JPEG", 10)
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text(f"{wnid}_0.JPEG\t0\t0\t7\t7\n")
    lines = []
    for place, wnid in enumerate(("n03", "n01", "n03")):
        jpeg(root / "val" / "images" / f"val_{place}.JPEG", 50 * place)
        lines.append(f"val_{place}.JPEG\t{wnid}\t0\t0\t7\t7\n")
    (root / "val" / "val_annotations.txt").write_text("".join(lines))
    return root


def test_tiny_imagenets_val_counts_classes_as_its_train_does(tmp_path: Path) -> None:
    root = tiny_imagenet(tmp_path / "tiny-imagenet-200")
    found = load_labelled(str(root / "val"), VIEW)
    assert found.labels.tolist() == [2, 0, 2]
    assert found.pixels.shape == (3, 4, 4, 3)
    np.testing.assert_allclose(found.pixels[:, 0, 0, 0], [0, 50, 100], atol=2)
    assert sorted(load_labelled(str(root / "train"), VIEW).labels.tolist()) == [0, 1, 2]


def test_a_cards_names_of_classes_decide(tmp_path: Path) -> None:
    root = tiny_imagenet(tmp_path / "tiny")
    classes = ["n02", "n03", "n01"]
    assert load_labelled(str(root / "val"), VIEW, classes).labels.tolist() == [1, 2, 1]
    with pytest.raises(DataError, match=r"val_annotations\.txt: n01 is no class of the card"):
        load_labelled(str(root / "val"), VIEW, ["n02", "n03", "n44"])


def test_the_folder_of_all_three_parts_is_refused(tmp_path: Path) -> None:
    root = tiny_imagenet(tmp_path / "tiny")
    with pytest.raises(DataError, match=r"several data sets: give .*tiny/val or .*tiny/train"):
        check_labelled(str(root))


def test_mnist_m_is_read_as_published(tmp_path: Path) -> None:
    for place in range(3):
        jpeg(tmp_path / "mnist_m_test" / f"{place:08d}.png", 60 * place)
    (tmp_path / "mnist_m_test_labels.txt").write_text(
        "00000002.png 7\n00000000.png 0\n\n00000001.png 3\n\n"
    )
    found = load_labelled(str(tmp_path / "mnist_m_test"), VIEW)
    assert found.labels.tolist() == [7, 0, 3]
    np.testing.assert_allclose(found.pixels[:, 0, 0, 0], [120, 0, 60], atol=2)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("0.png", r"x_labels\.txt, line 1: no file name and class"),
        ("../0.png 1", "line 1: no file name and class"),
        ("absent.png 1", r"absent\.png: cannot be read"),
        ("empty.png 1", r"empty\.png: empty file"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "empty.png").touch()
    (tmp_path / "x_labels.txt").write_text(line + "\n")
    with pytest.raises(DataError, match=said):
        load_labelled(str(tmp_path / "x"), VIEW)
    (tmp_path / "x_labels.txt").write_bytes(b"\xff.png 1\n")
    with pytest.raises(DataError, match="is no UTF-8 text"):
        load_labelled(str(tmp_path / "x"), VIEW)
