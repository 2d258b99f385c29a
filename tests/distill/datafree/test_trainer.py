"""The loop of methods without images: turns, rates, logs, and runs that were interrupted."""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from distill import checkpoint, saving
from distill.datafree.learner import make_learner
from distill.datafree.registry import data_free_names, find_data_free, make_recipe
from distill.datafree.synthesiser import Moment
from distill.datafree.trainer import DataFreeTrainer
from distill.metrics import read_metrics
from distill.networks import InputSpec, load_network
from distill.options import TrainOptions
from index.decoding import Pixels
from index.errors import WorkspaceError
from index.progress import Advance, Silent

from ..training import AtStep, Said, StopAfter, Stopped
from .small import small, trainer


def sampled(made: DataFreeTrainer, count: int) -> Pixels:
    return np.concatenate(list(made.samples(count)))


class Parts(Silent):
    """Notes how many rounds lie in a pool whenever a step of the work advances."""

    def __init__(self, pool: Path) -> None:
        self.seen: list[tuple[str, list[int]]] = []
        self._pool = pool

    @contextmanager
    def step(self, name: str, total: int | None, unit: str) -> Iterator[Advance]:
        self.seen.append((name, []))
        yield lambda _: self.seen[-1][1].append(len(list(self._pool.glob("*.npy"))))


def parts(made: DataFreeTrainer) -> dict[str, Any]:
    kept = torch.load(made.checkpoint_path, weights_only=True)
    return {name: kept[name] for name in ("learner", "optimizer", "synthesiser", "step", "made")}


def same(one: DataFreeTrainer, other: DataFreeTrainer) -> None:
    torch.testing.assert_close(parts(one), parts(other), rtol=0, atol=0)
    logs = [(it.checkpoint_path.parents[1] / "metrics.jsonl").read_bytes() for it in (one, other)]
    assert logs[0] == logs[1]


# Every method


@pytest.mark.parametrize("name", data_free_names())
def test_a_resumed_run_is_the_undisturbed_one(name: str, tmp_path: Path) -> None:
    """Weights, moments, memory, pool, and log, to the last bit."""
    given = {"augment": "crop"} if name in ("cmi", "deepinversion") else {}
    whole = trainer(name, tmp_path / "whole", **given)
    whole.fit()
    for steps in (1, 4, 100):
        torch.manual_seed(steps)  # what another process drew before must not matter
        stopped = trainer(name, tmp_path / "stopped", StopAfter(steps), **given)
        try:
            stopped.fit()
        except Stopped:
            continue
    same(whole, stopped)
    np.testing.assert_array_equal(sampled(whole, 7), sampled(stopped, 7))


def test_a_checkpoint_of_another_version_is_named(tmp_path: Path) -> None:
    made = trainer("dafl", tmp_path, max_steps=1)
    made.fit()
    state = torch.load(made.checkpoint_path, weights_only=True)
    state["synthesiser"]["module"]["more.weight"] = torch.zeros(2)
    torch.save(state, made.checkpoint_path)
    with pytest.raises(WorkspaceError, match=r"last\.pt is of another version of .*: delete it to"):
        trainer("dafl", tmp_path, max_steps=1).fit()


def test_where_steps_are_slow_the_clock_says_when_to_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "LONGEST_S", 0.0)
    monkeypatch.setattr(checkpoint, "SHARE", math.inf)
    saved: list[int] = []
    monkeypatch.setattr(saving, "save_checkpoint", lambda _, state: saved.append(state["step"]))
    trainer("dafl", tmp_path, checkpoint_every=1000, max_steps=3).fit()
    assert saved == [1, 2, 3]


