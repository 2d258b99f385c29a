"""What the report says of an estimate's direction is what the strategies go by."""

from __future__ import annotations

import re

import numpy as np
import pytest

from curate.directions import axis_label, ends_of
from curate.fitted import fitted_names
from curate.shift import ESTIMATES
from curate.strategies.base import Batch, Settings
from curate.strategies.registry import find_strategy

STRATEGY = {"odsd": "odsd_like"}  # of the others both have the same name


@pytest.mark.parametrize("estimator", [*ESTIMATES, *fitted_names()])
def test_the_better_end_is_the_one_that_is_ranked_first(estimator: str) -> None:
    values = np.array([-1e6, 1e6], np.float32)
    batch = Batch(np.arange(2), np.zeros((2, 3), np.float32), signals={estimator: values})
    strategy = find_strategy(STRATEGY.get(estimator, estimator))(Settings())
    small, large = strategy.score(batch).score
    assert [bool(end) for end in ends_of(estimator)] == [small > large, large > small]


def test_of_what_is_not_known_nothing_is_said() -> None:
    assert ends_of("another") == ("", "") and axis_label("another") == ""
    assert axis_label("knn") == "\u2190 closer to the reference"
    assert axis_label("domain") == "closer to the reference \u2192"


def test_the_charts_of_the_page_say_it(page: str) -> None:
    """At the left end or at the right, where the arrow points."""
    cards = dict(re.findall(r"<h3>(\w+) <small>shift estimate(.*?)</div>", page, re.S))
    assert set(cards) >= {"bn_shift", "null_space", "classifier_angle"}
    for name in ("bn_shift", "null_space"):
        assert '<text x="44" y="217">&larr; closer to the teacher&#39;s data</text>' in cards[name]
        assert "smaller is closer to the teacher&#39;s data" in cards[name]
    angle = cards["classifier_angle"]
    assert 'text-anchor="end">closer to the teacher&#39;s data &rarr;</text>' in angle
    assert "larger is closer to the teacher&#39;s data" in angle
