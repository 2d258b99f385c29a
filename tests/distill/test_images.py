"""The pool's images in memory, within their budget."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distill.images import PoolImages, load_pool
from index.catalog import Catalog
from index.decoding import View
from index.errors import KdcurateError

from .workspaces import IMAGES

VIEW = View(4, None, "bilinear")


def test_the_pool_comes_in_the_order_of_ids_whatever_the_workers(catalog: Catalog) -> None:
    only = "SELECT id FROM images"
    alone = load_pool(catalog, VIEW, only=only, cache_budget_gib=1, workers=0)
    many = load_pool(catalog, VIEW, only=only, cache_budget_gib=1, workers=2)
    assert len(alone.ids) == IMAGES and (np.diff(alone.ids) > 0).all()
    np.testing.assert_array_equal(alone.ids, many.ids)
    np.testing.assert_array_equal(alone.pixels, many.pixels)


def test_only_what_the_query_names_is_decoded_and_found_by_id(catalog: Catalog) -> None:
    everything = load_pool(
        catalog, VIEW, only="SELECT id FROM images", cache_budget_gib=1, workers=0
    )
    query = "SELECT image_id FROM decisions WHERE selected"
    some = load_pool(catalog, VIEW, only=query, cache_budget_gib=1, workers=0)
    assert 0 < len(some.ids) < IMAGES
    backwards = some.ids[::-1]
    np.testing.assert_array_equal(
        some.pixels[some.places(backwards)], everything.pixels[everything.places(backwards)]
    )


def pool(catalog: Catalog, budget: float, **given: Any) -> PoolImages:
    only = "SELECT id FROM images"
    return load_pool(catalog, VIEW, only=only, cache_budget_gib=budget, workers=0, **given)


def test_a_pool_above_the_budget_lies_in_a_file_with_the_same_pixels(catalog: Catalog) -> None:
    need = IMAGES * 4 * 4 * 3 / 2**30
    inside = pool(catalog, need)
    assert not isinstance(inside.pixels, np.memmap)
    assert not (catalog.workspace / "cache").exists()
    outside = pool(catalog, need * 0.99)
    assert isinstance(outside.pixels, np.memmap)
    np.testing.assert_array_equal(outside.ids, inside.ids)
    np.testing.assert_array_equal(outside.pixels, inside.pixels)


def test_the_file_is_read_by_the_next_run_and_not_decoded_again(
    tmp_path: Path, catalog: Catalog
) -> None:
    first = pool(catalog, 1e-9)
    with catalog.write() as connection:  # no image can be decoded any more
        connection.execute("UPDATE locations SET container = ?", [str(tmp_path / "absent.png")])
    for budget in (1e-9, 1):
        again = pool(catalog, budget)
        np.testing.assert_array_equal(again.pixels, first.pixels)
    with pytest.raises(KdcurateError, match=r"absent\.png"):
        load_pool(
            catalog,
            View(5, None, "bilinear"),
            only="SELECT id FROM images",
            cache_budget_gib=1e-9,
            workers=0,
        )


def test_a_run_that_ends_while_it_decodes_leaves_no_file_that_counts(
    tmp_path: Path, catalog: Catalog
) -> None:
    with catalog.write() as connection:
        path = str(tmp_path / "absent.png")
        connection.execute(
            "UPDATE locations SET container = ? WHERE image_id = (SELECT max(id) FROM images)",
            [path],
        )
    with pytest.raises(KdcurateError, match=r"absent\.png"):
        pool(catalog, 1e-9)
    (folder,) = (catalog.workspace / "cache").iterdir()
    assert [entry.name for entry in folder.iterdir() if entry.name != ".lock"] == []


def test_an_image_that_is_gone_is_no_silent_gap(tmp_path: Path, catalog: Catalog) -> None:
    with catalog.write() as connection:
        connection.execute("UPDATE locations SET container = ?", [str(tmp_path / "absent.png")])
    with pytest.raises(KdcurateError, match=r"absent\.png"):
        load_pool(catalog, VIEW, only="SELECT id FROM images", cache_budget_gib=1, workers=0)
