"""What a training refuses, and what its checkpoint and identity hold."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from distill.options import TrainOptions
from index.errors import KdcurateError, UsageError

from .helpers import tiny
from .training import Watched, chosen, greys, make, options, run


def test_a_loss_that_is_no_number_ends_the_run_and_spares_the_checkpoint(tmp_path: Path) -> None:
    watched = Watched(tiny(0), tiny(1))
    run(tmp_path / "order", watched, images=greys(), augment="none")
    bad = watched.seen[5][0]  # first shown in the first or second epoch
    step = next(number for number, batch in enumerate(watched.seen) if bad in batch)
    weights = [1.0] * 12
    weights[11 - bad] = math.nan
    given = {"images": greys(), "selection": chosen(12, weights), "checkpoint_every": 1}
    assert step > 0
    with pytest.raises(KdcurateError, match=rf"nan at step {step}: lower --lr.*last\.pt"):
        run(tmp_path / "bad", make("kd"), **given, augment="none")
    kept = torch.load(tmp_path / "bad" / "checkpoint" / "last.pt", weights_only=True)
    assert kept["step"] == step
    assert all(value.isfinite().all() for value in kept["method"].values())


def test_a_run_that_fails_at_once_names_no_checkpoint(tmp_path: Path) -> None:
    given = {"selection": chosen(12, [math.nan] * 12)}
    with pytest.raises(KdcurateError, match="nan at step 0.* not yet written"):
        run(tmp_path, make("kd"), **given)
    assert not (tmp_path / "checkpoint").exists()


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (
            {"schedule": "linear"},
            "--schedule is 'linear': choose one of step, two-step, cosine, onecycle",
        ),
        ({"augment": "cutout"}, "--augment is 'cutout'"),
        ({"precision": "float16"}, "--precision"),
        ({"device": "tpu"}, "--device"),
        ({"epochs": 0}, "--epochs is 0"),
        ({"max_steps": 0}, "--max-steps is 0"),
        ({"batch_size": -1}, "--batch-size is -1"),
        ({"checkpoint_every": 0}, "--checkpoint-every is 0"),
        ({"rounds": -1}, "--rounds is -1"),
        ({"seed": -1}, "--seed is -1"),
        ({"seed": 2**63}, "--seed is 9223372036854775808: it must lie between"),
        ({"lr": 0.0}, "--lr is 0.0"),
        ({"clip_norm": -1.0}, "--clip-norm is -1.0: it must be above 0"),
        ({"clip_norm": math.inf}, "--clip-norm is inf"),
        ({"ema": 1.0}, "--ema is 1.0: it must lie between 0 and 1"),
        ({"patience": 0}, "--patience is 0: it must be at least 1"),
        ({"patience": 1, "hold_back": 1.5}, "--hold-back is 1.5"),
        ({"hold_back": 0.1}, "--hold-back is for --patience"),
        ({"refresh": "full"}, "--refresh is for --rounds"),
        ({"rounds": 5, "max_steps": 3}, "--rounds 5 in 3 steps: ask for fewer"),
        ({"alpha_floor": 0.5}, "--alpha-floor is for --rounds"),
        (
            {"alpha_floor": 1.0, "rounds": 2},
            "--alpha-floor is 1.0: it must be at least 0 and below",
        ),
        ({"alpha_floor": -0.1, "rounds": 2}, "--alpha-floor is -0.1"),
        ({"alpha_floor": math.nan, "rounds": 2}, "--alpha-floor is nan"),
        ({"accumulate": 0}, "--accumulate is 0"),
        ({"accumulate": 3}, r"--batch-size 4 does not divide into 3 equal parts \(1 processes x"),
        ({"processes": 3}, r"into 3 equal parts \(3 processes x --accumulate 1\): choose a"),
    ],
)
def test_options_without_sense_are_named(given: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        options(**given).check()


def test_options_that_are_not_used_leave_a_runs_identity_as_it_was() -> None:
    assert "accumulate" not in options().identity() and "processes" not in options().identity()
    used = options(accumulate=2, clip_norm=1.0, ema=0.9, patience=2, compile=True, processes=2)
    more = used.identity().keys() - options().identity().keys()
    assert more == {"accumulate", "clip_norm", "ema", "patience", "compile", "processes"}
    floors = [options(rounds=2, alpha_floor=floor).identity() for floor in (0.0, 0.5)]
    assert "alpha_floor" not in floors[0] and floors[1]["alpha_floor"] == 0.5
    assert options(tensorboard=True).identity() == options().identity()


def test_a_checkpoint_holds_no_teacher_and_its_options(tmp_path: Path) -> None:
    run(tmp_path, make("kd3"))
    kept = torch.load(tmp_path / "checkpoint" / "last.pt", weights_only=True)
    assert {"lr", "seed", "batch_size"} <= json.loads(kept["options"]).keys()
    assert all(key.startswith(("student.", "embed.")) for key in kept["method"])


def test_how_rounds_ask_is_part_of_what_a_run_is() -> None:
    """A run of before there was a choice asked about all images, and keeps its name."""
    plain, full, lazy = (
        TrainOptions(rounds=rounds, refresh=refresh).identity()
        for rounds, refresh in ((0, "lazy"), (3, "full"), (3, "lazy"))
    )
    assert "refresh" not in plain and "refresh" not in full and lazy["refresh"] == "lazy"
