"""Options of a recipe that nothing reads: refused where somebody gives them, and only there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from distill.datafree.registry import data_free_names, find_data_free, make_recipe
from distill.datafree.run import complete
from distill.options import TrainOptions
from distill.run import RunOptions
from index.errors import UsageError

from .test_trainer import trainer

Numbers = dict[str, Any]
BARE = RunOptions(None, "teacher.toml", "cifar:resnet8", "dafl", TrainOptions(), {})
# A method, what else is asked, an option that nothing reads then with another value, and why.
UNREAD: list[tuple[str, Numbers, Numbers, str]] = [
    ("cmi", {}, {"divergence": "js"}, "as its L_adv is always KL"),
    ("cmi", {"adv": 0}, {"warmup": 2}, "where adv is 0: .* or give adv above 0 too"),
    ("cmi", {"cr": 0}, {"tau": 3}, "where cr is 0: leave it out, or give cr above 0 too"),
    ("cmi", {"cr": 0}, {"bank": 3}, "where cr is 0"),
    ("cmi", {"cr": 0}, {"embedding": 3}, "where cr is 0"),
    ("dafl", {}, {"divergence": "l1"}, "where adv is 0"),
    ("dfad", {}, {"temperature": 7}, "where loss is l1: .* or give loss kl or attention too"),
    ("dafl", {}, {"attention": 9}, "where loss is kl: leave it out, or give loss attention too"),
    ("pre", {}, {"attention": 9}, "where loss is l1"),
    ("deepinversion", {}, {"warmup": 1}, "where adv is 0"),
]


def asked(name: str, given: Numbers, preset: str | None = None) -> RunOptions:
    return complete(replace(BARE, method=name, method_options=given, preset=preset))


@pytest.mark.parametrize(("name", "more", "option", "why"), UNREAD)
def test_what_nothing_reads_is_refused_with_what_would(
    name: str, more: Numbers, option: Numbers, why: str
) -> None:
    asked(name, more)
    for preset in ("paper", "fast"):
        named = rf"^method {name}, option '{next(iter(option))}': nothing reads it,? .*{why}"
        with pytest.raises(UsageError, match=named):
            asked(name, more | option, preset)


@pytest.mark.parametrize(("name", "more", "option", "why"), UNREAD)
def test_it_would_be_another_run_of_the_same_training(
    name: str, more: Numbers, option: Numbers, why: str, tmp_path: Path
) -> None:
    made = [trainer(name, tmp_path / str(len(one)), recipe=one) for one in (more, more | option)]
    for one in made:
        one.fit()
    found, other = (one.deployed().state_dict() for one in made)
    assert all(torch.equal(value, other[key]) for key, value in found.items()), why


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("cmi", {"adv": 0}),  # its preset's warmup counts no more, and nobody asked for it
        ("cmi", {"warmup": 3, "tau": 0.3}),
        ("adi", {"divergence": "kl", "warmup": 1}),
        ("deepinversion", {"adv": "1", "warmup": "2", "divergence": "l1"}),
        ("dfad", {"loss": "kl", "temperature": 7}),
        ("zskt", {"attention": 5, "temperature": 2}),
    ],
)
def test_what_something_reads_is_taken(name: str, given: Numbers) -> None:
    numbers = make_recipe(name, "fast", given).model_dump()
    assert asked(name, given, "fast").method_options == numbers


@pytest.mark.parametrize("name", data_free_names())
@pytest.mark.parametrize("preset", ["paper", "fast"])
def test_what_a_preset_sets_is_never_refused(name: str, preset: str) -> None:
    whole = asked(name, {}, preset)
    assert complete(whole) == whole  # though all its numbers are options now
    assert complete(replace(whole, preset="paper")).method_options == whole.method_options


@pytest.mark.parametrize("name", data_free_names())
def test_every_option_that_is_told_of_is_one(name: str) -> None:
    recipe = find_data_free(name).recipe
    assert recipe.read_by.keys() <= type(recipe).model_fields.keys()
