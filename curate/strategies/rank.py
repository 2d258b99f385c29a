"""rank: a combination of scores that the user writes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curate.compact import MODES
from curate.expression import parse
from curate.metadata import is_metadata
from curate.signals import SIGNALS
from curate.strategies.base import (
    Batch,
    Floats,
    Scored,
    Settings,
    Unthresholded,
    is_seeded,
    logits_needed,
)
from curate.strategies.registry import find_strategy, refuse_alpha, strategy_names


class Rank(Unthresholded):
    """Score an expression such as `0.6*kd3 - 0.3*bn_shift`, computed for each image in float64.

    A name is a signal (an estimate as it is stored, so that of a distance less is better, or a
    column of `images`), `metadata.NAME` a number that came with the crawl, any other the score of
    the strategy of that name. The components hold the value of each name and of each term of the
    sum; the pseudo-label is the teacher's. Where a number of the crawl is NaN, there is none: such
    images are ruled out by filters, and have the score 0 and NaN as components.

    It only ranks. kd3 stands for its score q, without the thresholds: for what exceeds tau_c of its
    class and nothing else, select by kd3 itself.

    Source: ours. Cost: that of what it names. Choose this when: one score is blind where another
    sees, as confidence is for style and bn_shift for classes. Scales differ: look at the components
    first.
    """

    name = "rank"

    def __init__(self, expression: str, settings: Settings) -> None:
        """Parse the expression; alpha is for kd3 in it.

        Raises:
            UsageError: see `curate.expression.parse`; an alpha without kd3.
        """
        self.expression = parse(expression, {*strategy_names(), *SIGNALS})
        self._metadata = [name for name in self.expression.names if is_metadata(name)]
        self._signals = [name for name in self.expression.names if name in SIGNALS]
        self._signals += self._metadata
        self._strategies = {
            name: find_strategy(name)(settings)
            for name in self.expression.names
            if name not in self._signals
        }
        refuse_alpha(settings, f"--rank {expression!r}", self._strategies.values())
        needed = {name for one in self._strategies.values() for name in one.needs}
        self.needs = tuple(sorted(needed.union(self._signals)))
        least = map(logits_needed, self._strategies.values())
        self.logits = max(least, key=MODES.index, default="none")
        self.seeded = any(map(is_seeded, self._strategies.values()))
        self.needs_student = any(one.needs_student for one in self._strategies.values())

    def score(self, batch: Batch) -> Scored:
        """Evaluate the expression and its terms.

        Raises:
            UsageError: a part of it is NaN or infinite for an image.
        """
        values: dict[str, Floats] = {name: batch.signals[name] for name in self._signals}
        for name, strategy in self._strategies.items():
            values[name] = strategy.score(batch).score
        there = np.ones(len(batch.ids), bool)
        for name in self._metadata:
            there &= ~np.isnan(values[name])
        computed = {name: value[there] for name, value in values.items()}
        total = self.expression.evaluate(computed, batch.ids[there])
        terms = {
            term.text: _spread(term.evaluate(computed, batch.ids[there]), there, np.nan)
            for term in self.expression.terms()
        }
        with np.errstate(over="ignore"):  # an infinity is refused by whoever ranks
            components = {name: value.astype(np.float32) for name, value in values.items()}
            components |= {text: value.astype(np.float32) for text, value in terms.items()}
            score = _spread(total, there, 0).astype(np.float32)
            return Scored(score, batch.label, components)


def _spread(
    values: NDArray[np.float64], there: NDArray[np.bool_], other: float
) -> NDArray[np.float64]:
    """Return an array with `values` where they are `there` (n,), and `other` elsewhere."""
    found = np.full(len(there), other, np.float64)
    found[there] = values
    return found
