"""Strategies by name."""

from __future__ import annotations

import pytest

from curate.strategies import Settings, make_strategy, strategy_names
from index.errors import UsageError


def test_every_strategy_goes_by_its_own_name() -> None:
    assert {"random", "msp", "entropy", "kd3"} <= set(strategy_names())
    for name in strategy_names():
        strategy = make_strategy(name, Settings())
        assert strategy.name == name
        assert "Choose this when" in (type(strategy).__doc__ or "")
        assert "Cost:" in (type(strategy).__doc__ or "")
        assert "Source:" in (type(strategy).__doc__ or "")


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [("kd4", "did you mean kd3?"), ("rand", "did you mean random?"), ("zzzz", "choose one of")],
)
def test_an_unknown_name_is_answered_with_the_nearest(wrong: str, hint: str) -> None:
    with pytest.raises(UsageError) as error:
        make_strategy(wrong, Settings())
    assert repr(wrong) in str(error.value) and hint in str(error.value)
