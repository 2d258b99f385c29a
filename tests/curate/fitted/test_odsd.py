"""odsd against its formula in float64, with prototypes that can be told by eye."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import softmax

from curate.fitted import ESTIMATORS, Sample
from curate.fitted.odsd import PROTOTYPES

Singles = NDArray[np.float32]
DIM, CLASSES = 24, 4


def unit(rows: NDArray[np.float64]) -> Singles:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def directions(label: int) -> NDArray[np.float64]:
    """Five directions for each class, all at right angles."""
    return np.eye(DIM)[PROTOTYPES * label : PROTOTYPES * (label + 1)]


def clusters(label: int, count: int, spread: float, seed: int) -> Singles:
    rng = np.random.default_rng(seed)
    which = np.arange(count) % PROTOTYPES
    return unit(directions(label)[which] + spread * rng.normal(size=(count, DIM)))


def logits_of(labels: NDArray[np.int64], seed: int) -> Singles:
    rng = np.random.default_rng(seed)
    sure = rng.uniform(0.5, 4, len(labels))
    return (sure[:, None] * np.eye(CLASSES)[labels]).astype(np.float32)


def sample_of(vectors: Singles, logits: Singles) -> Sample:
    return Sample(np.arange(len(vectors), dtype=np.int64), vectors, logits)


def test_it_is_its_formula() -> None:
    """Clusters as tight as these have their own means as the centres of k-means."""
    labels = np.repeat([0, 1, 2], [50, 40, 3])
    spreads = {0: 0.002, 1: 0.02, 2: 0.5}
    vectors = np.concatenate(
        [clusters(k, int((labels == k).sum()), spread, k) for k, spread in spreads.items()]
    )
    logits = logits_of(labels, 9)
    fitted = ESTIMATORS["odsd"].fit(None, sample_of(vectors, logits))

    x = vectors.astype(np.float64)
    prototypes = {2: x[labels == 2]}  # three images are their own
    for k in (0, 1):
        groups = [x[labels == k][n::PROTOTYPES].mean(0) for n in range(PROTOTYPES)]
        prototypes[k] = np.array([mean / np.linalg.norm(mean) for mean in groups])
    out = np.array(
        [1 - (v @ prototypes[k].T).max() for v, k in zip(x, labels.tolist(), strict=True)]
    )
    most = out.max()
    density = np.array([(out[labels == k] / most).mean() for k in range(3)])
    density /= density.max()
    sure = softmax(logits.astype(np.float64), axis=1).max(1)
    expected = sure / sure.max() - out / most + density[labels]
    np.testing.assert_allclose(fitted(vectors, logits), expected, atol=2e-4)

    others = clusters(1, 11, 0.1, seed=7)
    theirs = logits_of(np.ones(11, np.int64), 8)
    sure_too = softmax(theirs.astype(np.float64), axis=1).max(1) / sure.max()
    away = 1 - (others.astype(np.float64) @ prototypes[1].T).max(1)
    np.testing.assert_allclose(
        fitted(others, theirs), sure_too - away / most + density[1], rtol=2e-2
    )


def test_a_class_that_the_sample_does_not_show() -> None:
    labels = np.repeat([0, 1], 20)
    vectors = np.concatenate([clusters(k, 20, 0.05, k) for k in (0, 1)])
    logits = logits_of(labels, 1)
    fitted = ESTIMATORS["odsd"].fit(None, sample_of(vectors, logits))
    unseen = logits_of(np.full(3, 3), 2)
    most = softmax(logits.astype(np.float64), axis=1).max()
    expected = softmax(unseen.astype(np.float64), axis=1).max(1) / most - 1
    np.testing.assert_allclose(fitted(vectors[:3], unseen), expected, rtol=1e-5)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_images_that_are_their_own_prototypes_are_told_apart_by_confidence(count: int) -> None:
    logits = logits_of(np.zeros(count, np.int64), 3)
    vectors = clusters(0, count, 0.3, 0)
    fitted = ESTIMATORS["odsd"].fit(None, sample_of(vectors, logits))
    found = fitted(vectors, logits)
    assert np.isfinite(found).all()
    order = softmax(logits.astype(np.float64), axis=1).max(1)
    assert np.argsort(found).tolist() == np.argsort(order).tolist()


def test_a_value_depends_on_no_other_image() -> None:
    labels = np.arange(600) % 3
    vectors = unit(np.random.default_rng(0).normal(size=(600, DIM)))
    logits = logits_of(labels, 5)
    fitted = ESTIMATORS["odsd"].fit(None, sample_of(vectors[:90], logits[:90]))
    whole = fitted(vectors, logits)
    for one in (0, 7, 299, 599):
        assert fitted(vectors[one : one + 1], logits[one : one + 1])[0] == pytest.approx(
            whole[one], abs=1e-6
        )
    again = ESTIMATORS["odsd"].fit(None, sample_of(vectors[:90], logits[:90]))
    np.testing.assert_array_equal(again(vectors, logits), whole)
