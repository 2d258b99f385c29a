"""rank: a combination of scores that the user writes."""

from __future__ import annotations

import numpy as np

from curate.compact import MODES
from curate.expression import parse
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
    column of `images`), else the score of the strategy of that name. The components hold the value
    of each name and of each term of the sum; the pseudo-label is the teacher's.

    It only ranks. kd3 stands for its score q, without the thresholds: for what exceeds tau_c of its
    class and nothing else, select by kd3 itself.

    Cost: that of what it names. Choose this when: one score is blind where another sees, as
    confidence is for style and bn_shift for classes. Scales differ: look at the components first.
    """

    name = "rank"

    def __init__(self, expression: str, settings: Settings) -> None:
        """Parse the expression; alpha is for kd3 in it.

        Raises:
            UsageError: see `curate.expression.parse`; an alpha without kd3.
        """
        self.expression = parse(expression, {*strategy_names(), *SIGNALS})
        self._signals = [name for name in self.expression.names if name in SIGNALS]
        self._strategies = {
            name: find_strategy(name)(settings)
            for name in self.expression.names
            if name not in SIGNALS
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
        total = self.expression.evaluate(values, batch.ids)
        terms = {one.text: one.evaluate(values, batch.ids) for one in self.expression.terms()}
        components = values | {text: value.astype(np.float32) for text, value in terms.items()}
        with np.errstate(over="ignore"):  # an infinity is refused by whoever ranks
            return Scored(total.astype(np.float32), batch.label, components)
