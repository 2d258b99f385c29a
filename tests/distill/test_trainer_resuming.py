"""A training that was ended ends, begun again, as an undisturbed one."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from distill import checkpoint, saving
from distill.checkpoint import resuming
from distill.draws import step_seed
from distill.methods import METHODS
from distill.methods.base import Batch, Losses
from distill.methods.dfnd import DFND
from distill.methods.kd import KD
from distill.networks import Network
from distill.selection import Selection
from distill.trainer import RoundStart
from index.errors import WorkspaceError

from .helpers import tiny
from .training import Said, StopAfter, Watched, confident_half, dropping, make, run, same


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


@pytest.mark.parametrize(("longest", "expected"), [(0.0, [1, 2, 3, 4]), (3600.0, [4])])
def test_where_steps_are_slow_the_clock_says_when_to_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, longest: float, expected: list[int]
) -> None:
    monkeypatch.setattr(checkpoint, "LONGEST_S", longest)
    monkeypatch.setattr(checkpoint, "SHARE", math.inf)
    saved: list[int] = []
    monkeypatch.setattr(saving, "save_checkpoint", lambda _, state: saved.append(state["step"]))
    run(tmp_path, make("kd"), checkpoint_every=1000, max_steps=4)
    assert saved == expected


class Interrupted(KD):
    """KD in the steps of which Ctrl-C is pressed so many times."""

    name: ClassVar[str] = "interrupted"
    step, times, seen = 6, 1, 0

    def loss(self, batch: Batch) -> Losses:
        self.seen += 1
        for _ in range(self.times if self.seen == self.step else 0):
            signal.raise_signal(signal.SIGINT)
        return super().loss(batch)


def test_a_ctrl_c_waits_for_the_end_of_a_step_and_saves_it(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", make("kd"))
    handler, progress = signal.getsignal(signal.SIGINT), Said()
    given = {"checkpoint_every": 1000, "progress": progress}
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", Interrupted(tiny(0), tiny(1)), **given)
    assert signal.getsignal(signal.SIGINT) is handler
    resumed = run(tmp_path / "stopped", make("kd"), **given)
    assert progress.said == ["the run goes on from step 6 of 10", "resuming at step 6 of 10"]
    assert same(whole, resumed)
    log = (tmp_path / "whole" / "metrics.jsonl").read_bytes()
    assert (tmp_path / "stopped" / "metrics.jsonl").read_bytes() == log


def test_a_second_ctrl_c_does_not_wait(tmp_path: Path) -> None:
    progress, method = Said(), Interrupted(tiny(0), tiny(1))
    method.times = 2
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, method, progress=progress)
    assert progress.said == ["the run goes on from step 3 of 10"]


@pytest.mark.parametrize("round_", [0, 1])
def test_a_ctrl_c_while_a_round_is_selected_is_obeyed_at_once(tmp_path: Path, round_: int) -> None:
    """All steps before are saved, however seldom checkpoints are."""
    given = {"rounds": 2, "checkpoint_every": 1000}
    whole = run(tmp_path / "whole", make("kd"), reselect=confident_half(), **given)
    usual, progress = confident_half(), Said()

    def reselect(start: RoundStart) -> Selection:
        if start.round == round_:
            signal.raise_signal(signal.SIGINT)
        return usual(start)

    folder = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        run(folder, make("kd"), reselect=reselect, progress=progress, **given)
    assert progress.said == [f"the run goes on from step {5 * round_} of 10"]
    assert same(whole, run(folder, make("kd"), reselect=usual, **given))


def test_a_ctrl_c_that_is_ignored_is_ignored(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        run(tmp_path, Interrupted(tiny(0), tiny(1)))
    finally:
        signal.signal(signal.SIGINT, before)
    assert (tmp_path / "checkpoint" / "last.pt").is_file()


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


def of_before_its_batch_norm(state: dict[str, Any]) -> None:
    """What fitnet wrote when its regressor was the convolution alone."""
    kept = {key: one for key, one in state["method"].items() if "regressor.1." not in key}
    kept["regressor.weight"] = kept.pop("regressor.0.weight")
    state["method"] = kept


def with_a_layer_more(state: dict[str, Any]) -> None:
    state["method"]["student.more.weight"] = torch.zeros(2)


def with_a_wider_classifier(state: dict[str, Any]) -> None:
    names = [name for name in state["method"] if name.endswith("fc.weight")]
    state["method"][names[0]] = torch.zeros(5, 4)


def without_patience(state: dict[str, Any]) -> None:
    del state["patience"]


def with_one_optimizer_more(state: dict[str, Any]) -> None:
    state["optimizers"].append(state["optimizers"][0])


def with_fewer_trained_weights(state: dict[str, Any]) -> None:
    state["optimizers"][0]["param_groups"][0]["params"].pop()


@pytest.mark.parametrize(
    ("method", "change"),
    [("fitnet", of_before_its_batch_norm)]
    + [(method, with_a_layer_more) for method in sorted(METHODS)]
    + [("kd", with_a_wider_classifier), ("kd", without_patience)]
    + [("dfnd", with_one_optimizer_more), ("kd3", with_fewer_trained_weights)],
)
def test_a_checkpoint_of_another_version_is_named(
    tmp_path: Path, method: str, change: Callable[[dict[str, Any]], None]
) -> None:
    path = run(tmp_path, make(method), lr=0.01, max_steps=1).checkpoint_path
    state = torch.load(path, weights_only=True)
    change(state)
    torch.save(state, path)
    with pytest.raises(WorkspaceError, match=r"last\.pt is of another version of .*: delete it to"):
        run(tmp_path, make(method), lr=0.01, max_steps=1)


def test_a_failure_of_the_device_is_not_held_against_the_checkpoint(tmp_path: Path) -> None:
    failed = RuntimeError("CUDA error: an illegal memory access was encountered")
    with pytest.raises(RuntimeError, match="CUDA error"), resuming(tmp_path):
        raise failed


def test_a_finished_training_takes_no_step_more(tmp_path: Path) -> None:
    whole = run(tmp_path, make("kd"))
    log = (tmp_path / "metrics.jsonl").read_bytes()
    method = Watched(tiny(0), tiny(1))
    assert same(whole, run(tmp_path, method))
    assert method.seen == []
    assert (tmp_path / "metrics.jsonl").read_bytes() == log
