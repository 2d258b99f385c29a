"""export on the command line: checked on images of the workspace or of a source."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from curate.pool import Pool
from curate.sampling import sample_catalog, sample_source
from distill.evaluation import predict
from distill.exporting import FORMATS
from distill.exporting.base import as_form
from distill.networks import load_network
from index.decoding import View

from ..conftest import Kdcurate
from ..helpers import IMAGES, PICTURES, SIZE, pixels_of


def test_a_file_is_checked_on_images_of_the_workspace(
    kdcurate: Kdcurate, scored: Pool, teacher: str, tmp_path: Path
) -> None:
    where = ("-w", scored.catalog.workspace, "--images", 10, "--workers", 0)
    found = kdcurate("export", teacher, tmp_path / "t.pt", "--input", "uint8", *where, "--json")
    assert (found.code, found.err) == (0, "")
    shown = json.loads(found.out)
    assert (shown["format"], shown["images"]) == ("torchscript", 10)
    assert shown["difference"] < 1e-4 and shown["expects"].startswith("uint8")
    network, images = load_network(teacher), np.stack([pixels_of(n) for n in range(4)])
    run = FORMATS["torchscript"].read(tmp_path / "t.pt")
    logits = run(as_form(images, "uint8", network.card.input))
    np.testing.assert_allclose(logits, predict(network, images), atol=1e-4)


def test_or_on_any_source_and_said_in_words(
    kdcurate: Kdcurate, crawl: Path, teacher: str, tmp_path: Path
) -> None:
    found = kdcurate("export", teacher, tmp_path / "t.safetensors", "--data", crawl)
    assert found.code == 0 and "agrees with the network on 64 images" in found.err
    assert "difference" in found.out and (tmp_path / "t.toml").is_file()
    again = kdcurate("export", teacher, tmp_path / "t.safetensors", "--data", crawl)
    assert again.code == 2 and "t.safetensors exists: remove it" in again.err


def test_wrong_use_is_one_line(kdcurate: Kdcurate, teacher: str, tmp_path: Path) -> None:
    nowhere = kdcurate("export", teacher, tmp_path / "t.pt", "-w", tmp_path)
    assert nowhere.code == 2 and "give --data SOURCE, or -w WORKSPACE" in nowhere.err
    suffix = kdcurate("export", teacher, tmp_path / "t.tflite")
    assert suffix.code == 2 and "its suffix names no format: .safetensors (safe" in suffix.err
    assert list(tmp_path.iterdir()) == []


def test_samples_are_drawn_by_id_and_seed(scored: Pool, crawl: Path) -> None:
    view = View(SIZE)
    first = sample_catalog(scored.catalog, view, 9, workers=0)
    assert first.shape == (9, SIZE, SIZE, 3)
    np.testing.assert_array_equal(sample_catalog(scored.catalog, view, 9, workers=0), first)
    other = sample_catalog(scored.catalog, view, 9, seed=1, workers=0)
    assert not np.array_equal(other, first)
    assert len(sample_catalog(scored.catalog, view, 999, workers=0)) == IMAGES
    assert PICTURES < len(sample_source(str(crawl), view, 999)) < 999  # broken files are left out
