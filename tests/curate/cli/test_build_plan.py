"""build-index --dry-run decodes as a build does: what crashes a decoder does not end the plan."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.index.helpers import Fragile

from ..conftest import Kdcurate


@pytest.fixture
def folder(crawl: Path, tmp_path: Path) -> Path:
    made = tmp_path / "folder"
    shutil.copytree(crawl, made)
    (made / "0000.jpg").write_bytes(b"SEGV")
    return made


def test_an_image_that_crashes_its_decoder_does_not_end_the_plan(
    kdcurate: Kdcurate,
    folder: Path,
    teacher: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("index.decoding.Decoder", Fragile)
    plan = ("build-index", folder, "-w", tmp_path / "ws", "--embedder", teacher, "--dry-run")
    found = json.loads(kdcurate(*plan, "--device", "cpu", "--json").out)
    assert found["decode_images_per_s"] > 0
    assert found["images"] > 1


def test_a_plan_obeys_formats(
    kdcurate: Kdcurate, folder: Path, teacher: str, tmp_path: Path
) -> None:
    plan = ("build-index", folder, "-w", tmp_path / "ws", "--embedder", teacher, "--dry-run")
    found = json.loads(kdcurate(*plan, "--formats", "avif", "--device", "cpu", "--json").out)
    assert found["decode_images_per_s"] == 0
    assert not (tmp_path / "ws").exists()
