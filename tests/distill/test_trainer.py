"""The training loop: every step is a function of the state, the seed, and the step's number."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from distill.draws import step_seed
from distill.images import PoolImages
from distill.methods import METHODS, Method, find_method
from distill.methods.base import Batch, Losses
from distill.methods.dfnd import DFND
from distill.methods.kd import KD
from distill.metrics import read_metrics
from distill.networks import Network
from distill.options import TrainOptions
from distill.selection import Selection
from distill.trainer import Reselect, RoundStart, Trainer
from index.errors import KdcurateError, UsageError, WorkspaceError
from index.progress import Advance, Silent

from .helpers import TINY, TinyNet, network, tiny

IMAGES = 20


class Dropping(TinyNet):
    """Drops a fifth of the pixels before it looks."""

    def __init__(self) -> None:
        super().__init__(num_classes=3)
        self.dropout = nn.Dropout(0.2)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.dropout(x))


class Watched(KD):
    """KD that notes which images it was shown, by their grey level, and with which weights."""

    name: ClassVar[str] = "watched"

    def __init__(self, teacher: Network, student: Network) -> None:
        super().__init__(teacher, student)
        self.seen: list[list[int]] = []
        self.weights: list[list[float]] = []
        self.places: list[list[int]] = []
        self.epochs: list[int] = []

    def loss(self, batch: Batch) -> Losses:
        grey = (batch.images[:, 0, 0, 0].float() * TINY.std[0] + TINY.mean[0]) * 255
        self.seen.append([round(level) for level in grey.tolist()])
        self.weights.append(batch.weights.tolist())
        self.epochs.append(batch.epoch)
        assert batch.places is not None
        self.places.append(batch.places.tolist())
        return super().loss(batch)


class Stopped(Exception):
    """The process was ended."""


class StopAfter(Silent):
    """Ends a training after so many steps of this process."""

    def __init__(self, steps: int) -> None:
        self._left = steps

    @contextmanager
    def step(self, name: str, total: int | None, unit: str) -> Iterator[Advance]:
        yield self._advance

    def _advance(self, count: int) -> None:
        self._left -= count
        if self._left == 0:
            raise Stopped


def photos() -> PoolImages:
    pixels = np.random.default_rng(0).integers(256, size=(IMAGES, 8, 8, 3), dtype=np.uint8)
    return PoolImages(np.arange(IMAGES, dtype=np.int64) * 7, pixels)


def greys() -> PoolImages:
    """Images whose grey level is their place, so that a method can tell them apart."""
    levels = np.arange(IMAGES, dtype=np.uint8)
    return PoolImages(
        levels.astype(np.int64) * 7, np.ones((1, 8, 8, 3), np.uint8) * levels[:, None, None, None]
    )


def chosen(count: int = 12, weights: list[float] | None = None) -> Selection:
    """Select every place from `count - 1` down to 0: by rank, not by id."""
    ids = np.arange(count, dtype=np.int64)[::-1] * 7
    return Selection("m", "hash", ids, np.array(weights or [1.0] * count, dtype=np.float32))


def options(**given: Any) -> TrainOptions:
    usual = {"batch_size": 4, "max_steps": 10, "device": "cpu", "precision": "float32"}
    return TrainOptions(**{**usual, "checkpoint_every": 3, "log_every": 4, "lr": 0.1, **given})


def make(name: str, student: Network | None = None) -> Method:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return find_method(name)(tiny(0), student or tiny(1), {})


def dropping(seed: int = 1) -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return network(Dropping(), [f"class {k}" for k in range(3)])


def confident_half(begun: list[RoundStart] | None = None) -> Reselect:
    """Re-select the images of which the student is surest, and keep each round's selection."""
    kept: dict[int, Selection] = {}

    def reselect(start: RoundStart) -> Selection:
        if begun is not None:
            begun.append(start)
        if not (start.resumed and start.round in kept):
            sure = start.student_logits().max(axis=1)
            ids = np.sort(np.argsort(-sure, kind="stable")[: 8 + start.round]) * 7
            name = f"round {start.round}"
            kept[start.round] = Selection(name, name, ids, np.ones(len(ids), np.float32))
        return kept[start.round]

    return reselect


_PARTS = ("reselect", "progress", "spare_bytes", "processes")


