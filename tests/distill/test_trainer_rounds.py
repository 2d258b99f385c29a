"""Rounds, each on a selection of its own."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distill.selection import Selection
from distill.trainer import RoundStart, Trainer
from index.errors import UsageError

from .helpers import tiny
from .training import (
    IMAGES,
    Watched,
    chosen,
    confident_half,
    greys,
    make,
    options,
    photos,
    run,
    seen_in_epochs,
)


def test_rounds_start_where_they_should_with_the_student_as_it_is(tmp_path: Path) -> None:
    begun: list[RoundStart] = []
    run(tmp_path, make("kd"), rounds=3, reselect=confident_half(begun))
    # Ten steps of 12 / 4 = 3 an epoch: rounds begin at the steps 0, 4, and 7.
    assert [start.round for start in begun] == [0, 1, 2]
    assert [start.epoch for start in begun] == pytest.approx([1, 1 + 4 / 3, 1 + 7 / 3])
    assert {start.epochs for start in begun} == {10 / 3}
    assert not any(start.resumed for start in begun)


def test_a_round_sees_the_pool_through_the_students_eyes(tmp_path: Path) -> None:
    logits: list[Any] = []

    def reselect(start: RoundStart) -> Selection:
        logits.append(start.student_logits())
        return chosen()

    trainer = run(tmp_path, make("kd"), rounds=2, reselect=reselect)
    assert [found.shape for found in logits] == [(IMAGES, 3)] * 2
    assert logits[0].dtype == np.float16
    assert not np.array_equal(*logits)
    untrained = Trainer(make("kd"), photos(), chosen(), options(), tmp_path / "untrained")
    np.testing.assert_array_equal(logits[0], untrained.student_logits())
    assert not np.array_equal(logits[1], trainer.student_logits())


def test_a_round_trains_on_its_own_selection(tmp_path: Path) -> None:
    method = Watched(tiny(0), tiny(1))

    def reselect(start: RoundStart) -> Selection:
        ids = np.array([[0, 1, 2, 3], [10, 11, 12, 13, 14, 15, 16, 17]][start.round]) * 7
        return Selection("m", "hash", ids, np.ones(len(ids), np.float32))

    run(
        tmp_path,
        method,
        images=greys(),
        rounds=2,
        reselect=reselect,
        max_steps=8,
        augment="none",
    )
    assert [sorted(batch) for batch in method.seen[:4]] == [[0, 1, 2, 3]] * 4
    assert seen_in_epochs(method, steps=2)[2:] == [Counter(range(10, 18))] * 2


def test_a_run_that_only_has_to_be_recorded_knows_its_last_selection(tmp_path: Path) -> None:
    reselect = confident_half()
    parts: tuple[Any, ...] = (photos(), chosen(), options(rounds=3), tmp_path)
    done = Trainer(make("kd"), *parts, reselect=reselect).fit()
    again = Trainer(make("kd"), *parts, reselect=reselect).fit()
    assert done.selection.manifest == again.selection.manifest == "round 2"
    assert again.steps == 10


def test_more_rounds_than_steps_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--rounds 11 in 10 steps"):
        run(tmp_path, make("kd"), rounds=11, reselect=confident_half())
