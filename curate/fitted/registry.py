"""The estimators by name."""

from __future__ import annotations

from curate.fitted.base import Estimator, from_pool, from_reference
from curate.fitted.clip_text import fit_clip_text
from curate.fitted.domain import fit_domain
from curate.fitted.dsir import fit_dsir
from curate.fitted.knn import fit_knn
from curate.fitted.mahalanobis import fit_mahalanobis
from curate.fitted.mmd_witness import fit_mmd_witness
from curate.fitted.odsd import fit_odsd
from curate.fitted.prototype import fit_prototype
from curate.fitted.retrieve import fit_retrieve
from curate.fitted.rmds import fit_rmds
from curate.fitted.vim import fit_vim

ESTIMATORS: dict[str, Estimator] = {
    "knn": from_reference(fit_knn),
    "mahalanobis": from_reference(fit_mahalanobis),
    "rmds": from_reference(fit_rmds),
    "vim": from_reference(fit_vim),
    "prototype": from_reference(fit_prototype),
    "mmd_witness": from_reference(fit_mmd_witness),
    "domain": from_reference(fit_domain),
    "dsir": from_reference(fit_dsir),
    "retrieve": from_reference(fit_retrieve),
    "odsd": from_pool(fit_odsd),
    "clip_text": from_pool(fit_clip_text),
}
# What these come to depends on the other images of the pool.
BY_POOL = frozenset({"mmd_witness", "domain", "dsir", "odsd"})


def fitted_names() -> tuple[str, ...]:
    """Return the names of all estimates that are fitted."""
    return tuple(ESTIMATORS)


def fitted_on(name: str, reference: str | None, embedder: str | None) -> str | None:
    """Return what the stored values of an estimate go by, beside the teacher.

    The key of the reference set, which holds its embedder's too, or of the embedder alone; None of
    an estimate that is not fitted.
    """
    if name not in ESTIMATORS:
        return None
    return reference if ESTIMATORS[name].needs_reference else embedder


def needs_reference(name: str) -> bool:
    """Tell whether this is an estimate that is fitted to a reference set."""
    return name in ESTIMATORS and ESTIMATORS[name].needs_reference
