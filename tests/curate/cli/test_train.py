"""What the distill command makes of its options."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from curate.cli import train
from curate.cli.train import parse_options, training
from distill.datafree.registry import ALIASES, data_free_names
from distill.methods import METHODS
from distill.methods.kd3 import KD3Options, Part
from index.errors import UsageError


def test_options_and_parts_to_leave_out() -> None:
    assert parse_options([], []) == {}
    assert parse_options(["temperature=2", " hard = .5"], []) == {"temperature": "2", "hard": ".5"}
    found = parse_options(["contrast=0"], ["weighting", "dynamic", "weighting"])
    assert found == {"contrast": "0", "without": ["dynamic", "weighting"]}
    with pytest.raises(UsageError, match="--option 'temperature': write NAME=VALUE"):
        parse_options(["temperature"], [])


def test_help_names_every_method_and_every_part() -> None:
    assert all(f"{name}, " in train.METHOD_HELP for name in METHODS)
    known = [*data_free_names(), *ALIASES]
    assert all(re.search(rf"\b{name}\b", train.METHOD_HELP) for name in known)
    assert all(part in train.WITHOUT_HELP for part in get_args(Part))
    assert "without" in KD3Options.model_fields


def test_what_is_not_given_is_the_methods_own() -> None:
    nothing = {"epochs": None, "batch_size": None, "augment": None}
    assert training("kd3", None, **nothing) == {}
    assert training("kd3", None, **nothing | {"epochs": 3}) == {"epochs": 3}
    assert training("di", None, **nothing) == {"epochs": 200, "batch_size": 256, "augment": "crop"}
    fast = training("pre", "fast", **nothing | {"batch_size": 7})
    assert fast == {"epochs": 10, "batch_size": 7, "augment": "none"}
