"""Whole numbers: exact whatever the order, and close to the cosine."""

from __future__ import annotations

import numpy as np
import pytest

from curate.diversity.base import nearest_taken, whole
from index.vectors import unit_norm

from .helpers import ONE


@pytest.mark.parametrize("dim", [1, 64, 2048, 8192])
def test_products_are_exact_and_near_the_cosine(dim: int) -> None:
    rng = np.random.default_rng(dim)
    vectors = unit_norm(rng.normal(size=(40, dim)).astype(np.float32))
    vectors[1] = vectors[0]
    vectors[2] = unit_norm(np.sign(vectors[2:3]))[0]  # the worst to round: all values alike
    rounded = whole(vectors)
    exact = rounded.astype(np.float64) @ rounded.astype(np.float64).T
    assert np.abs(exact).max() < 2**24
    np.testing.assert_array_equal(rounded @ rounded.T, exact)
    order = rng.permutation(dim)
    np.testing.assert_array_equal(rounded[:, order] @ rounded[:, order].T, exact)
    cosines = vectors.astype(np.float64) @ vectors.astype(np.float64).T
    off_diagonal = ~np.eye(40, dtype=bool)
    off_diagonal[:3, :3] = False
    np.testing.assert_allclose((exact / ONE)[off_diagonal], cosines[off_diagonal], atol=5e-4)


def test_the_nearest_taken_is_found_and_of_equals_the_first() -> None:
    rng = np.random.default_rng(0)
    vectors = whole(unit_norm(rng.normal(size=(2100, 4)).astype(np.float32)))
    vectors[9] = vectors[4]
    taken = np.array([4, 9, 700, 2000])
    nearest, cosine = nearest_taken(vectors, taken)
    products = vectors.astype(np.float64) @ vectors[taken].astype(np.float64).T
    np.testing.assert_array_equal(nearest, taken[products.argmax(axis=1)])
    np.testing.assert_array_equal(cosine, products.max(axis=1) / ONE)
    assert nearest[9] == 4
