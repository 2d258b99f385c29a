"""The teacher's logits, computed once where nothing is augmented: the same bits as every time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from distill.methods import METHODS
from distill.networks import Network

from .helpers import tiny
from .training import confident_half, make, options, run, same


def counted(teacher: Network) -> list[int]:
    """Note how many images the teacher is shown in each call."""
    shown: list[int] = []
    teacher.register_forward_hook(lambda module, given, found: shown.append(len(given[0])))
    return shown


@pytest.mark.parametrize("method", ["kd", "dkd", "dist", "dfnd"])
@pytest.mark.parametrize("rounds", [0, 2])
def test_remembered_logits_train_the_same_student(tmp_path: Path, method: str, rounds: int) -> None:
    trainers = []
    for name, spare in (("none", 0), ("all", 1e9)):
        given: dict[str, Any] = {"rounds": rounds, "augment": "none", "spare_bytes": spare}
        if rounds:
            given["reselect"] = confident_half()
        made = make(method)
        shown = counted(made.teacher)
        trainers.append(run(tmp_path / name, made, **given))
        if spare and not rounds:  # 12 images in three batches, and one to measure
            assert shown == [4] * 4
        elif not rounds:
            assert shown == [4] * 10
    assert same(*trainers)
    logs = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("none", "all")]
    assert logs[0] == logs[1]


def test_what_is_augmented_or_reads_features_is_computed_every_time(tmp_path: Path) -> None:
    made = make("kd")
    shown = counted(made.teacher)
    run(tmp_path / "crop", made, augment="crop")
    assert shown == [4] * 10
    made = make("kd3")
    shown = counted(made.teacher)
    run(tmp_path / "kd3", made, augment="none")
    assert shown == [4] * 10


def test_a_teacher_whose_logits_depend_on_the_batch_is_not_remembered(tmp_path: Path) -> None:
    """One that adds what its batch has in common, as a teacher with BatchNorm in training would."""
    made = make("kd")
    made.teacher.register_forward_hook(lambda module, given, found: found + given[0].mean())
    shown = counted(made.teacher)
    run(tmp_path, made, augment="none")
    assert shown == [4] * (3 + 1 + 10)


def test_only_methods_that_read_logits_alone_say_so() -> None:
    assert {name for name, method in METHODS.items() if method.logits_only} == {
        "kd",
        "dkd",
        "dist",
        "dfnd",
    }
    assert options(augment="none").augment == "none" and tiny().num_classes == 3
