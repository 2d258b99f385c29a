"""What the distill command makes of its options."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from curate.cli import train
from curate.cli.train_options import parse_options, parse_share, training
from distill.datafree.registry import ALIASES, data_free_names, make_recipe
from distill.methods import METHODS
from distill.methods.kd3 import KD3Options, Part
from index.errors import UsageError
from tests.distill.workspaces import save_teacher

from ..conftest import Kdcurate


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


def test_a_share_is_a_percentage_or_a_fraction() -> None:
    assert parse_share("--hold-back", "5%") == parse_share("--hold-back", " 0.05 ") == 0.05
    for wrong in ("five", "%", "", "5%%"):
        with pytest.raises(UsageError, match="--hold-back is '.*': give a share, as 5%"):
            parse_share("--hold-back", wrong)


def test_under_torchrun_a_mistake_is_one_line(tmp_path: Path) -> None:
    """Both processes make it, and one of them says it; the report that follows is torchrun's."""
    launch = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words = ["--manifest", "first", "--student", "cifar:resnet8", "--device", "cpu"]
    words += ["--teacher", str(save_teacher(tmp_path)), "--batch-size", "3", "-w", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", *launch, "-m", "curate.cli.main", "distill", *words],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=Path(__file__).parents[3],
    )
    assert done.returncode == 1
    said = [line for line in done.stderr.splitlines() if "kdcurate: " in line]
    assert len(said) == 1 and said[0].startswith(
        "kdcurate: --batch-size 3 does not divide into 2 equal parts (2 processes x"
    )


def test_what_is_not_given_is_the_methods_own() -> None:
    nothing = {"epochs": None, "batch_size": None, "augment": None}
    assert training("kd3", None, **nothing) == {}
    assert training("kd3", None, **nothing | {"epochs": 3}) == {"epochs": 3}
    assert training("di", None, **nothing) == {"epochs": 200, "batch_size": 256, "augment": "crop"}
    fast = training("pre", "fast", **nothing | {"batch_size": 7})
    assert fast == {"epochs": 10, "batch_size": 7, "augment": "none"}


def planned(kdcurate: Kdcurate, folder: Path, *words: object) -> str:
    common = ("distill", "-w", folder, "--teacher", save_teacher(folder), "--device", "cpu")
    found = kdcurate(*common, "--student", "cifar:resnet8", "--dry-run", *words)
    assert found.code == 0, found.err
    return found.out


def test_the_plan_of_rounds_says_how_many_come_first_and_what_they_cost(
    kdcurate: Kdcurate, tmp_path: Path
) -> None:
    """The images' own steps, an option of the same name, are not the student's."""
    asked = ("--method", "adi", "--preset", "fast", "--max-steps", 3950, "--keep-images", 7)
    plan = json.loads(planned(kdcurate, tmp_path, *asked, "--json"))
    options = plan.pop("options")
    assert options == make_recipe("adi", "fast", {}).model_dump()
    assert plan.pop("run").startswith("adi-")
    assert plan == {
        "steps": 3950,
        "image_rounds": 40,
        "image_rounds_before_student": 20,
        "image_steps": 8000,
        "images": 5120,
        "keep_images": 7,
        "batch_size": 128,
        "device": "cpu",
    }
    shown = planned(kdcurate, tmp_path, *asked).splitlines()
    pairs = dict(re.split(r"  +", line, maxsplit=1) for line in shown)
    assert len(pairs) == len(shown) == 1 + len(plan) + len(options)
    assert (pairs["steps"], pairs["option steps"], pairs["option bal"]) == ("3950", "200", "0")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("di", "--option", "most=300"), (2, 2, 4000, 512, 0)),
        (("cmi",), (3, 0, 1500, 768, 0)),
        (("dafl",), (None, None, 180, None, 0)),
    ],
)
def test_the_plan_of_other_methods(
    kdcurate: Kdcurate, tmp_path: Path, words: tuple[str, ...], expected: tuple[int | None, ...]
) -> None:
    asked = ("--method", *words, "--max-steps", 900, "--json")
    plan = json.loads(planned(kdcurate, tmp_path, *asked))
    names = ("image_rounds", "image_rounds_before_student", "image_steps", "images", "keep_images")
    assert plan["steps"] == 900 and tuple(map(plan.get, names)) == expected


def test_under_torchrun_only_a_training_divides(
    kdcurate: Kdcurate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    found = kdcurate("models")
    assert (found.code, found.out) == (2, "")
    assert found.err == "kdcurate: models runs in one process: start it without torchrun\n"
