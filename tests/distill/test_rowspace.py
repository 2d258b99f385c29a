"""What the classifier's row space says of a vector, against SciPy in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import null_space as null_basis

from distill.rowspace import RowSpace

from .helpers import noise


def expected(weight: np.ndarray, hidden: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    norm = np.linalg.norm(hidden, axis=1)
    outside = np.linalg.norm(hidden @ null_basis(weight), axis=1) / norm
    cosines = hidden @ weight.T / norm[:, None] / np.linalg.norm(weight, axis=1)
    return outside, cosines.max(axis=1)


@pytest.mark.parametrize(("classes", "width"), [(1, 5), (4, 64), (100, 512)])
def test_both_estimates(classes: int, width: int) -> None:
    # No vector is zero, for which the independent formula has no value; that has a test below.
    weight, hidden = noise(classes, width), noise(30, width, seed=1).relu() + 0.01
    found = RowSpace(weight).estimates(hidden)
    outside, angle = expected(weight.double().numpy(), hidden.double().numpy())
    assert found["null_space"].shape == found["classifier_angle"].shape == (30, 1)
    np.testing.assert_allclose(found["null_space"][:, 0].numpy(), outside, atol=2e-6)
    np.testing.assert_allclose(found["classifier_angle"][:, 0].numpy(), angle, atol=2e-6)


def test_rows_that_depend_on_each_other_span_less() -> None:
    weight = torch.tensor([[1.0, 0, 0], [2, 0, 0]])
    found = RowSpace(weight).estimates(torch.tensor([[3.0, 4, 0], [5, 0, 0], [0, 0, 2]]))
    assert found["null_space"][:, 0].tolist() == pytest.approx([0.8, 0, 1])
    assert found["classifier_angle"][:, 0].tolist() == pytest.approx([0.6, 1, 0])


@pytest.mark.parametrize(("classes", "width"), [(5, 5), (9, 5)])
def test_as_many_classes_as_features_leave_no_null_space(classes: int, width: int) -> None:
    assert set(RowSpace(noise(classes, width)).estimates(noise(2, width))) == {"classifier_angle"}


def test_the_length_of_a_vector_counts_for_nothing() -> None:
    space, hidden = RowSpace(noise(3, 8)), noise(6, 8, seed=1)
    for name, values in space.estimates(hidden).items():
        torch.testing.assert_close(space.estimates(1000 * hidden)[name], values)


def test_a_vector_without_direction_is_far_off_and_not_nan() -> None:
    found = RowSpace(noise(3, 8)).estimates(torch.zeros(1, 8))
    assert (found["null_space"].item(), found["classifier_angle"].item()) == (1, 0)