def run(folder: Path, method: Method, **given: Any) -> Trainer:
    """Train to the end, or until `progress` stops it."""
    parts = {name: given.pop(name) for name in _PARTS if name in given}
    images, selection = given.pop("images", photos()), given.pop("selection", chosen())
    trainer = Trainer(method, images, selection, options(**given), folder, **parts)
    try:
        trainer.fit()
    except Stopped:
        assert isinstance(parts["progress"], StopAfter)
    return trainer


def same(first: Trainer, second: Trainer) -> bool:
    one, other = (trainer.deployed().state_dict() for trainer in (first, second))
    assert one.keys() == other.keys()
    return all(torch.equal(one[key], other[key]) for key in one)


# Resuming


@pytest.mark.parametrize("rounds", [0, 3])
@pytest.mark.parametrize("student", [tiny, dropping])
@pytest.mark.parametrize("method", ["kd", "kd3"])
def test_a_resumed_run_is_the_undisturbed_one(
    tmp_path: Path, method: str, student: Callable[[int], Network], rounds: int
) -> None:
    """Ten steps in rounds from 0, 4, and 7: stopped before, in, and after each of them."""
    whole = run(
        tmp_path / "whole",
        make(method, student(1)),
        rounds=rounds,
        reselect=confident_half() if rounds else None,
    )
    reselect = confident_half() if rounds else None
    folder = tmp_path / "stopped"
    for steps in (1, 4, 2, 3, 100):
        torch.manual_seed(steps)  # what another process drew before must not matter
        stopped = run(
            folder,
            make(method, student(1)),
            rounds=rounds,
            reselect=reselect,
            progress=StopAfter(steps),
        )
    assert same(whole, stopped)
    log = (tmp_path / "whole" / "metrics.jsonl").read_bytes()
    assert (folder / "metrics.jsonl").read_bytes() == log


@pytest.mark.parametrize("method", sorted(METHODS.keys() - {"kd", "kd3"}))
def test_what_a_method_learns_and_remembers_is_resumed(tmp_path: Path, method: str) -> None:
    """Its own optimiser's moments, the memory of images, a projector: all to the last bit."""
    reselect = confident_half()
    given = {"rounds": 2, "lr": 0.01}
    whole = run(tmp_path / "whole", make(method), reselect=confident_half(), **given)
    for steps in (4, 100):
        torch.manual_seed(steps)
        stopped = run(
            tmp_path / "stopped",
            make(method),
            reselect=reselect,
            progress=StopAfter(steps),
            **given,
        )
    one, other = (torch.load(it.checkpoint_path, weights_only=True) for it in (whole, stopped))
    for part in ("method", "optimizers"):
        torch.testing.assert_close(one[part], other[part], rtol=0, atol=0)
    log = (tmp_path / "whole" / "metrics.jsonl").read_bytes()
    assert (tmp_path / "stopped" / "metrics.jsonl").read_bytes() == log


def test_a_methods_own_optimizer_has_its_parameters_and_its_rate(tmp_path: Path) -> None:
    method = make("dfnd")
    assert isinstance(method, DFND)
    trainer = run(tmp_path, method, lr=0.5, max_steps=1)
    stored = torch.load(trainer.checkpoint_path, weights_only=True)["optimizers"]
    assert [one["param_groups"][0]["lr"] for one in stored] == [0.5, 1e-3]
    trained = [key for key, one in tiny(1).named_parameters()]
    assert len(stored[0]["param_groups"][0]["params"]) == len(trained)
    assert len(stored[1]["param_groups"][0]["params"]) == 1
    # Adam's first step is the rate, whatever the gradient's size; a class that was the label of
    # every image was taken for no other, and its row has no gradient.
    moved = method.confusions.detach().abs()
    moved = moved[moved > 0]
    assert len(moved) >= 2
    torch.testing.assert_close(moved, torch.full_like(moved, 1e-3), rtol=1e-2, atol=0)


