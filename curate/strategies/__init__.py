"""Selection strategies by name; third parties add theirs as `kdcurate.strategies` entry points."""

from curate.strategies.base import (
    Batch,
    Scored,
    Settings,
    Strategy,
    check_scored,
    is_seeded,
    logits_needed,
)
from curate.strategies.rank import Rank
from curate.strategies.registry import make_strategy, strategy_names

__all__ = [
    "Batch",
    "Rank",
    "Scored",
    "Settings",
    "Strategy",
    "check_scored",
    "is_seeded",
    "logits_needed",
    "make_strategy",
    "strategy_names",
]
