"""Where a build's decoding and embedding is done. An engine is one module and one line here."""

from __future__ import annotations

from collections.abc import Callable

from index.embedder import Loader
from index.engines.base import Engine, Job
from index.engines.local import LocalEngine
from index.engines.ray import RayEngine
from index.errors import UsageError

__all__ = ["ENGINES", "Engine", "Job", "LocalEngine", "RayEngine", "make_engine"]

# How to make each of them, of how to load the embedder, and onto which device.
ENGINES: dict[str, Callable[[Loader, str], Engine]] = {
    "local": lambda load, device: LocalEngine(),  # noqa: ARG005
    "ray": RayEngine,
}


def make_engine(name: str, load: Loader, device: str) -> Engine:
    """Make an engine by its name.

    Raises:
        UsageError: there is no such engine, or what it needs is not installed.
    """
    if name not in ENGINES:
        raise UsageError(f"--engine is {name!r}: choose one of {', '.join(ENGINES)}")
    return ENGINES[name](load, device)
