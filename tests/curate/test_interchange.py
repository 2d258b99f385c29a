"""Exports opened by the libraries that they are for; each test is skipped without its library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from curate.exporting import ExportOptions, export_manifest
from curate.options import SelectOptions
from curate.pool import Pool
from curate.selection import select

from .helpers import CLASSES

# What these libraries warn of themselves is no failure of an export.
pytestmark = pytest.mark.filterwarnings("default")
SELECTED = 9


@pytest.fixture
def exported(pool: Pool, tmp_path: Path) -> Any:
    select(pool, "first", SelectOptions("msp", budget=SELECTED))

    def export(format: str, **options: Any) -> Path:
        target = tmp_path / "out"
        export_manifest(pool.catalog, "first", target, ExportOptions(format, **options))
        return target

    return export


@pytest.fixture
def datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Hugging Face's library, without its network and with a cache of its own."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    return pytest.importorskip("datasets")


@pytest.mark.parametrize(
    ("format", "options", "files"),
    [
        ("parquet", {"images": True}, None),
        ("folder", {}, None),
        ("folder", {"by_class": True}, None),
        ("webdataset", {}, "*.tar"),
    ],
)
def test_hugging_face_opens_images_with_what_is_known(
    exported: Any,
    datasets: Any,
    tmp_path: Path,
    format: str,
    options: dict[str, Any],
    files: str | None,
) -> None:
    target = exported(format, **options)
    known = {"cache_dir": str(tmp_path / "cache"), "split": "train"}
    if files:
        found = datasets.load_dataset(format, data_files=str(target / files), **known)
        rows = [row["json"] | {"image": row["png"]} for row in found]
    else:
        rows = list(datasets.load_dataset(str(target), **known))
    assert sorted(row["rank"] for row in rows) == list(range(1, SELECTED + 1))
    assert all(row["image"].size == (16, 16) for row in rows)
    assert {row.get("class_name", row.get("class")) for row in rows} <= set(CLASSES)


def test_labels_of_fiftyone_are_those_of_the_manifest(exported: Any) -> None:
    """The layout of its FiftyOneImageClassificationDataset, as it is documented."""
    target = exported("fiftyone")
    labels = json.loads((target / "labels.json").read_text("utf-8"))["labels"]
    assert {file.stem for file in (target / "data").iterdir()} == labels.keys()
    assert len(labels) == SELECTED
    assert all(one["attributes"]["image_id"] == str(int(key)) for key, one in labels.items())
    ranks = [one["attributes"]["rank"] for one in labels.values()]
    assert ranks == list(range(1, SELECTED + 1))
    assert {one["label"] for one in labels.values()} <= set(CLASSES)


@pytest.mark.parametrize(
    ("importer", "format", "options"),
    [
        ("FiftyOneImageClassificationDatasetImporter", "fiftyone", {}),
        ("ImageClassificationDirectoryTreeImporter", "folder", {"by_class": True}),
    ],
)
def test_fiftyone_reads_images_with_pseudo_labels(
    exported: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    importer: str,
    format: str,
    options: dict[str, Any],
) -> None:
    """By the importers that its data sets are made with, which need no database server."""
    monkeypatch.setenv("FIFTYONE_DATABASE_DIR", str(tmp_path / "db"))
    monkeypatch.setenv("FIFTYONE_DO_NOT_TRACK", "true")
    pytest.importorskip("fiftyone")
    from fiftyone.utils import data as importers

    with getattr(importers, importer)(dataset_dir=str(exported(format, **options))) as found:
        samples = list(found)
    assert len(samples) == SELECTED and all(Path(path).is_file() for path, *_ in samples)
    labels = {label.label.partition("_")[2] or label.label for *_, label in samples}
    assert labels <= set(CLASSES)
    if format == "fiftyone":
        ranks = [label["rank"] for *_, label in samples]
        assert sorted(ranks) == list(range(1, SELECTED + 1))
