"""Every fitted estimate against its formula, worked out another way in float64."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.distance import cdist, mahalanobis, pdist
from scipy.special import logsumexp
from sklearn.covariance import ledoit_wolf_shrinkage
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors

from curate.fitted import ESTIMATORS, Sample
from curate.fitted.mmd_witness import bandwidth
from curate.references import Reference
from index.errors import UsageError

D, K = 12, 5
Values = NDArray[np.float64]
Singles = NDArray[np.float32]


def unit(rows: Values) -> Singles:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def made(
    seed: int, count: int, shift: float = 0.0
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Vectors around class centres, and logits that mostly know the class."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(K, D))
    labels = rng.integers(K, size=count)
    vectors = unit(centres[labels] + rng.normal(scale=0.7, size=(count, D)) + shift)
    logits = rng.normal(size=(count, K)) + 3 * np.eye(K)[labels]
    return vectors, logits.astype(np.float16).astype(np.float32)


def reference_of(count: int, seed: int = 1) -> Reference:
    vectors, logits = made(seed, count)
    return Reference("key", np.arange(count, dtype=np.int64), vectors, logits, ["here"])


REFERENCE = reference_of(300)
PROMPTS = unit(np.random.default_rng(4).normal(size=(K, D)))
SAMPLE = Sample(np.arange(700, dtype=np.int64), *made(2, 700, shift=0.3), lambda: PROMPTS)
VECTORS, LOGITS = made(3, 90, shift=0.2)


def estimate(name: str, reference: Reference = REFERENCE, sample: Sample = SAMPLE) -> Values:
    return ESTIMATORS[name].fit(reference, sample)(VECTORS, LOGITS).astype(np.float64)


def double(rows: Singles) -> Values:
    return rows.astype(np.float64)


@pytest.mark.parametrize(("count", "k"), [(300, 50), (64, 50), (50, 50), (7, 7), (1, 1)])
def test_knn_is_the_distance_to_the_kth_neighbour(count: int, k: int) -> None:
    reference = reference_of(count)
    near = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(double(reference.vectors))
    expected = near.kneighbors(double(VECTORS))[0][:, -1]
    np.testing.assert_allclose(estimate("knn", reference), expected, rtol=1e-6)


def gaussian_distances(vectors: Values, labels: NDArray[np.int64]) -> Values:
    """To the nearest mean, one image and one class at a time."""
    means = {c: vectors[labels == c].mean(axis=0) for c in set(labels.tolist())}
    residuals = np.array([x - means[c] for x, c in zip(vectors, labels.tolist(), strict=True)])
    covariance = sum(np.outer(x, x) for x in residuals) / (len(vectors) - len(means))
    share = ledoit_wolf_shrinkage(residuals, assume_centered=True)
    even = np.trace(covariance) / D * np.eye(D)
    inverse = np.linalg.inv((1 - share) * covariance + share * even + 1e-6 * np.eye(D))
    return np.array(
        [min(mahalanobis(x, m, inverse) ** 2 for m in means.values()) for x in double(VECTORS)]
    )


@pytest.mark.parametrize("count", [300, 30, 9])
def test_mahalanobis_and_rmds_are_those_of_gaussians_with_a_shared_covariance(count: int) -> None:
    reference = reference_of(count)
    vectors, labels = double(reference.vectors), reference.labels
    classes = gaussian_distances(vectors, labels)
    np.testing.assert_allclose(estimate("mahalanobis", reference), classes, rtol=1e-5)
    whole = gaussian_distances(vectors, np.zeros_like(labels))
    np.testing.assert_allclose(estimate("rmds", reference), classes - whole, rtol=1e-4, atol=1e-4)


def test_a_class_of_one_image_has_a_mean_and_no_say_in_the_covariance() -> None:
    more, alone = reference_of(100), unit(-np.ones((1, D)))
    logits = np.zeros((100, K + 1), np.float32)
    logits[:, :K] = more.logits
    without = Reference("a", more.ids, more.vectors, logits, [])
    one = np.eye(K + 1, dtype=np.float32)[-1:] * 9
    ids = np.arange(101, dtype=np.int64)
    vectors = np.concatenate([more.vectors, alone])
    added = Reference("b", ids, vectors, np.concatenate([logits, one]), [])
    before, after = (ESTIMATORS["mahalanobis"].fit(r, SAMPLE) for r in (without, added))
    beside = np.concatenate([alone, VECTORS])
    assert after(beside, LOGITS)[0] < 1e-6 < before(beside, LOGITS)[0]


def test_of_one_image_mahalanobis_is_its_distance() -> None:
    reference = reference_of(1)
    away = cdist(double(VECTORS), double(reference.vectors), "sqeuclidean")[:, 0]
    np.testing.assert_allclose(estimate("mahalanobis", reference) * 1e-6, away, rtol=1e-5)


@pytest.mark.parametrize(("count", "main"), [(300, D // 2), (6, 2), (2, 0)])
def test_vim_is_the_scaled_residual_less_the_energy(count: int, main: int) -> None:
    reference = reference_of(count)
    rows = double(reference.vectors)
    mean = rows.mean(axis=0)
    right = np.linalg.svd(rows - mean)[2][:main]

    def residual(vectors: Values) -> Values:
        away = vectors - mean
        return np.linalg.norm(away - away @ right.T @ right, axis=1)

    alpha = double(reference.logits).max(axis=1).mean() / residual(rows).mean()
    expected = alpha * residual(double(VECTORS)) - logsumexp(double(LOGITS), axis=1)
    np.testing.assert_allclose(estimate("vim", reference), expected, rtol=1e-5, atol=1e-5)


def test_prototype_is_the_cosine_to_the_mean_of_the_predicted_class() -> None:
    keep = REFERENCE.labels != 2
    fewer = Reference(
        "key", REFERENCE.ids[keep], REFERENCE.vectors[keep], REFERENCE.logits[keep], []
    )
    found = estimate("prototype", fewer)
    for value, x, label in zip(found, double(VECTORS), LOGITS.argmax(axis=1), strict=True):
        if label == 2:
            assert value == -1
            continue
        mean = double(REFERENCE.vectors[REFERENCE.labels == label]).mean(axis=0)
        assert value == pytest.approx(x @ mean / np.linalg.norm(mean), rel=1e-6)


def test_mmd_witness_is_the_difference_of_mean_kernels() -> None:
    theirs, ours, x = (double(v) for v in (REFERENCE.vectors, SAMPLE.vectors, VECTORS))
    width = np.median(pdist(np.concatenate([theirs[:500], ours[:500]])))
    near, far = (
        np.exp(-cdist(x, rows, "sqeuclidean") / (2 * width**2)).mean(axis=1)
        for rows in (theirs, ours)
    )
    np.testing.assert_allclose(estimate("mmd_witness"), near - far, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("vectors", [np.ones((1, D)), np.ones((4, D))])
def test_without_distances_the_bandwidth_is_1(vectors: Values) -> None:
    assert bandwidth(vectors) == 1


@pytest.mark.parametrize("count", [300, 20, 1])
def test_domain_is_the_ratio_of_a_logistic_regression(count: int) -> None:
    reference = reference_of(count)
    both = np.concatenate([double(reference.vectors), double(SAMPLE.vectors)])
    mean, deviation = both.mean(axis=0), both.std(axis=0)
    known = np.arange(len(both)) < count
    model = LogisticRegression(C=1.0, tol=1e-10, max_iter=10_000)
    model.fit((both - mean) / deviation, known)
    share = model.predict_proba((double(VECTORS) - mean) / deviation)[:, 1]
    expected = share / (1 - share) * len(SAMPLE.ids) / count
    np.testing.assert_allclose(estimate("domain", reference), expected, rtol=1e-3)


def test_domain_is_finite_where_a_classifier_is_sure() -> None:
    away = Sample(SAMPLE.ids, -REFERENCE.vectors[[0] * 700], SAMPLE.logits)
    same = Reference("k", REFERENCE.ids, REFERENCE.vectors[[0] * 300], REFERENCE.logits, [])
    assert np.isfinite(estimate("domain", same, away)).all()


def test_dsir_is_the_log_ratio_of_smoothed_shares_of_a_code() -> None:
    """The pool has one cluster only, the reference two: their shares are counted by hand."""
    east, west = np.eye(D)[0], -np.eye(D)[0]
    rng = np.random.default_rng(0)

    def around(centre: Values, count: int) -> Singles:
        return unit(centre + rng.normal(scale=1e-3, size=(count, D)))

    theirs = np.concatenate([around(east, 60), around(west, 20)])
    reference = Reference("k", np.arange(80), theirs, np.zeros((80, K), np.float32), [])
    sample = Sample(np.arange(20), around(west, 20), np.zeros((20, K), np.float32))
    fitted = ESTIMATORS["dsir"].fit(reference, sample)  # 100 images: two codes
    queries = np.concatenate([around(east, 3), around(west, 3)])
    in_east = np.log((60 + 1) / (80 + 2)) - np.log((0 + 1) / (20 + 2))
    in_west = np.log((20 + 1) / (80 + 2)) - np.log((20 + 1) / (20 + 2))
    expected = [in_east] * 3 + [in_west] * 3
    np.testing.assert_allclose(fitted(queries, np.zeros((6, K), np.float32)), expected, rtol=1e-6)


def test_retrieve_is_the_cosine_to_the_nearest_seed() -> None:
    cosines = 1 - cdist(double(VECTORS), double(REFERENCE.vectors), "cosine")
    np.testing.assert_allclose(estimate("retrieve"), cosines.max(axis=1), rtol=1e-6)
    seeds = ESTIMATORS["retrieve"].fit(REFERENCE, SAMPLE)(REFERENCE.vectors, REFERENCE.logits)
    np.testing.assert_allclose(seeds, 1, rtol=1e-6)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_no_value_depends_on_the_images_beside_it(name: str) -> None:
    fitted = ESTIMATORS[name].fit(REFERENCE, SAMPLE)
    together = fitted(VECTORS, LOGITS)
    order = np.random.default_rng(0).permutation(len(VECTORS))
    pieces = np.array_split(order, [1, 8, 40])
    apart = np.concatenate([fitted(VECTORS[rows], LOGITS[rows]) for rows in pieces])
    assert together.dtype == np.float32
    assert np.array_equal(apart, together[order])


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_fit_is_the_same_again(name: str) -> None:
    assert np.array_equal(estimate(name), estimate(name))


@pytest.mark.parametrize("name", sorted(set(ESTIMATORS) - {"rmds", "vim"}))
def test_one_image_is_a_reference(name: str) -> None:
    assert np.isfinite(estimate(name, reference_of(1))).all()


@pytest.mark.parametrize(
    ("name", "message"), [("rmds", "the teacher sees one class"), ("vim", "the same vector")]
)
def test_what_one_image_does_not_tell_is_refused(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        estimate(name, reference_of(1))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_reference_is_asked_for(name: str) -> None:
    if ESTIMATORS[name].needs_reference:
        with pytest.raises(UsageError, match="give --reference SOURCE"):
            ESTIMATORS[name].fit(None, SAMPLE)
