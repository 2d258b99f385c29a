"""Shift estimates are those of the images that there are, whatever a build forgets meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curate import shift
from curate.scoring import score_pool
from curate.shift import update_shifts
from index.catalog import Catalog
from index.errors import WorkspaceError
from index.parts import list_parts, read_live

from .colours import colour_scorer
from .helpers import build, pixels_of, png, query, write_files

COUNT = 12


@pytest.fixture
def crawl(tmp_path: Path) -> Path:
    return write_files(tmp_path / "crawl", {f"{n}.png": png(pixels_of(n)) for n in range(COUNT)})


@pytest.fixture
def catalog(crawl: Path, tmp_path: Path) -> Catalog:
    build(tmp_path / "ws", [crawl])
    catalog = Catalog(tmp_path / "ws")
    score_pool(catalog, colour_scorer(), workers=0)
    return catalog


def forget_one(catalog: Catalog, crawl: Path) -> None:
    (crawl / "0.png").unlink()
    build(catalog.workspace, [crawl])


def stored(catalog: Catalog) -> dict[int, float]:
    rows = query(
        catalog.workspace, "SELECT image_id, value FROM shifts WHERE estimator = 'bn_shift'"
    )
    return dict(rows)


def check(catalog: Catalog) -> None:
    """What is stored are the z-scores of the images that are there, worked out in float64."""
    with catalog.read() as connection:
        parts = list_parts(connection, "shifts/colour/bn_shift")
    ids, raw = (
        np.concatenate(one) for one in zip(*(read_live(catalog, p) for p in parts), strict=True)
    )
    raw = raw.astype(np.float64)
    expected = ((raw - raw.mean(0)) / raw.std(0)).mean(1)
    found = stored(catalog)
    assert found.keys() == set(ids.tolist()) and len(found) == len(ids)
    np.testing.assert_allclose([found[key] for key in ids.tolist()], expected, rtol=1e-5, atol=1e-6)


def test_as_many_images_are_not_the_same_images(
    catalog: Catalog, crawl: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def values(*arguments: Any) -> Iterator[Any]:
        yield from estimated(*arguments)
        if (crawl / "0.png").exists():
            forget_one(catalog, crawl)

    estimated = shift._values
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(shift, "_values", values)
        update_shifts(catalog, "colour")
    (crawl / "new.png").write_bytes(png(pixels_of(COUNT)))
    build(catalog.workspace, [crawl])
    score_pool(catalog, colour_scorer(), workers=0)
    there = {key for (key,) in query(catalog.workspace, "SELECT image_id FROM scores")}
    assert len(stored(catalog)) == len(there) and stored(catalog).keys() != there
    update_shifts(catalog, "colour")
    check(catalog)


def test_an_image_that_leaves_between_the_passes_is_not_in_the_mean_alone(
    catalog: Catalog, crawl: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def statistics(*arguments: Any) -> Any:
        found = measured(*arguments)
        forget_one(catalog, crawl)
        return found

    measured = shift._layer_statistics
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(shift, "_layer_statistics", statistics)
        with pytest.raises(WorkspaceError, match="images were removed while this command ran"):
            update_shifts(catalog, "colour")
    assert stored(catalog) == {}
    update_shifts(catalog, "colour")
    check(catalog)
