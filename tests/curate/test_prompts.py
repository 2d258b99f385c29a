"""clip_text: the images' vectors against the names of their classes, end to end."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from curate.fitted import ESTIMATORS, Sample
from curate.prompts import class_prompts
from distill.networks import load_embedder
from index.catalog import Catalog
from index.errors import UsageError
from index.models import register_model
from index.vectors import vectors_of

from .conftest import Kdcurate
from .helpers import CLASSES, IMAGES, QUIET, query


def rename(workspace: Path, key: str, classes: list[str] | None) -> None:
    with Catalog(workspace).write() as connection:
        connection.execute("UPDATE models SET classes = ? WHERE key = ?", [classes, key])


def text_vectors(clip: str, texts: list[str]) -> NDArray[np.float64]:
    found = load_embedder(clip).embed_text(texts).astype(np.float64)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def test_it_ranks_by_the_cosine_to_the_name_of_the_class(
    kdcurate: Kdcurate, crawl: Path, clip: str, teacher: str, tmp_path: Path
) -> None:
    ws = tmp_path / "ws"
    assert kdcurate("build-index", crawl, "-w", ws, "--embedder", clip, *QUIET).code == 0
    command = ("select", "-w", ws, "--teacher", teacher, "--strategy", "clip_text", *QUIET)
    made = kdcurate(*command, "--name", "first", "--budget", 9, "--json")
    assert made.code == 0, made.err
    rows = query(ws, "SELECT image_id, pseudo_label, score, selected FROM decisions")
    assert len(rows) == IMAGES
    catalog = Catalog(ws)
    images = vectors_of(catalog, load_embedder(clip).key, np.array([row[0] for row in rows]))
    texts = text_vectors(clip, [f"a photo of a {name}" for name in CLASSES])
    expected = (images.astype(np.float64) * texts[[row[1] for row in rows]]).sum(1)
    np.testing.assert_allclose([row[2] for row in rows], expected, atol=1e-5)
    best = sorted(rows, key=lambda row: (-row[2], row[0]))[:9]
    assert {row[0] for row in best} == {row[0] for row in rows if row[3]}
    # And odsd over the same vectors.
    rank = ("--rank", "odsd_like + clip_text", "--name", "second", "--budget", 9, "--json")
    both = kdcurate(*command[:5], *QUIET, *rank)
    assert both.code == 0, both.err
    parts = query(ws, "SELECT score, components FROM decisions WHERE manifest = 'second'")
    assert all(abs(s - c["odsd_like"] - c["clip_text"]) < 1e-5 for s, c in parts)

    (key,) = {json.loads(made.out)["teacher"]}
    embedder = load_embedder(clip).key
    rename(ws, key, ["great_white_shark", "b", "c", "d"])
    found = class_prompts(catalog, key, embedder)[0]
    np.testing.assert_allclose(
        found, text_vectors(clip, ["a photo of a great white shark"])[0], atol=1e-6
    )
    rename(ws, key, None)
    with pytest.raises(UsageError, match=f"names of {key}'s classes: add classes"):
        class_prompts(catalog, key, embedder)
    register_model(catalog, key, "cifar:resnet8", "{}", CLASSES)  # its card names them now
    assert len(class_prompts(catalog, key, embedder)) == len(CLASSES)


def test_an_index_of_another_embedder_is_refused(
    kdcurate: Kdcurate, workspace: Path, teacher: str
) -> None:
    with Catalog(workspace).write() as connection:
        connection.execute("DELETE FROM scores")
    found = kdcurate(
        *("select", "-w", workspace, "--teacher", teacher, "--strategy", "clip_text", *QUIET)
    )
    assert (found.code, found.out, found.err.count("\n")) == (2, "", 1)
    assert "clip_text needs an index made with an open_clip embedder" in found.err
    assert "cifar:resnet8" in found.err
    tables = "(SELECT count(*) FROM manifests), (SELECT count(*) FROM scores)"
    assert query(workspace, f"SELECT {tables}") == [(0, 0)]  # refused before the scoring pass


def test_a_sample_without_texts_is_refused() -> None:
    sample = Sample(np.arange(2), np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32))
    with pytest.raises(UsageError, match="clip_text needs the vectors of the classes' names"):
        ESTIMATORS["clip_text"].fit(None, sample)
