"""The demo's data: drawn the same for the same seed, good and bad files as promised."""

from __future__ import annotations

import csv
import io
from collections import Counter
from itertools import combinations
from pathlib import Path

import duckdb
import numpy as np
import pytest
from PIL import Image

from curate.demo import crawl, digits, fonts, strokes
from curate.demo.crawl import DrawnFile

FILES = 600


def decoded(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as opened:
        return opened.convert("RGB")


@pytest.fixture(scope="module")
def drawn() -> list[DrawnFile]:
    return list(crawl.drawn_files(seed=3, files=FILES))


def test_same_seed_draws_the_same_bytes(drawn: list[DrawnFile]) -> None:
    assert list(crawl.drawn_files(seed=3, files=FILES)) == drawn
    other = list(crawl.drawn_files(seed=4, files=20))
    assert not {file.data for file in other if file.data} & {file.data for file in drawn}


def test_every_kind_comes_as_often_as_its_share(drawn: list[DrawnFile]) -> None:
    counts = Counter(file.kind for file in drawn)
    assert counts == {kind: round(share * FILES) for kind, share in crawl.SHARES.items()}
    assert sum(crawl.SHARES.values()) == pytest.approx(1)
    assert sum(crawl.DIGIT_SHARES) == pytest.approx(1)
    assert {file.digit for file in drawn} == {None, *range(10)}


@pytest.mark.parametrize("files", [1, 7, 50])
def test_a_crawl_of_any_size_can_be_drawn(files: int) -> None:
    assert len(list(crawl.drawn_files(seed=0, files=files))) == files


def test_files_decode_and_have_the_promised_sizes(drawn: list[DrawnFile]) -> None:
    formats = set()
    for file in drawn:
        if file.kind == "broken":
            continue
        image = decoded(file.data)
        if file.kind == "spacer":
            assert 1 <= min(image.size) <= max(image.size) <= 12
        else:
            assert 24 <= min(image.size) <= max(image.size) <= 96
        with Image.open(io.BytesIO(file.data)) as opened:
            formats.add((Path(file.name).suffix, opened.format))
    assert formats == {(".png", "PNG"), (".jpg", "JPEG")}


def test_broken_files_are_broken() -> None:
    rng = np.random.default_rng(0)
    broken = [crawl._broken(number, rng) for number in range(40)]
    for data in broken:
        with pytest.raises(OSError, match="(?i)cannot identify|truncated|broken"):
            decoded(data)
    assert b"" in broken
    assert any(data.startswith(b"<!DOCTYPE html>") for data in broken)
    assert any(data.startswith(b"\xff\xd8") for data in broken)


def test_copies_are_exact_or_near(drawn: list[DrawnFile]) -> None:
    originals = [file for file in drawn if "copy" not in file.kind and file.kind != "broken"]
    by_data = {file.data: file for file in originals}
    thumbnails = {
        file.name: np.asarray(decoded(file.data).resize((8, 8)), dtype=float) for file in originals
    }
    for file in drawn:
        if file.kind == "exact copy":
            assert by_data[file.data].digit == file.digit
        elif file.kind == "near copy":
            assert file.data not in by_data
            small = np.asarray(decoded(file.data).resize((8, 8)), dtype=float)
            assert min(abs(small - other).mean() for other in thumbnails.values()) < 16


def test_truth_stands_beside_the_crawl_and_names_every_file(tmp_path: Path) -> None:
    made = crawl.draw_crawl(tmp_path / "crawl", seed=1, files=60)
    with made.truth.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    files = {p.relative_to(made.folder).as_posix() for p in made.folder.rglob("*") if p.is_file()}
    assert made.truth == tmp_path / "truth.csv"
    assert files == {row["file"] for row in rows}
    assert len(files) == made.files == 60
    assert {row["digit"] for row in rows} <= {"", *"0123456789"}
    assert all(row["digit"] == "" for row in rows if row["kind"] == "broken")


def test_faces_that_cannot_draw_digits_are_left_out() -> None:
    assert len(fonts.faces()) >= 15
    bad = ("cmex", "cmsy", "cmmi", "STIXSiz", "STIXNonUni", "LastResort", "Display")
    assert [face for face in fonts.faces() if any(name in face for name in bad)] == []


@pytest.mark.parametrize("face", fonts.faces())
def test_a_face_draws_ten_different_digits(face: str) -> None:
    masks = [np.asarray(fonts.glyph(str(digit), face), dtype=int) for digit in range(10)]
    assert all((mask > 127).sum() > 200 for mask in masks)
    assert all(abs(one - other).mean() > 1 for one, other in combinations(masks, 2))
    # The ink of the thickest stroke still stays clear of the border.
    thick = np.asarray(fonts.glyph("W", face, 5))
    assert thick.max() == 255
    assert max(thick[0].max(), thick[-1].max()) == 0


@pytest.mark.parametrize("digit", range(10))
def test_written_digits_vary_and_stay_on_the_canvas(digit: int) -> None:
    rng = np.random.default_rng(digit)
    masks = [np.asarray(strokes.written(digit, rng)) for _ in range(20)]
    assert len({mask.tobytes() for mask in masks}) == 20
    for mask in masks:
        assert (mask > 127).sum() > 300
        assert mask[0].max() == mask[-1].max() == mask[:, 0].max() == mask[:, -1].max() == 0


def test_teacher_data_is_split_by_class_and_readable(tmp_path: Path) -> None:
    data = digits.make_teacher_data(tmp_path, seed=0, held_back=0.3)
    train, test = (
        duckdb.sql(f"SELECT image, label FROM '{path}'").fetchall()
        for path in (data.train, data.held_back)
    )
    assert len(train) + len(test) == 1797
    assert {row[1] for row in test} == set(range(10))
    assert len(test) == pytest.approx(0.3 * 1797, abs=5)
    assert decoded(train[0][0]).size == (32, 32)
    types = duckdb.sql(f"DESCRIBE SELECT * FROM '{data.train}'").fetchall()
    assert [(row[0], row[1]) for row in types] == [("image", "BLOB"), ("label", "INTEGER")]


def test_the_split_depends_on_the_seed_alone(tmp_path: Path) -> None:
    made = [digits.make_teacher_data(tmp_path / str(n), seed=n // 2) for n in range(3)]
    rows = [duckdb.sql(f"SELECT image, label FROM '{m.held_back}'").fetchall() for m in made]
    assert rows[0] == rows[1]
    assert rows[0] != rows[2]


def test_parquet_images_are_lossless(tmp_path: Path) -> None:
    images, labels = digits.load_digits()
    assert images.shape == (1797, 32, 32, 3)
    assert images.dtype == np.uint8
    digits.write_labelled(tmp_path / "few.parquet", images[:5], labels[:5])
    rows = duckdb.sql(f"SELECT image, label FROM '{tmp_path / 'few.parquet'}'").fetchall()
    for (data, label), image, expected in zip(rows, images, labels, strict=False):
        assert (np.asarray(decoded(data)) == image).all()
        assert label == expected
