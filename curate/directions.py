"""Which way each estimate grows: towards the teacher's own data, or away from it."""

from __future__ import annotations

_OWN = "closer to the teacher's data"
_REFERENCE = "closer to the reference"
_SMALLER = {
    **dict.fromkeys(("bn_shift", "bn_kl", "null_space"), _OWN),
    **dict.fromkeys(("knn", "mahalanobis", "rmds", "vim"), _REFERENCE),
}
_LARGER = {
    "classifier_angle": _OWN,
    **dict.fromkeys(("prototype", "mmd_witness", "domain", "dsir", "retrieve"), _REFERENCE),
    "odsd": "surer, and more like its class",
    "clip_text": "more like the name of its class",
}
_CLOSER = [name for name, end in _LARGER.items() if end in (_OWN, _REFERENCE)]

# For whoever reads the measures of a set, and the means of estimates among them.
DIRECTION = (
    f"smaller is closer, but of the means of {', '.join(_CLOSER[:-1])} and {_CLOSER[-1]}, where "
    "larger is"
)


def ends_of(estimator: str) -> tuple[str, str]:
    """Return what images at the small and at the large end of an estimate are more than others.

    One of the two is empty; both are, of what is no estimate that is known here.
    """
    return _SMALLER.get(estimator, ""), _LARGER.get(estimator, "")


def axis_label(estimator: str) -> str:
    """Return it as the label of an axis from small to large, with an arrow; empty if unknown."""
    small, large = ends_of(estimator)
    return f"\u2190 {small}" if small else f"{large} \u2192" if large else ""
