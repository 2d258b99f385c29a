"""Grids without a workspace: their rows, what is refused, and what keeps its name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from curate.comparing.grid import OWN_IMAGES, Grid, Row, Selection
from curate.comparing.manifests import manifest_name
from curate.options import SelectOptions
from distill.options import TrainOptions
from index.errors import UsageError


def grid(teacher: str = "teacher.toml", **given: Any) -> Grid:
    return Grid(
        **{
            "teacher": teacher,
            "student": "cifar:resnet8",
            "methods": ("kd", "kd3"),
            "strategies": ("random", "kd3"),
            "select": SelectOptions("random", budget=10),
            "train": TrainOptions(max_steps=5),
            "evaluate_on": "test.parquet",
            **given,
        }
    )


RANDOM, KD3 = Selection("random", False, False), Selection("kd3", False, True)


def test_every_method_meets_every_selection_and_rounds_are_rows_of_their_own() -> None:
    found = grid(rounds=4).rows([RANDOM, KD3])
    each = [(RANDOM, 0), (KD3, 0), (KD3, 4)]
    assert found == [Row(method, one, rounds) for method in ("kd", "kd3") for one, rounds in each]
    assert [row.label for row in found[:3]] == ["kd on random", "kd on kd3", "kd on kd3, 4 rounds"]
    assert len(grid().rows([RANDOM, KD3])) == 4


def test_each_part_that_is_left_out_is_a_row_of_the_methods_that_have_parts() -> None:
    asked = grid(rounds=4, methods=("kd", "kd3", "dafl"), without=("weighting", "mix_distribution"))
    asked.check()
    found = asked.rows([RANDOM, KD3])
    wholes, ablations = [], []
    for row in found:
        (wholes if row.left_out is None else ablations).append(row)
    assert wholes == grid(rounds=4, methods=("kd", "kd3", "dafl")).rows([RANDOM, KD3])
    each = [(RANDOM, 0), (KD3, 0), (KD3, 4)]
    assert ablations == [
        Row("kd3", one, rounds, part)
        for part in ("weighting", "mix_distribution")
        for one, rounds in each
    ]
    assert ablations[2].label == "kd3 --without weighting on kd3, 4 rounds"


def test_a_method_that_makes_its_own_images_is_one_row() -> None:
    asked = grid(methods=("dafl", "kd"), rounds=4)
    asked.check()
    found = asked.rows([RANDOM, KD3])
    assert [(row.method, row.chosen_by, row.rounds) for row in found] == [
        ("dafl", OWN_IMAGES, 0),
        ("kd", "random", 0),
        ("kd", "kd3", 0),
        ("kd", "kd3", 4),
    ]
    unbounded = SelectOptions("random")
    grid(methods=("dafl",), strategies=(), select=unbounded).check()
    grid(methods=("kd", "dafl"), cache_budget_gib=2).check()


def test_another_seed_selects_anew_only_where_it_matters() -> None:
    asked = grid()
    assert [asked.selecting("random", seed).seed for seed in (0, 1)] == [0, 1]
    assert [asked.selecting("kd3", seed).seed for seed in (0, 1)] == [0, 0]
    clustered = grid(select=SelectOptions("random", budget=10, diversity="clusters"))
    assert clustered.selecting("kd3", 1).seed == 1
    assert SelectOptions("rank", rank="msp + 0.1*random").seeded
    assert not SelectOptions("rank", rank="msp - entropy").seeded


def test_more_rows_and_seeds_are_the_same_comparison_and_other_terms_another(teacher: str) -> None:
    first = grid(teacher)
    for more in ({"seeds": 5}, {"methods": ("kd",)}, {"strategies": ("msp",)}, {"rounds": 2}):
        assert replace(first, **more).comparison() == first.comparison()
    for other in (
        {"train": TrainOptions(max_steps=6)},
        {"select": SelectOptions("random", budget=11)},
        {"student": "cifar:resnet14"},
        {"evaluate_on": "other.parquet"},
        {"method_options": {"kd": {"temperature": "2"}}},
    ):
        assert replace(first, **other).comparison() != first.comparison()
    assert replace(first, name="mine").comparison() == "mine"
    assert replace(first, name="mine").terms() == first.terms()


def test_a_manifest_is_named_after_what_makes_it(teacher: str, student: str) -> None:
    first = manifest_name(grid(teacher), KD3, 0)
    assert first.startswith("kd3-")
    assert manifest_name(grid(teacher, methods=("kd",), seeds=9), KD3, 1) == first
    assert manifest_name(grid(student), KD3, 0) != first
    assert manifest_name(grid(teacher, reference=("r",)), KD3, 0) == first  # it reads none
    knn = Selection("knn", False, False)
    of_r, of_s = (manifest_name(grid(teacher, reference=(one,)), knn, 0) for one in "rs")
    assert of_r != of_s
    assert manifest_name(grid(teacher), RANDOM, 0) != manifest_name(grid(teacher), RANDOM, 1)
    assert manifest_name(grid(teacher), Selection("by hand", True, False), 3) == "by hand"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"seeds": 0}, "--seeds is 0"),
        ({"rounds": -1}, "--rounds is -1"),
        ({"methods": ()}, "--methods is empty"),
        ({"methods": ("kd", "kd")}, "--methods names 'kd' twice"),
        ({"methods": ("kd4",)}, "no distillation method 'kd4'"),
        ({"strategies": ("random", "random")}, "--strategies names 'random' twice"),
        ({"strategies": ("kd33",)}, "kd33"),
        ({"strategies": ()}, "nothing to train on: give --strategies or --manifests"),
        ({"strategies": ("knn",)}, "--reference"),
        ({"strategies": ("agreement",)}, "agreement listens to a student .*--manifests"),
        ({"method_options": {"dkd": {"beta": "8"}}}, "--option is for dkd, and --methods has none"),
        ({"train": TrainOptions(max_steps=0)}, "--max-steps is 0"),
        ({"select": SelectOptions("random", budget=0)}, "--budget is 0"),
        (
            {"select": SelectOptions("random")},
            "random has no thresholds.*--budget N.*--no-baseline",
        ),
        ({"select": SelectOptions("random"), "strategies": ("kd3", "msp")}, "msp has no thresh"),
        ({"manifests": ("mine", "kd3")}, "--manifests names 'kd3', and so is a strategy"),
        ({"manifests": ("random",)}, "--manifests names 'random'.*--no-baseline"),
        (
            {
                "manifests": ("mine",),
                "strategies": (),
                "select": SelectOptions("random", balance="full"),
            },
            "--balance full is for what --strategies select",
        ),
        (
            {"methods": ("cmi",), "select": SelectOptions("random", budget=9, balance="full")},
            "--balance full is for what --strategies select",
        ),
        (
            {"methods": ("cmi", "pre"), "select": SelectOptions("random")},
            "^--strategies kd3 is for methods that train on a manifest, and all of --methods make",
        ),
        (
            {"methods": ("cmi",), "select": SelectOptions("random"), "strategies": ("msp", "kd3")},
            "--strategies msp,kd3 is for methods that train on a manifest",
        ),
        (
            {
                "methods": ("cmi",),
                "select": SelectOptions("random"),
                "strategies": (),
                "manifests": ("mine",),
            },
            "--manifests mine is for methods that train on a manifest",
        ),
        (
            {
                "methods": ("cmi",),
                "select": SelectOptions("random"),
                "strategies": ("random",),
                "cache_budget_gib": 1.5,
            },
            "--cache-budget 1.5 is for methods that train on a manifest",
        ),
        ({"manifests": (OWN_IMAGES,)}, "--manifests names 'own images'"),
        ({"preset": "fast"}, "--preset fast is for methods that make their own images"),
        ({"rounds": 6}, "--rounds 6 in 5 steps: ask for fewer"),
        ({"without": ("dynamic",)}, "--without dynamic: rows without rounds .*--rounds N"),
        ({"without": ("weighting", "weighting")}, "--without names 'weighting' twice"),
        (
            {"without": ("weighting",), "methods": ("kd", "dafl")},
            "--without weighting is a part of kd3, and --methods has none",
        ),
        ({"reference": ("r",)}, "--reference is for strategies that need one"),
        ({"cache_budget_gib": -4}, "--cache-budget is -4: it must be above 0"),
        ({"name": ""}, "--name is empty"),
        ({"name": " "}, "--name is empty"),
    ],
)
def test_what_makes_no_sense_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        grid(**given).check()


def test_thresholds_or_a_share_of_each_class_bound_a_selection_too() -> None:
    grid(strategies=("kd3",), select=SelectOptions("random")).check()
    grid(select=SelectOptions("random", per_class=3)).check()
    grid(methods=("dafl",), strategies=("random",), select=SelectOptions("random")).check()
    grid(methods=("dafl", "kd"), preset="fast").check()
    grid(strategies=("random", "knn"), reference=("r",)).check()


def test_rounds_that_nothing_listens_to_are_refused() -> None:
    asked = grid(rounds=4)
    asked.check_rows(asked.rows([RANDOM, KD3]))
    with pytest.raises(UsageError, match="--rounds 4 re-selects kd3 selections, and no row"):
        asked.check_rows(asked.rows([RANDOM]))
    grid().check_rows(grid().rows([RANDOM]))
