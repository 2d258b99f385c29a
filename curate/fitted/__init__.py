"""Estimates that are fitted over vectors: to a reference set, or to a sample of the pool."""

from curate.fitted.base import Estimator, Fitted, Sample
from curate.fitted.registry import BY_POOL, ESTIMATORS, fitted_names, fitted_on, needs_reference
from curate.fitted.stored import stored_fitted

__all__ = [
    "BY_POOL",
    "ESTIMATORS",
    "Estimator",
    "Fitted",
    "Sample",
    "fitted_names",
    "fitted_on",
    "needs_reference",
    "stored_fitted",
]
