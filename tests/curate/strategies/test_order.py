"""The same images in batches of any order and size: the same manifest."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.ledger import Ledger
from curate.manifest import content_hash
from curate.signals import SIGNALS
from curate.strategies import Batch, Rank, Settings, Strategy, make_strategy, strategy_names

COUNT, CLASSES = 60, 7
RNG = np.random.default_rng(0)
IDS = RNG.choice(2**60, COUNT, replace=False)
# In eighths, as coarse as to tie often.
TEACHER, STUDENT = (RNG.integers(-24, 24, (COUNT, CLASSES)).astype(np.float32) / 8 for _ in "ts")
KNOWN = {name: RNG.integers(1, 30, COUNT).astype(np.float32) for name in SIGNALS}
EXPRESSION = "0.6*kd3 - 0.3*bn_shift + log(width) / 8 + disagreement"


def strategy(name: str) -> Strategy:
    return Rank(EXPRESSION, Settings()) if name == "rank" else make_strategy(name, Settings())


def hashed(name: str, order: list[int], cuts: list[int]) -> str:
    """Hash of the 20 best, scored in batches of this order, cut at these places."""
    one = strategy(name)
    with tempfile.TemporaryDirectory() as scratch:
        ledger = Ledger(Path(scratch), CLASSES)
        try:
            for rows in np.split(np.array(order), sorted(cuts)):
                signals = {need: KNOWN[need][rows] for need in one.needs}
                batch = Batch(IDS[rows], TEACHER[rows], STUDENT[rows], signals)
                ledger.add(batch.ids, one.score(batch), {"known": KNOWN["width"][rows]})
            ledger.decide(one.thresholds(ledger.class_counts()), 20, one.default_balance, None)
            return content_hash(ledger.selected())
        finally:
            ledger.close()


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from([*strategy_names(), "rank"]),
    order=st.permutations(range(COUNT)),
    cuts=st.lists(st.integers(0, COUNT), max_size=4),
)
def test_neither_order_nor_size_of_batches_matters(
    name: str, order: list[int], cuts: list[int]
) -> None:
    assert hashed(name, order, cuts) == hashed(name, list(range(COUNT)), [])