def test_bfloat16_resumes_as_exactly(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", make("kd3"), precision="bfloat16")
    run(tmp_path / "stopped", make("kd3"), precision="bfloat16", progress=StopAfter(5))
    assert same(whole, run(tmp_path / "stopped", make("kd3"), precision="bfloat16"))
    assert not same(whole, run(tmp_path / "float", make("kd3")))


def test_the_seed_changes_the_steps_and_nothing_else_does(tmp_path: Path) -> None:
    first = run(tmp_path / "first", make("kd", dropping()))
    torch.manual_seed(99)
    assert same(first, run(tmp_path / "again", make("kd", dropping())))
    assert not same(first, run(tmp_path / "other", make("kd", dropping()), seed=1))


def test_steps_have_seeds_of_their_own() -> None:
    seeds = [step_seed(seed, step) for seed in range(3) for step in range(-1, 100)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert step_seed(12, 3) != step_seed(1, 23)


def test_a_run_may_save_and_report_more_often_when_it_resumes(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", make("kd"))
    run(tmp_path / "stopped", make("kd"), progress=StopAfter(5))
    resumed = run(tmp_path / "stopped", make("kd"), checkpoint_every=1, log_every=1)
    assert same(whole, resumed)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"lr": 0.2}, "lr = 0.1, not 0.2"),
        ({"batch_size": 5}, "batch_size = 4, not 5"),
        ({"seed": 1}, "seed = 0, not 1"),
        ({"max_steps": 11}, "max_steps = 10, not 11"),
    ],
)
def test_a_run_with_other_options_is_not_resumed(
    tmp_path: Path, given: dict[str, Any], named: str
) -> None:
    run(tmp_path, make("kd"), progress=StopAfter(5))
    with pytest.raises(WorkspaceError, match=named):
        run(tmp_path, make("kd"), **given)


def test_a_finished_training_takes_no_step_more(tmp_path: Path) -> None:
    whole = run(tmp_path, make("kd"))
    log = (tmp_path / "metrics.jsonl").read_bytes()
    method = Watched(tiny(0), tiny(1))
    assert same(whole, run(tmp_path, method))
    assert method.seen == []
    assert (tmp_path / "metrics.jsonl").read_bytes() == log


# Order


def seen_in_epochs(method: Watched, steps: int) -> list[Counter[int]]:
    shown = method.seen
    return [
        Counter(image for batch in shown[start : start + steps] for image in batch)
        for start in range(0, len(shown), steps)
    ]


def test_every_image_is_seen_once_an_epoch_in_another_order(tmp_path: Path) -> None:
    method = Watched(tiny(0), tiny(1))
    run(tmp_path, method, images=greys(), epochs=3, max_steps=None, augment="none")
    assert [len(batch) for batch in method.seen] == [4] * 9
    assert seen_in_epochs(method, steps=3) == [Counter(range(12))] * 3
    orders = [sum(method.seen[start : start + 3], []) for start in (0, 3, 6)]
    assert len({tuple(order) for order in orders}) == 3


def test_what_does_not_fill_a_batch_waits_for_another_epoch(tmp_path: Path) -> None:
    method = Watched(tiny(0), tiny(1))
    run(
        tmp_path,
        method,
        images=greys(),
        selection=chosen(14),
        epochs=12,
        max_steps=None,
        augment="none",
    )
    epochs = seen_in_epochs(method, steps=3)
    assert all(len(epoch) == 12 and set(epoch.values()) == {1} for epoch in epochs)
    assert set().union(*epochs) == set(range(14))


def test_a_batch_larger_than_the_manifest_is_the_manifest(tmp_path: Path) -> None:
    method = Watched(tiny(0), tiny(1))
    trainer = run(
        tmp_path,
        method,
        images=greys(),
        selection=chosen(3),
        batch_size=128,
        epochs=5,
        max_steps=None,
        augment="none",
    )
    assert trainer.total_steps == 5
    assert [sorted(batch) for batch in method.seen] == [[0, 1, 2]] * 5


def test_max_steps_count_instead_of_epochs(tmp_path: Path) -> None:
    method = Watched(tiny(0), tiny(1))
    trainer = run(tmp_path, method, images=greys(), epochs=1, max_steps=7, augment="none")
    assert trainer.total_steps == len(method.seen) == 7
    by_epochs = run(tmp_path / "epochs", make("kd"), epochs=2, max_steps=None)
    assert by_epochs.total_steps == 2 * 3


