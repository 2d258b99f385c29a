"""Names of runs: functions of what decides the result, and never paths."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from distill.checks import check_run
from distill.networks import load_network
from distill.run import run_name
from index.catalog import Catalog
from index.errors import UsageError
from index.names import LONGEST

from .running import TRAIN, asked, run
from .workspaces import save_teacher


def test_the_name_is_a_function_of_what_decides_the_result(
    teacher_card: Path, tmp_path: Path
) -> None:
    teacher = load_network(teacher_card)
    options = asked(teacher_card)
    name = run_name(options, teacher, "hash")
    assert name.startswith("first-kd3-resnet8-s0-")
    unchanged = [
        replace(options, train=replace(TRAIN, checkpoint_every=7, log_every=9)),
        replace(options, train=replace(TRAIN, tensorboard=True)),
        replace(options, evaluate_on="test.parquet", workers=3, cache_budget_gib=9),
        replace(options, teacher="elsewhere.toml"),
    ]
    assert {run_name(other, teacher, "hash") for other in unchanged} == {name}
    changed = [
        run_name(replace(options, train=replace(TRAIN, seed=1)), teacher, "hash"),
        run_name(replace(options, train=replace(TRAIN, rounds=2)), teacher, "hash"),
        run_name(replace(options, train=replace(TRAIN, accumulate=2)), teacher, "hash"),
        run_name(replace(options, train=replace(TRAIN, ema=0.9)), teacher, "hash"),
        run_name(replace(options, train=replace(TRAIN, processes=2)), teacher, "hash"),
        run_name(replace(options, method_options={"contrast": "0"}), teacher, "hash"),
        run_name(options, teacher, "other hash"),
        run_name(options, load_network(save_teacher(tmp_path, seed=1)), "hash"),
    ]
    assert len({name, *changed}) == 1 + len(changed)


def test_a_student_card_gives_its_name_without_its_folder(
    teacher_card: Path, tmp_path: Path
) -> None:
    card = tmp_path / "small.toml"
    card.write_text('architecture = "cifar:resnet8"\n')
    options = replace(asked(teacher_card), student=str(card), manifest="a/round-001")
    assert run_name(options, load_network(teacher_card), "hash").startswith(
        "a-round-001-kd3-small-"
    )


def test_a_long_manifest_leaves_room_for_the_rest(teacher_card: Path) -> None:
    options, teacher = asked(teacher_card), load_network(teacher_card)
    long = replace(options, manifest="\u00e9" * 100)
    name = run_name(long, teacher, "hash")
    assert len(name.encode()) in (LONGEST - 1, LONGEST)
    assert name.startswith("\u00e9" * 90) and name.endswith(run_name(options, teacher, "hash")[-7:])


@pytest.mark.parametrize(("name", "said"), [("", "--run is empty"), ("a" * 268, "--run has 268")])
def test_what_no_folder_can_be_called_is_refused(
    catalog: Catalog, teacher_card: Path, name: str, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        run(catalog, teacher_card, name=name)
    assert not (catalog.workspace / "runs").exists()


@pytest.mark.parametrize("budget", [-1, 0, float("nan")])
def test_a_cache_budget_without_sense_is_refused_first(teacher_card: Path, budget: float) -> None:
    with pytest.raises(UsageError, match=f"--cache-budget is {budget:g}: it must be above 0"):
        check_run(replace(asked(teacher_card), cache_budget_gib=budget))


@pytest.mark.parametrize("name", ["../mine", "a/b", "/tmp/mine", "..", "."])
def test_a_run_is_named_and_not_placed(catalog: Catalog, teacher_card: Path, name: str) -> None:
    with pytest.raises(UsageError, match="is a path: give a name"):
        run(catalog, teacher_card, name=name)
    assert not (catalog.workspace / "runs").exists()
