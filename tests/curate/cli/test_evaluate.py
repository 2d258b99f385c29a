"""evaluate on the command line: one table on the screen, everything in JSON and CSV."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from curate.cli.evaluate import CORRUPT_HELP
from distill.corruptions import KINDS
from distill.evaluation import predict
from distill.networks import load_network
from index.files import out_of_space

from ..conftest import Kdcurate
from ..helpers import CLASSES, pixels_of, png, write_parquet

N = 24
LABELS = [n % 4 for n in range(N)]


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("labelled") / "test.parquet"
    rows = [(png(pixels_of(900 + n)), LABELS[n]) for n in range(N)]
    return write_parquet(path, "image BLOB, label INTEGER", rows)


def test_json_has_every_figure(
    kdcurate: Kdcurate, teacher: str, student: str, labelled: Path
) -> None:
    found = kdcurate(
        *("evaluate", student, "--data", labelled, "--teacher", teacher, "--device", "cpu"),
        *("--corrupt", "jpeg:5", "--corrupt", "noise:1", "--json"),
    )
    assert (found.code, found.err) == (0, "")
    shown = json.loads(found.out)
    pixels = np.stack([pixels_of(900 + n) for n in range(N)])
    said, taught = (predict(load_network(card), pixels).argmax(1) for card in (student, teacher))
    assert shown["n"] == N
    assert shown["accuracy"] == pytest.approx((said == LABELS).mean())
    assert shown["agreement"] == pytest.approx((said == taught).mean())
    assert shown["top5"] is None and 0 <= shown["ece"] <= 1
    assert shown["confusion"] == confusion_matrix(LABELS, said, labels=range(4)).tolist()
    assert [one["name"] for one in shown["classes"]] == CLASSES
    assert [one["n"] for one in shown["classes"]] == [6] * 4
    assert [(one["kind"], one["setting"]) for one in shown["shifted"]] == [
        ("jpeg", "quality 30"),
        ("noise", "sigma 5"),
    ]
    assert shown["params"] > 50_000 and shown["flops"] > shown["macs"] > 0 < shown["cpu_ms"]


def test_a_screen_shows_classes_confusions_and_copies(
    kdcurate: Kdcurate, teacher: str, labelled: Path, tmp_path: Path
) -> None:
    path = tmp_path / "confusion.csv"
    found = kdcurate(
        *("evaluate", teacher, "--data", labelled, "--device", "cpu"),
        *("--corrupt", "contrast", "--confusion", path),
    )
    assert found.code == 0 and f"wrote {path}" in found.err
    assert "share of the class" in found.out and "factor 0.15" in found.out
    assert all(name in found.out for name in (*CLASSES, "cpu_ms", "ece", "corruption"))
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0][1:] == CLASSES
    assert sum(int(count) for row in rows[1:] for count in row[1:]) == N


def test_a_wrong_corruption_is_refused_before_any_work(kdcurate: Kdcurate, teacher: str) -> None:
    found = kdcurate("evaluate", teacher, "--data", "absent.parquet", "--corrupt", "fog")
    assert found.code == 2 and "--corrupt 'fog' is unknown" in found.err


def test_a_file_that_cannot_be_written_is_refused_before_any_work(
    kdcurate: Kdcurate, teacher: str, labelled: Path, tmp_path: Path
) -> None:
    found = kdcurate("evaluate", teacher, "--data", labelled, "--confusion", tmp_path)
    assert (found.code, found.out) == (2, "")
    assert found.err == f"kdcurate: cannot write {tmp_path} (it is a folder): name another file\n"


def test_what_is_measured_is_told_even_where_it_cannot_be_written(
    kdcurate: Kdcurate,
    teacher: str,
    labelled: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object) -> None:
        raise out_of_space(tmp_path)

    monkeypatch.setattr("curate.confusion.write_confusion", full)
    asked = ("--data", labelled, "--device", "cpu", "--confusion", tmp_path / "c.csv", "--json")
    found = kdcurate("evaluate", teacher, *asked)
    assert found.code == 1 and "no space left" in found.err
    assert json.loads(found.out)["n"] == N


def test_help_names_every_corruption() -> None:
    assert all(f"{kind}, " in CORRUPT_HELP for kind in KINDS)