def test_each_image_brings_the_weight_of_its_manifest(tmp_path: Path) -> None:
    method = Watched(tiny(0), tiny(1))
    weights = [place / 8 for place in range(12, 0, -1)]  # rank 1 is the image in place 11
    run(tmp_path, method, images=greys(), selection=chosen(12, weights), augment="none")
    for images, found in zip(method.seen, method.weights, strict=True):
        assert found == [(image + 1) / 8 for image in images]


def test_each_image_comes_with_its_place_and_the_epoch(tmp_path: Path) -> None:
    method = Watched(tiny(0), tiny(1))
    run(tmp_path, method, images=greys(), augment="none")
    assert method.places == method.seen  # a grey level is a place
    assert method.epochs == [1, 1, 1, 2, 2, 2, 3, 3, 3, 4]


@pytest.mark.parametrize("method", ["kd", "kd3"])
def test_twice_the_weight_is_twice_the_loss(tmp_path: Path, method: str) -> None:
    once = {"selection": chosen(), "max_steps": 1}
    twice = {"selection": chosen(12, [2.0] * 12), "max_steps": 1}
    run(tmp_path / "once", make(method), **once)
    run(tmp_path / "twice", make(method), **twice)
    (first,), (second,) = (
        read_metrics(tmp_path / name / "metrics.jsonl") for name in ("once", "twice")
    )
    assert first["total"] > 0
    assert second["total"] == pytest.approx(2 * first["total"], rel=1e-5)


# Rates and logs


def test_the_rate_follows_the_schedule_from_the_given_peak(tmp_path: Path) -> None:
    run(tmp_path, make("kd"), lr=0.5, schedule="cosine", max_steps=4, log_every=1)
    rates = [row["lr"] for row in read_metrics(tmp_path / "metrics.jsonl")]
    expected = [0.25 * (1 + math.cos(math.pi * step / 4)) for step in range(4)]
    assert rates == pytest.approx(expected)


def test_rate_and_schedule_are_the_methods_where_none_is_given(tmp_path: Path) -> None:
    run(tmp_path, make("kd3"), lr=None, max_steps=8, log_every=1)
    rates = [row["lr"] for row in read_metrics(tmp_path / "metrics.jsonl")]
    # 150, 180, and 210 of 240 are 5, 6, and 7 of 8.
    assert rates == pytest.approx([0.05] * 5 + [0.005, 0.0005, 0.00005])


def test_a_tiny_rate_leaves_the_weights_and_not_the_statistics(tmp_path: Path) -> None:
    before = tiny(1).state_dict()
    trainer = run(tmp_path, make("kd"), lr=1e-12, max_steps=3)
    after = trainer.deployed().state_dict()
    for key, value in after.items():
        if "running" not in key and "tracked" not in key:
            torch.testing.assert_close(value, before[key], atol=1e-7, rtol=0)
    assert not torch.equal(after["module.bn.running_mean"], before["module.bn.running_mean"])


def test_the_log_holds_means_of_all_terms(tmp_path: Path) -> None:
    run(tmp_path / "each", make("kd3"), log_every=1)
    run(tmp_path / "means", make("kd3"), log_every=4)
    each = read_metrics(tmp_path / "each" / "metrics.jsonl")
    means = read_metrics(tmp_path / "means" / "metrics.jsonl")
    assert [row["step"] for row in means] == [4, 8, 10]
    assert set(means[0]) == {"step", "total", "feature", "contrast", "lr"}
    for row, (first, last) in zip(means, [(0, 4), (4, 8), (8, 10)], strict=True):
        for name in ("total", "feature", "contrast", "lr"):
            wanted = sum(step[name] for step in each[first:last]) / (last - first)
            assert row[name] == pytest.approx(wanted)


# Rounds


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


# What goes wrong


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
        ({"lr": 0.0}, "--lr is 0.0"),
        ({"clip_norm": -1.0}, "--clip-norm is -1.0: it must be above 0"),
        ({"clip_norm": math.inf}, "--clip-norm is inf"),
        ({"ema": 1.0}, "--ema is 1.0: it must lie between 0 and 1"),
        ({"patience": 0}, "--patience is 0: it must be at least 1"),
        ({"patience": 1, "hold_back": 1.5}, "--hold-back is 1.5"),
        ({"hold_back": 0.1}, "--hold-back is for --patience"),
        ({"refresh": "full"}, "--refresh is for --rounds"),
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
