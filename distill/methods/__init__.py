"""Distillation methods by name; third parties add theirs as entry points ``kdcurate.methods``."""

from __future__ import annotations

from importlib.metadata import entry_points

from distill.methods.at import AT
from distill.methods.base import Batch, Losses, Method, TrainDefaults
from distill.methods.crd import CRD
from distill.methods.dfnd import DFND
from distill.methods.dist import DIST
from distill.methods.dkd import DKD
from distill.methods.fitnet import FitNet
from distill.methods.kd import KD
from distill.methods.kd3 import KD3
from distill.methods.simkd import SimKD
from index.errors import UsageError, nearest

METHODS: dict[str, type[Method]] = {
    "kd": KD,
    "kd3": KD3,
    "dfnd": DFND,
    "simkd": SimKD,
    "fitnet": FitNet,
    "at": AT,
    "crd": CRD,
    "dkd": DKD,
    "dist": DIST,
}
ENTRY_POINTS = "kdcurate.methods"

__all__ = ["METHODS", "Batch", "Losses", "Method", "TrainDefaults", "find_method", "method_names"]


def method_names() -> list[str]:
    """Names of all methods, built-in ones first."""
    return [*METHODS, *sorted(entry_points(group=ENTRY_POINTS).names - METHODS.keys())]


def find_method(name: str) -> type[Method]:
    """Return the method of this name.

    Raises:
        UsageError: there is none.
    """
    if name in METHODS:
        return METHODS[name]
    for entry in entry_points(group=ENTRY_POINTS, name=name):
        found: type[Method] = entry.load()
        return found
    from distill.datafree.registry import data_free_names  # which builds on these methods

    known = [*method_names(), *data_free_names()]
    raise UsageError(f"no distillation method '{name}': {nearest(name, known)}")
