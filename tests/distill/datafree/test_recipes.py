"""Recipes: the published numbers, and what may be asked of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from distill.datafree.registry import (
    METHODS,
    canonical,
    data_free_names,
    is_data_free,
    make_recipe,
    training_of,
)
from distill.methods import method_names
from index.errors import UsageError

# bn, oh, adv, bal, act, D, steps of the student, its loss
PUBLISHED = {
    "dafl": (0, 1, 0, 20, 0.001, "kl", 5, "kl"),
    "dfad": (0, 0, 1, 0, 0, "l1", 5, "l1"),
    "zskt": (0, 0, 1, 0, 0, "kl", 10, "attention"),
    "dfq": (1, 1, 1, 20, 0, "kl", 10, "kl"),
    "ddad": (1, 1, 1, 0, 0, "l1", 5, "l1"),
    "deepinversion": (10, 1, 0, 0, 0, "kl", 400, "kl"),
    "adi": (10, 1, 1, 0, 0, "js", 400, "kl"),
    "cmi": (1, 1, 0.5, 0, 0, "kl", 400, "kl"),
    "pre": (0, 1, 1, 20, 0.001, "js", 5, "l1"),
}
GENERATOR = {"batch": 256, "latent": 100, "width": 64, "generator_lr": 1e-3}
USUAL = {**GENERATOR, "same_noise": False, "temperature": 1}
INVERSION = {"batch": 256, "steps": 2000, "pixel_lr": 0.05, "jitter": 2, "temperature": 20}
PRIORS = {"tv": 2.5e-5, "l2": 3e-8}
CONTRAST = {"steps": 500, "cr": 0.8, "tau": 0.2, "bank": 4096, "temperature": 20}
OTHERS = {
    **dict.fromkeys(("dafl", "dfad", "dfq", "ddad"), USUAL),
    "zskt": {**GENERATOR, "same_noise": True, "temperature": 1, "attention": 250},
    **dict.fromkeys(("deepinversion", "adi"), INVERSION | PRIORS),
    "cmi": GENERATOR | CONTRAST,
    "pre": {**USUAL, "replayed": 128, "kld": 1e-5},
}


@pytest.mark.parametrize("name", data_free_names())
def test_weights_are_as_published(name: str) -> None:
    numbers = make_recipe(name, "paper", {}).model_dump()
    keys = ("bn", "oh", "adv", "bal", "act", "divergence", "student_steps", "loss")
    assert tuple(numbers[key] for key in keys) == PUBLISHED[name]


@pytest.mark.parametrize("name", data_free_names())
def test_other_numbers_are_as_published(name: str) -> None:
    numbers = make_recipe(name, "paper", {}).model_dump()
    assert OTHERS[name].items() <= numbers.items()
    shown = {"batch_size": 1024 if name == "pre" else 256}
    assert {"epochs": 200, **shown}.items() <= training_of(name, "paper").items()
    augment = "crop" if name in ("deepinversion", "adi", "cmi") else "none"
    assert training_of(name, "paper")["augment"] == augment


@pytest.mark.parametrize("name", data_free_names())
def test_fast_costs_less_and_weighs_the_same(name: str) -> None:
    paper, fast = (make_recipe(name, preset, {}) for preset in ("paper", "fast"))
    assert fast.batch < paper.batch
    for weight in ("bn", "oh", "adv", "bal", "act", "divergence", "loss", "temperature"):
        assert getattr(fast, weight) == getattr(paper, weight)
    assert training_of(name, "fast")["epochs"] < training_of(name, "paper")["epochs"]
    assert training_of(name, "fast")["batch_size"] < training_of(name, "paper")["batch_size"]


def test_options_replace_numbers_and_a_whole_recipe_is_an_option() -> None:
    recipe = make_recipe("dfq", "fast", {"bn": "0.5", "width": 8})
    assert (recipe.bn, recipe.model_dump()["width"], recipe.oh) == (0.5, 8, 1)
    assert make_recipe("dfq", "paper", recipe.model_dump()) == recipe


def test_what_makes_no_sense_is_named() -> None:
    with pytest.raises(UsageError, match="dafl has no option 'jitter' .*options: bn, oh"):
        make_recipe("dafl", "paper", {"jitter": 2})
    with pytest.raises(UsageError, match="method cmi, option 'cr'"):
        make_recipe("cmi", "paper", {"cr": -1})
    with pytest.raises(UsageError, match="option 'bank': .* a valid integer.*not 'many'"):
        make_recipe("cmi", "paper", {"bank": "many"})
    nothing = {"bn": 0, "oh": 0, "cr": 0, "adv": 0}
    with pytest.raises(UsageError, match="method cmi has nothing to make images by: all.*act, cr"):
        make_recipe("cmi", "paper", nothing)
    assert make_recipe("cmi", "paper", {**nothing, "cr": 0.1}).adv == 0
    with pytest.raises(UsageError, match="method dfad has nothing .* weights are 0"):
        make_recipe("dfad", "fast", {"adv": "0"})
    with pytest.raises(UsageError, match="--preset is 'slow': choose one of paper, fast"):
        make_recipe("dafl", "slow", {})
    with pytest.raises(UsageError, match="did you mean dafl"):
        make_recipe("daffl", "paper", {})


def test_names() -> None:
    assert [canonical(name) for name in ("DI", "CMI", "KD3", "Mine")] == [
        "deepinversion",
        "cmi",
        "kd3",
        "Mine",
    ]
    assert canonical("di") == "deepinversion" and is_data_free("di") and not is_data_free("kd")
    assert not METHODS.keys() & set(method_names())


def test_the_page_has_every_method_with_its_weights() -> None:
    page = (Path(__file__).parents[3] / "docs" / "methods.md").read_text("utf-8")
    section = page.partition("## Without any images")[2].partition("\n## ")[0]
    for name in data_free_names():
        assert section.count(f"`{name}`") >= 3
        (row,) = [line for line in section.splitlines() if line.startswith(f"| `{name}`")][:1]
        recipe = make_recipe(name, "paper", {})
        if name != "adi":  # which says that it is deepinversion's
            weights = (recipe.bn, recipe.oh, recipe.adv, recipe.bal, recipe.act)
            shown = " ".join(f"{weight:g}".removeprefix("0") or "0" for weight in weights)
            assert f"| {shown}" in row
        assert f" {recipe.student_steps}" in row
