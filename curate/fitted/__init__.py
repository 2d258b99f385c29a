"""Estimates that are fitted over vectors: to a reference set, or to a sample of the pool."""

from curate.fitted.base import Estimator, Fitted, Sample
from curate.fitted.registry import ESTIMATORS, fitted_names, needs_reference
from curate.fitted.stored import stored_fitted

__all__ = [
    "ESTIMATORS",
    "Estimator",
    "Fitted",
    "Sample",
    "fitted_names",
    "needs_reference",
    "stored_fitted",
]
