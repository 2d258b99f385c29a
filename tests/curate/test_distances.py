"""Distances between sets, against SciPy, scikit-learn, and sums over pairs in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.linalg import sqrtm
from scipy.spatial.distance import cdist, pdist
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from curate.distances import (
    frechet_distance,
    median_bandwidth,
    mmd_squared,
    proxy_a_distance,
)
from index.errors import UsageError

Vectors = NDArray[np.float32]


def vectors(count: int, width: int, seed: int = 0, away: float = 0.0) -> Vectors:
    """Unit vectors around a direction of their own."""
    rng = np.random.default_rng(seed)
    found = rng.normal(size=(count, width)) * rng.uniform(0.2, 1, width) + away
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def by_scipy(x: Vectors, y: Vectors) -> float:
    a, b = x.astype(np.float64), y.astype(np.float64)
    s, t = np.cov(a.T), np.cov(b.T)
    mean = ((a.mean(0) - b.mean(0)) ** 2).sum()
    return float(mean + np.trace(s + t - 2 * np.real(sqrtm(s @ t))))


@pytest.mark.parametrize(("count", "width"), [(200, 6), (90, 40), (41, 40)])
def test_frechet_is_scipys(count: int, width: int) -> None:
    x, y = vectors(count, width), vectors(count + 30, width, seed=1, away=0.3)
    assert frechet_distance(x, y) == pytest.approx(by_scipy(x, y), rel=1e-6)
    assert frechet_distance(y, x) == pytest.approx(frechet_distance(x, y), rel=1e-6)


def test_frechet_of_fewer_images_than_dimensions() -> None:
    """The trace of the root is the sum of singular values of X Y^T, from the vectors alone."""
    x, y = vectors(7, 40).astype(np.float64), vectors(9, 40, seed=1, away=0.3).astype(np.float64)
    a, b = x - x.mean(0), y - y.mean(0)
    shared = np.linalg.svd(a @ b.T, compute_uv=False).sum() / np.sqrt(6 * 8)
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + (a**2).sum() / 6 + (b**2).sum() / 8
    assert frechet_distance(x, y) == pytest.approx(expected - 2 * shared, rel=1e-6)


@settings(max_examples=30, deadline=None)
@given(count=st.integers(2, 12), width=st.integers(1, 9), seed=st.integers(0, 99))
def test_no_set_is_at_a_distance_from_itself(count: int, width: int, seed: int) -> None:
    x = vectors(count, width, seed)
    assert 0 <= frechet_distance(x, x) < 1e-6
    assert frechet_distance(x, x[::-1] + 2) == pytest.approx(4 * width, rel=1e-5)


def test_mmd_is_the_sum_over_pairs() -> None:
    x, y = vectors(13, 5), vectors(17, 5, seed=1, away=0.4)
    width = float(np.median(pdist(y.astype(np.float64))))
    assert median_bandwidth(y) == pytest.approx(width, rel=1e-6)

    def kernel(a: Vectors, b: Vectors) -> NDArray[np.float64]:
        found = cdist(a.astype(np.float64), b.astype(np.float64), "sqeuclidean")
        return np.exp(-found / (2 * width**2))

    inside = [kernel(a, a)[~np.eye(len(a), dtype=bool)].mean() for a in (x, y)]
    expected = sum(inside) - 2 * kernel(x, y).mean()
    assert mmd_squared(x, y, width) == pytest.approx(expected, rel=1e-6)
    assert expected > 0.05


def test_mmd_of_one_distribution_is_about_zero() -> None:
    both = vectors(800, 5)
    found = mmd_squared(both[:400], both[400:], median_bandwidth(both))
    assert abs(found) < 0.003 < 0.02 < mmd_squared(both, vectors(400, 5, away=0.4), 0.7)
    assert abs(mmd_squared(both, both, 0.7)) < 2 / len(both)


def test_proxy_a_is_that_of_held_out_errors() -> None:
    x, y = vectors(60, 4).astype(np.float64), vectors(50, 4, seed=1, away=0.2).astype(np.float64)
    images, labels = np.concatenate([x[:50], y]), np.repeat([0, 1], 50)
    wrong = 0
    for learn, judge in StratifiedKFold(5, shuffle=True, random_state=3).split(images, labels):
        mean, deviation = images[learn].mean(0), images[learn].std(0)
        line = LogisticRegression(max_iter=1000)
        line.fit((images[learn] - mean) / deviation, labels[learn])
        said = line.predict((images[judge] - mean) / deviation)
        wrong += int((said != labels[judge]).sum())
    assert 0 < wrong < 50
    assert proxy_a_distance(x, y, seed=3) == pytest.approx(2 * (1 - 2 * wrong / 100))


def test_proxy_a_at_its_ends() -> None:
    x = vectors(100, 3)
    assert proxy_a_distance(x, x, 0) == 0
    assert proxy_a_distance(x, x + 5, 0) == 2


def test_sets_that_are_too_small_or_all_the_same_are_refused() -> None:
    one, more = vectors(1, 3), vectors(9, 3)
    with pytest.raises(UsageError, match="takes 2 images, and there are 1 and 9"):
        frechet_distance(one, more)
    with pytest.raises(UsageError, match="takes 2 images, and there are 9 and 1"):
        mmd_squared(more, one, 1.0)
    with pytest.raises(UsageError, match="takes 5 images, and there are 4 and 9"):
        proxy_a_distance(more[:4], more, 0)
    with pytest.raises(UsageError, match="most of the reference's vectors are the same"):
        median_bandwidth(np.repeat(one, 5, axis=0))


def test_figures_do_not_depend_on_the_order_within_a_set() -> None:
    x, y = vectors(40, 6), vectors(40, 6, seed=1, away=0.3)
    order = np.random.default_rng(0).permutation(40)
    assert frechet_distance(x[order], y) == pytest.approx(frechet_distance(x, y), rel=1e-9)
    assert mmd_squared(x[order], y, 1.0) == pytest.approx(mmd_squared(x, y, 1.0), rel=1e-9)