@pytest.mark.parametrize("name, fatal", [("deepinversion", 2), ("cmi", 4)])
def test_a_round_whose_checkpoint_was_not_written_is_made_again(
    name: str, fatal: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file lies there and counts for nothing."""
    whole = trainer(name, tmp_path / "whole")
    whole.fit()
    folder, calls = tmp_path / "killed", 0
    kept = saving.save_checkpoint

    def save(path: Path, state: dict[str, Any]) -> None:
        nonlocal calls
        calls += 1
        if calls == fatal:  # behind the second round, of cmi at step 3
            raise Stopped
        kept(path, state)

    monkeypatch.setattr(saving, "save_checkpoint", save)
    with pytest.raises(Stopped):
        trainer(name, folder).fit()
    assert len(list((folder / "pool").glob("*.npy"))) == 2
    (folder / "pool" / "00007.npy").write_bytes(b"of nobody")
    (folder / "pool" / ".00002.npy.123.tmp").write_bytes(b"of a killed process")
    again = trainer(name, folder)
    again.fit()
    same(whole, again)
    assert [path.name for path in sorted((folder / "pool").iterdir())] == [
        f"{number:05d}.npy" for number in range(3)
    ]


@pytest.mark.parametrize(
    "name, at",
    [*product(("dafl", "adi"), ("prepare", "images")), ("deepinversion", "images")],
)
def test_a_ctrl_c_loses_no_step(
    name: str, at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes at the fourth step: a round is not waited for, and begins anew; a step is."""
    given = {"checkpoint_every": 1000}
    whole = trainer(name, tmp_path / "whole", **given)
    whole.fit()
    progress = Said()
    stopped = trainer(name, tmp_path / "stopped", progress, **given)
    kind = type(stopped.synthesiser)
    usual = getattr(kind, at)

    def pressed(self: Any, *given: Any) -> Any:
        if given[-1].step == 3:
            signal.raise_signal(signal.SIGINT)
        return usual(self, *given)

    monkeypatch.setattr(kind, at, pressed)
    with pytest.raises(KeyboardInterrupt):
        stopped.fit()
    monkeypatch.setattr(kind, at, usual)
    saved = 3 if (name, at) == ("adi", "prepare") else 4
    assert progress.said == [f"the run goes on from step {saved} of 8"]
    again = trainer(name, tmp_path / "stopped", progress, **given)
    again.fit()
    assert progress.said[1:] == [f"resuming at step {saved} of 8"]
    same(whole, again)


def test_images_that_do_not_ask_the_student_are_made_before_it_learns(tmp_path: Path) -> None:
    """The same as in their turns; those that do ask it wait for theirs."""
    made = trainer("deepinversion", tmp_path / "ahead", Parts(tmp_path / "ahead" / "pool"))
    made.fit()
    assert made._progress.seen == [("Making images", [1, 2, 3]), ("Training", [3] * 9)]
    turns = trainer("deepinversion", tmp_path / "turns")
    for step in range(8):
        turns.synthesiser.prepare(Moment(step, 0))
    for number in range(3):
        one, other = (tmp_path / name / "pool" / f"0000{number}.npy" for name in ("ahead", "turns"))
        assert one.read_bytes() == other.read_bytes()
    waiting = trainer("adi", tmp_path / "adi", Parts(tmp_path / "adi" / "pool"))
    waiting.fit()
    assert waiting._progress.seen == [("Training", [0, 1, 1, 1, 2, 2, 2, 3, 3])]
    few = trainer("deepinversion", tmp_path / "few", recipe={"most": 7}).synthesiser
    assert list(few.ahead(8)) == [0, 3]  # of 6 images each


@pytest.mark.parametrize("name", ["adi", "cmi"])
def test_a_warmup_is_made_ahead_without_asking_a_student_that_knows_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = trainer(name, tmp_path, Parts(tmp_path / "pool"), recipe={"warmup": 2})
    asked: list[int] = []
    adversarial = type(made.synthesiser).adversarial
    monkeypatch.setattr(
        type(made.synthesiser),
        "adversarial",
        lambda self, *given: (asked.append(self.pool.parts), adversarial(self, *given))[1],
    )
    made.fit()
    assert made._progress.seen == [
        ("Making images", [1, 2]),
        ("Training", [2] * 7 + [3] * 2),
    ]
    assert asked == [2] * 3  # three steps of the third round


def test_a_ctrl_c_while_images_are_made_ahead_keeps_the_rounds_before(tmp_path: Path) -> None:
    whole = trainer("deepinversion", tmp_path / "whole")
    whole.fit()

    def press() -> None:
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        trainer("deepinversion", tmp_path / "stopped", AtStep(2, press)).fit()
    progress = Parts(tmp_path / "stopped" / "pool")
    again = trainer("deepinversion", tmp_path / "stopped", progress)
    again.fit()
    assert progress.seen[0] == ("Making images", [3])
    same(whole, again)


@pytest.mark.parametrize("name", ["dfq", "adi"])
def test_seeds_are_other_runs(name: str, tmp_path: Path) -> None:
    first, second = (trainer(name, tmp_path / str(seed), seed=seed) for seed in (0, 1))
    first.fit(), second.fit()
    one, other = (found.deployed().state_dict() for found in (first, second))
    assert not torch.equal(one["module.fc.weight"], other["module.fc.weight"])
    assert not np.array_equal(sampled(first, 4), sampled(second, 4))


def test_a_student_learns_what_the_teacher_says_of_the_images(tmp_path: Path) -> None:
    made = trainer("dafl", tmp_path, max_steps=60, lr=0.05, log_every=10)
    made.fit()
    lost = [row["total"] for row in read_metrics(tmp_path / "metrics.jsonl")]
    assert lost[-1] < 0.5 * lost[0]


@pytest.mark.parametrize("name", ["dafl", "cmi", "zskt"])
def test_networks_of_the_zoo(name: str, tmp_path: Path) -> None:
    """ResNets, as on a user's machine: their deeper maps, and bfloat16."""
    spec = InputSpec(size=16)
    teacher, student = (
        load_network("cifar:resnet8", num_classes=3, input=spec, seed=seed, allow_random=True)
        for seed in (0, 1)
    )
    recipe = make_recipe(name, "paper", small(name, student_steps=2))
    options = TrainOptions(max_steps=3, batch_size=4, device="cpu", precision="bfloat16")
    learner = make_learner(recipe, teacher, student)
    made = DataFreeTrainer(learner, find_data_free(name).synthesiser, recipe, options, tmp_path)
    assert made.fit()[0] == 3
    assert sampled(made, 3).shape == (3, 16, 16, 3)


# Rates, logs, samples


def test_the_rate_is_the_published_one_unless_given(tmp_path: Path) -> None:
    trainer("dafl", tmp_path / "own", log_every=1).fit()
    rates = [row["lr"] for row in read_metrics(tmp_path / "own" / "metrics.jsonl")]
    assert rates == pytest.approx([0.05 * (1 + math.cos(math.pi * s / 8)) for s in range(8)])
    given = {"lr": 0.4, "schedule": "two-step"}
    trainer("dafl", tmp_path / "given", log_every=1, **given).fit()
    rates = [row["lr"] for row in read_metrics(tmp_path / "given" / "metrics.jsonl")]
    assert rates == pytest.approx([0.4] * 4 + [0.04] * 3 + [0.004])


def test_an_epoch_is_400_steps(tmp_path: Path) -> None:
    assert trainer("dafl", tmp_path, epochs=3, max_steps=None).total_steps == 1200


def test_the_log_tells_of_the_images_at_every_step(tmp_path: Path) -> None:
    trainer("dfq", tmp_path, log_every=1).fit()
    rows = read_metrics(tmp_path / "metrics.jsonl")
    images = {f"images_{name}" for name in ("total", "bn", "oh", "adv", "bal")}
    assert all(set(row) == {"step", "total", "kl", "hard", "lr"} | images for row in rows)
    total = [row["images_total"] for row in rows]
    assert len(set(total)) == 1  # the generator's first of two turns lasts 10 steps
    parts_of = [rows[0][f"images_{name}"] for name in ("bn", "oh", "adv", "bal")]
    assert sum(parts_of) == pytest.approx(total[0], rel=1e-5)


@pytest.mark.parametrize("name", ["dafl", "zskt", "pre", "cmi"])
def test_samples_are_different_images_and_more_of_them_begin_alike(
    name: str, tmp_path: Path
) -> None:
    made = trainer(name, tmp_path)
    made.fit()
    few, many = sampled(made, 4), sampled(made, 13)
    assert few.shape == (4, 8, 8, 3) and few.dtype == np.uint8 and many.shape == (13, 8, 8, 3)
    np.testing.assert_array_equal(few, many[:4])
    assert len(np.unique(many.reshape(13, -1), axis=0)) == 13


# A turn of 3 steps is a round of 6: three in 8 steps.
@pytest.mark.parametrize("more, made", [({}, 18), ({"most": 7}, 12)])
def test_a_recipe_knows_how_many_images_will_be_made(
    more: dict[str, int], made: int, tmp_path: Path
) -> None:
    used = trainer("cmi", tmp_path, recipe=more)
    used.fit()
    assert used.synthesiser.recipe.limit(8) == made
    assert len(sampled(used, 100)) == made


def test_a_generator_makes_as_many_images_as_are_wanted() -> None:
    assert make_recipe("dafl", "paper", {}).limit(1) is None
