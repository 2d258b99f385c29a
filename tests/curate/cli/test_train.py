"""What the distill command makes of its options."""

from __future__ import annotations

from typing import get_args

import pytest

from curate.cli import train
from curate.cli.train import parse_options
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
    assert all(part in train.WITHOUT_HELP for part in get_args(Part))
    assert "without" in KD3Options.model_fields
