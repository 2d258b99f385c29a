"""How the logits of a model are kept in a workspace, and what a strategy can have from that."""

from __future__ import annotations

from collections.abc import Mapping

from curate.compact import MODES, check_mode
from curate.logits import StoredLogits
from curate.pool import Pool
from curate.strategies import Strategy, logits_needed
from index.catalog import Catalog
from index.errors import UsageError
from index.progress import Progress


def stored_mode(catalog: Catalog, model: str) -> str | None:
    """Tell how a model's logits are kept: see `curate.compact`; None where it scored nothing."""
    logits = StoredLogits(catalog, model)
    return logits.mode if logits.exist else None


def settled_mode(catalog: Catalog, model: str, classes: int, asked: str | None) -> str:
    """Return how logits of K classes are to be kept: as asked, or as those that are there.

    Raises:
        UsageError: no such way, or a richer one than that of the logits that are there.
    """
    if asked is not None:
        check_mode(asked, classes)
    stored = stored_mode(catalog, model)
    if stored is None:
        return asked or "full"
    if asked is not None and MODES.index(asked) > MODES.index(stored):
        raise UsageError(
            f"{model} was scored with --logits {stored}, which left out what {asked} wants: leave "
            f"--logits out, or score with --logits {asked} in a new workspace"
        )
    return stored


def kept_for(
    pool: Pool, modes: Mapping[str, str], strategy: Strategy, progress: Progress, *, weighed: bool
) -> str | None:
    """Return how the logits are kept that a strategy reads, None for all of them.

    What images are `weighed` by is fitted to their vectors and logits. `modes` are the ways in
    which those of teacher and student are kept.

    Raises:
        UsageError: the strategy reads logits, and none are kept.
    """
    asked = modes if strategy.needs_student else {pool.teacher: modes[pool.teacher]}
    kept = {mode: model for model, mode in asked.items()}
    mode, needed = min(kept, key=MODES.index), logits_needed(strategy)
    if mode == "none" and weighed:
        raise UsageError(
            f"--weights reads logits, and {kept[mode]} was scored with --logits none: leave it "
            "out, or score in a new workspace"
        )
    if mode == "none" and needed != "none":
        raise UsageError(
            f"{strategy.name} reads logits, and {kept[mode]} was scored with --logits none: choose "
            "random, msp, dfnd or kd3 with --alpha 1, or score in a new workspace"
        )
    if mode == "top32" and needed == "full":
        progress.say(
            f"{strategy.name} is approximate here: of {kept[mode]} the 32 largest logits are kept "
            "(--logits top32), and what is left is spread evenly over the other classes"
        )
    return None if mode == "full" else mode
