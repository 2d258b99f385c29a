"""Where a build's decoding and embedding is done. An engine is one module and one line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from index.embedder import Loader
from index.engines.base import Engine, Job
from index.engines.cluster import require_ray
from index.engines.local import LocalEngine
from index.engines.ray import RayEngine
from index.errors import UsageError, nearest

__all__ = ["ENGINES", "Engine", "Job", "LocalEngine", "RayEngine", "check_engine", "make_engine"]


@dataclass(frozen=True)
class EngineKind:
    """How to make an engine, of how to load the embedder and onto which device; what it needs."""

    make: Callable[[Loader, str], Engine]
    check: Callable[[], None] = lambda: None


ENGINES = {
    "local": EngineKind(lambda load, device: LocalEngine()),  # noqa: ARG005
    "ray": EngineKind(RayEngine, require_ray),
}


def make_engine(name: str, load: Loader, device: str) -> Engine:
    """Make an engine by its name; errors as those of `check_engine`."""
    check_engine(name)
    return ENGINES[name].make(load, device)


def check_engine(name: str) -> None:
    """Refuse, before any work, what cannot be made.

    Raises:
        UsageError: there is no such engine, or what it needs is not installed.
    """
    if name not in ENGINES:
        raise UsageError(f"--engine is {name!r}: {nearest(name, ENGINES)}")
    ENGINES[name].check()
