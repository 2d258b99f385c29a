"""Selection strategies by name; third parties add theirs as `kdcurate.strategies` entry points."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from importlib.metadata import entry_points

from curate.strategies.base import Batch, Scored, Settings, Strategy
from curate.strategies.entropy import Entropy
from curate.strategies.kd3 import Kd3
from curate.strategies.msp import Msp
from curate.strategies.random import Random
from index.errors import UsageError

__all__ = ["Batch", "Scored", "Settings", "Strategy", "make_strategy", "strategy_names"]

_STRATEGIES: dict[str, Callable[[Settings], Strategy]] = {
    "random": Random,
    "msp": Msp,
    "entropy": Entropy,
    "kd3": Kd3,
}


def strategy_names() -> list[str]:
    """Return the names that `--strategy` knows, plugins included."""
    plugins = {entry.name for entry in entry_points(group="kdcurate.strategies")}
    return sorted(plugins | set(_STRATEGIES))


def make_strategy(name: str, settings: Settings) -> Strategy:
    """Make a strategy from its name.

    Raises:
        UsageError: no strategy has this name (the message gives the nearest), or it mixes no
            logits and yet an alpha is given.
    """
    strategy = _find(name)(settings)
    if settings.alpha is not None and not hasattr(strategy, "alpha"):
        raise UsageError(f"--alpha is kd3's: {name} mixes no logits; leave it out")
    return strategy


def _find(name: str) -> Callable[[Settings], Strategy]:
    if name in _STRATEGIES:
        return _STRATEGIES[name]
    for entry in entry_points(group="kdcurate.strategies", name=name):
        plugin: Callable[[Settings], Strategy] = entry.load()
        return plugin
    near = difflib.get_close_matches(name, strategy_names(), n=1)
    hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(strategy_names())}"
    raise UsageError(f"no strategy is called {name!r}: {hint}")
