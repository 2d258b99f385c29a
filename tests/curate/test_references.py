"""Reference sets: what is read, what is kept, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from curate.networks import scored_pool
from curate.pool import Pool
from curate.references import stored_reference
from curate.selection import SelectOptions, select
from curate.verifying import verify_manifest
from index.errors import DataError, WorkspaceError

from .helpers import query, write_files


def with_reference(pool: Pool, teacher: str, *sources: Path) -> Pool:
    names = [str(source) for source in sources]
    found = scored_pool(pool.catalog, teacher, reference=names, workers=0)
    return replace(pool, reference=found.reference)


def test_knn_ranks_by_the_distance_to_a_reference(
    pool: Pool, teacher: str, reference: Path
) -> None:
    pool = with_reference(pool, teacher, reference)
    manifest = select(pool, "near", SelectOptions("knn", budget=10))
    assert manifest.options["reference"] == pool.reference
    assert manifest.embedder == pool.embedder
    rows = query(
        pool.catalog.workspace,
        "SELECT score, components['knn'] FROM decisions WHERE manifest = 'near' ORDER BY rank",
    )
    scores = np.array([score for score, _ in rows])
    assert np.array_equal(scores, -np.array([distance for _, distance in rows]))
    assert (np.diff(scores[:10]) <= 0).all()
    assert verify_manifest(pool.catalog, "near").is_whole


def test_broken_images_and_copies_are_left_out(pool: Pool, teacher: str, reference: Path) -> None:
    key = with_reference(pool, teacher, reference).reference
    assert key is not None
    found = stored_reference(pool.catalog, key)
    assert found.ids.tolist() == sorted(set(found.ids.tolist()))
    assert len(found.ids) == len(found.vectors) == len(found.logits) == 20
    np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1, rtol=1e-6)


def test_a_reference_without_images_is_refused(pool: Pool, teacher: str, tmp_path: Path) -> None:
    empty = write_files(tmp_path / "empty", {"page.png": b"<html></html>"})
    with pytest.raises(DataError, match=r"no image of --reference .*page\.png"):
        with_reference(pool, teacher, empty)


def test_a_damaged_file_is_named_with_its_remedy(pool: Pool, teacher: str, reference: Path) -> None:
    key = with_reference(pool, teacher, reference).reference
    assert key is not None
    file = pool.catalog.workspace / "references" / f"{key}.npz"
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(WorkspaceError, match=rf"{key}\.npz is missing or damaged: select with"):
        stored_reference(pool.catalog, key)
    assert with_reference(pool, teacher, reference).reference == key
    stored_reference(pool.catalog, key)
