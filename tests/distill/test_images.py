"""The pool's images in memory, within their budget."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from distill.images import load_pool
from index.catalog import Catalog
from index.decoding import View
from index.errors import KdcurateError, UsageError

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


def test_a_pool_above_the_budget_is_refused_before_it_is_decoded(catalog: Catalog) -> None:
    need = IMAGES * 4 * 4 * 3 / 2**30
    only = "SELECT id FROM images"
    assert len(load_pool(catalog, VIEW, only=only, cache_budget_gib=need, workers=0).ids) == IMAGES
    with pytest.raises(UsageError, match=f"{IMAGES} images of 4x4 .*--cache-budget"):
        load_pool(catalog, VIEW, only=only, cache_budget_gib=need * 0.99, workers=0)


def test_an_image_that_is_gone_is_no_silent_gap(tmp_path: Path, catalog: Catalog) -> None:
    with catalog.write() as connection:
        connection.execute("UPDATE locations SET container = ?", [str(tmp_path / "absent.png")])
    with pytest.raises(KdcurateError, match=r"absent\.png"):
        load_pool(catalog, VIEW, only="SELECT id FROM images", cache_budget_gib=1, workers=0)
