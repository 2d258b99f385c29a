"""Where a build's decoding and embedding is done. An engine is one module and one line here."""

from index.engines.base import Engine, Job
from index.engines.local import LocalEngine

__all__ = ["Engine", "Job", "LocalEngine"]
