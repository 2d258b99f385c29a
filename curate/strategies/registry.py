"""The strategies by name, those of installed packages included."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.metadata import entry_points

from curate.strategies.agreement import Agreement
from curate.strategies.base import Settings, Strategy
from curate.strategies.bn_kl import BnKl
from curate.strategies.bn_shift import BnShift
from curate.strategies.classifier_angle import ClassifierAngle
from curate.strategies.clip_text import ClipText
from curate.strategies.dfnd import Dfnd
from curate.strategies.disagreement import Disagreement
from curate.strategies.domain import Domain
from curate.strategies.dsir import Dsir
from curate.strategies.energy import Energy
from curate.strategies.entropy import Entropy
from curate.strategies.gen import Gen
from curate.strategies.kd3 import Kd3
from curate.strategies.knn import Knn
from curate.strategies.mahalanobis import Mahalanobis
from curate.strategies.margin import Margin
from curate.strategies.max_logit import MaxLogit
from curate.strategies.mmd_witness import MmdWitness
from curate.strategies.msp import Msp
from curate.strategies.null_space import NullSpace
from curate.strategies.odsd_like import OdsdLike
from curate.strategies.prototype import Prototype
from curate.strategies.random import Random
from curate.strategies.retrieve import Retrieve
from curate.strategies.rmds import Rmds
from curate.strategies.vim import Vim
from index.errors import UsageError, nearest

GROUP = "kdcurate.strategies"
_STRATEGIES: dict[str, Callable[[Settings], Strategy]] = {
    "random": Random,
    "msp": Msp,
    "dfnd": Dfnd,
    "max_logit": MaxLogit,
    "energy": Energy,
    "entropy": Entropy,
    "margin": Margin,
    "gen": Gen,
    "kd3": Kd3,
    "agreement": Agreement,
    "disagreement": Disagreement,
    "bn_shift": BnShift,
    "bn_kl": BnKl,
    "null_space": NullSpace,
    "classifier_angle": ClassifierAngle,
    "knn": Knn,
    "mahalanobis": Mahalanobis,
    "rmds": Rmds,
    "vim": Vim,
    "prototype": Prototype,
    "mmd_witness": MmdWitness,
    "domain": Domain,
    "dsir": Dsir,
    "retrieve": Retrieve,
    "odsd_like": OdsdLike,
    "clip_text": ClipText,
}


def strategy_names() -> list[str]:
    """Return the names that `--strategy` knows, plugins included."""
    plugins = {entry.name for entry in entry_points(group=GROUP)}
    return sorted(plugins | set(_STRATEGIES))


def make_strategy(name: str, settings: Settings) -> Strategy:
    """Make a strategy from its name.

    Raises:
        UsageError: no strategy has this name (the message gives the nearest), its package cannot
            be loaded, or it mixes no logits and yet an alpha is given.
    """
    strategy = find_strategy(name)(settings)
    refuse_alpha(settings, name, [strategy])
    return strategy


def find_strategy(name: str) -> Callable[[Settings], Strategy]:
    """Return what makes a strategy of this name; see `make_strategy`."""
    if name in _STRATEGIES:
        return _STRATEGIES[name]
    for entry in entry_points(group=GROUP, name=name):
        try:
            plugin: Callable[[Settings], Strategy] = entry.load()
        except Exception as error:  # whatever the import of foreign code raises
            raise UsageError(
                f"strategy {name!r} cannot be loaded from {entry.value} ({error}): mend or remove "
                "the package that brings it"
            ) from error
        return plugin
    raise UsageError(f"no strategy is called {name!r}: {nearest(name, strategy_names())}")


def refuse_alpha(settings: Settings, name: str, strategies: Iterable[Strategy]) -> None:
    """Refuse an alpha that none of these would use.

    Raises:
        UsageError: it is given, and none of the strategies that `name` stands for mixes logits.
    """
    if settings.alpha is not None and not any(hasattr(one, "alpha") for one in strategies):
        raise UsageError(f"--alpha is kd3's: {name} mixes no logits; leave it out")
