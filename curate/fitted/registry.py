"""The estimators by name."""

from __future__ import annotations

from curate.fitted.base import Estimator, from_reference
from curate.fitted.knn import fit_knn

ESTIMATORS: dict[str, Estimator] = {
    "knn": from_reference(fit_knn),
}


def fitted_names() -> tuple[str, ...]:
    """Return the names of all estimates that are fitted."""
    return tuple(ESTIMATORS)


def needs_reference(name: str) -> bool:
    """Tell whether this is an estimate that is fitted to a reference set."""
    return name in ESTIMATORS and ESTIMATORS[name].needs_reference
