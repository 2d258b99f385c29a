"""Rounds: children of a manifest, re-selected with the student as it learns."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from curate.logits import StoredLogits
from curate.manifest import Manifest, get_manifest
from curate.options import SelectOptions
from curate.pool import Pool
from curate.refresh import SHARE
from curate.rounds import Rounds, check_rounds, prepare_rounds
from curate.selection import select
from curate.strategies.kd3 import alpha_at
from distill.freshness import NEVER, RecentLogits
from distill.networks import Network, load_network
from distill.options import TrainOptions
from distill.reselection import RoundStart
from distill.run import RunOptions, distill
from index.catalog import Catalog
from index.errors import UsageError
from index.progress import Silent

from .helpers import query

PARENT = SelectOptions("kd3", budget=24, near_duplicates=0.9999, seed=3)


class Diary(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        self.lines.append(message)


@pytest.fixture
def parent(pool: Pool) -> Manifest:
    return select(pool, "parent", PARENT)


@pytest.fixture
def rounds(pool: Pool, parent: Manifest) -> Rounds:
    (*ids,) = query(pool.catalog.workspace, "SELECT id FROM images ORDER BY id")
    array = np.array([key for (key,) in ids])
    alone = replace(pool, student=None, only=array)
    return Rounds(pool.catalog, parent, alone, "run", Diary())


def ids_of(rounds: Rounds) -> NDArray[np.int64]:
    assert rounds.pool.only is not None
    return rounds.pool.only


def start(
    number: int, logits: Callable[[], NDArray[np.float16]], *, resumed: bool = False
) -> RoundStart:
    return RoundStart(number, 1 + 10.0 * number, 60.0, resumed, logits)


def student_logits(pool: Pool, ids: NDArray[np.int64]) -> NDArray[np.float16]:
    return StoredLogits(pool.catalog, str(pool.student)).gather(ids).astype(np.float16)


def never() -> NDArray[np.float16]:
    raise AssertionError("the student is not to be scored")


def test_alpha_follows_the_schedule(pool: Pool, rounds: Rounds) -> None:
    def logits() -> NDArray[np.float16]:
        return student_logits(pool, ids_of(rounds))

    for number in range(4):
        rounds(start(number, logits))
    expected = [1.0, *(alpha_at(share / 60) for share in (10, 20, 30))]  # the first: no student yet
    assert expected[0] > expected[1] > expected[2] > expected[3] == 0
    rows = query(pool.catalog.workspace, "SELECT round, alpha, epoch FROM rounds ORDER BY round")
    assert rows == [(n + 1, expected[n], 1 + 10 * n) for n in range(4)]
    for number in range(4):
        options = get_manifest(pool.catalog, f"run/round-{number + 1:03d}").options
        assert options["alpha"] == expected[number]


def test_the_teacher_keeps_the_share_that_it_is_left(pool: Pool, rounds: Rounds) -> None:
    kept = replace(rounds, alpha_floor=0.8)

    def logits() -> NDArray[np.float16]:
        return student_logits(pool, ids_of(rounds))

    found = [kept(start(number, logits)) for number in range(4)]
    scheduled = [alpha_at(share / 60) for share in (10, 20)]
    assert scheduled[0] > 0.8 > scheduled[1] > 0
    rows = query(pool.catalog.workspace, "SELECT alpha FROM rounds ORDER BY round")
    assert rows == [(1.0,), (scheduled[0],), (0.8,), (0.8,)]
    direct = select(pool, "direct", replace(PARENT, alpha=0.8))
    assert found[3].content_hash == direct.content_hash


def test_a_round_is_a_child_with_its_parents_settings(pool: Pool, rounds: Rounds) -> None:
    rounds(start(0, never))
    selection = rounds(start(1, lambda: student_logits(pool, ids_of(rounds))))
    child = get_manifest(pool.catalog, "run/round-002")
    assert (selection.manifest, selection.content_hash) == (child.name, child.content_hash)
    assert (child.parent, child.student, child.teacher) == ("parent", "run@2", pool.teacher)
    assert child.options == {**rounds.parent.options, "alpha": alpha_at(10 / 60)}
    assert (child.seed, child.embedder, child.pool) == (3, pool.embedder, rounds.parent.pool)


def test_a_round_decides_as_select_does_with_the_same_logits(pool: Pool, rounds: Rounds) -> None:
    rounds(start(0, never))
    found = rounds(start(1, lambda: student_logits(pool, ids_of(rounds))))
    direct = select(pool, "direct", replace(PARENT, alpha=alpha_at(10 / 60)))
    assert found.content_hash == direct.content_hash


def test_an_untrained_student_has_no_say(pool: Pool, rounds: Rounds) -> None:
    found = rounds(start(0, never))
    assert found.content_hash == select(pool, "teacher", replace(PARENT, alpha=1.0)).content_hash
    assert get_manifest(pool.catalog, "run/round-001").student is None


def test_a_run_keeps_the_pool_that_its_manifest_decided(pool: Pool, rounds: Rounds) -> None:
    some = ids_of(rounds)[::2]
    fewer = replace(rounds, pool=replace(rounds.pool, only=some))
    fewer(start(0, never))
    decided = query(
        pool.catalog.workspace, "SELECT image_id FROM decisions WHERE manifest = 'run/round-001'"
    )
    assert {key for (key,) in decided} == set(some.tolist())


def test_rounds_go_on_from_a_manifest_without_a_budget(pool: Pool, rounds: Rounds) -> None:
    everything = replace(rounds, parent=select(pool, "everything", replace(PARENT, budget=None)))
    found = everything(start(0, never))
    assert get_manifest(pool.catalog, found.manifest).parent == "everything"


def test_rounds_go_on_with_a_budget_that_is_worked_out_and_diverse_picks(
    pool: Pool, rounds: Rounds
) -> None:
    options = replace(PARENT, budget="auto", balance="sqrt", diversity="kcenter")
    parent = select(pool, "composed", options)
    composed = replace(rounds, parent=parent)
    first = composed(start(0, never))
    child = get_manifest(pool.catalog, first.manifest)
    given = {name: child.options[name] for name in ("budget", "balance", "diversity")}
    assert given == {"budget": "auto", "balance": "sqrt", "diversity": "kcenter"}
    assert child.selected == child.options["resolved_budget"]
    direct = select(replace(pool, student=None), "direct", replace(options, alpha=1.0))
    assert first.content_hash == direct.content_hash


def test_entered_and_left_are_counted_against_the_round_before(pool: Pool, rounds: Rounds) -> None:
    rng = np.random.default_rng(0)
    before = select(pool, "again", PARENT)
    assert before.content_hash == rounds.parent.content_hash
    names = ["parent"]
    for number in (0, 3):
        noise = (8 * rng.standard_normal((len(ids_of(rounds)), 4))).astype(np.float16)
        step = start(number, lambda noise=noise: noise)  # type: ignore[misc]
        step = replace(step, round=len(names) - 1)
        names.append(rounds(step).manifest)
    chosen = [
        {
            key
            for (key,) in query(
                pool.catalog.workspace,
                "SELECT image_id FROM decisions WHERE selected AND manifest = ?",
                name,
            )
        }
        for name in names
    ]
    rows = query(
        pool.catalog.workspace,
        'SELECT manifest, selected, entered, "left" FROM rounds ORDER BY round',
    )
    assert rows == [
        (names[n], len(chosen[n]), len(chosen[n] - chosen[n - 1]), len(chosen[n - 1] - chosen[n]))
        for n in (1, 2)
    ]
    assert rows[1][2] > 0
    assert isinstance(rounds.progress, Diary)
    assert rounds.progress.lines[1].endswith(f"{rows[1][2]} entered, {rows[1][3]} left")


def test_a_resumed_run_reads_what_it_had_selected_and_selects_the_rest(
    pool: Pool, rounds: Rounds
) -> None:
    first = rounds(start(0, never))
    again = rounds(start(0, never, resumed=True))
    assert again.content_hash == first.content_hash
    assert (again.ids == first.ids).all()
    # Killed between the checkpoint and the commit of its manifest: the round is selected now.
    second = rounds(start(1, lambda: student_logits(pool, ids_of(rounds)), resumed=True))
    assert second.manifest == "run/round-002"
    assert rounds(start(1, never, resumed=True)).content_hash == second.content_hash


def recent_of(pool: Pool, ids: NDArray[np.int64], asked: list[int]) -> RecentLogits:
    """What is known of a student that always says the same, and notes what it is asked."""
    logits = student_logits(pool, ids)

    def ask(places: NDArray[np.int64]) -> NDArray[np.float16]:
        asked.extend(places.tolist())
        return logits[places]

    return RecentLogits.empty(len(ids), logits.shape[1], ask)


def test_a_lazy_round_asks_about_some_and_takes_the_rest_as_it_was_heard(
    pool: Pool, rounds: Rounds
) -> None:
    ids, asked = ids_of(rounds), list[int]()
    recent = recent_of(pool, ids, asked)
    begun = replace(start(0, never), recent=recent)
    rounds(begun)
    assert asked == [] and (recent.steps == NEVER).all()
    trained = torch.arange(0, len(ids), 2)
    recent.note(trained, torch.from_numpy(student_logits(pool, ids)[::2]), 4)
    recent.now = 5
    rounds(replace(begun, round=1, epoch=11.0))
    budget = int(SHARE * len(trained))
    assert len(asked) == budget > 0 and recent.trained == 0
    never_heard = recent.steps == NEVER
    assert never_heard.sum() == len(ids) - len(trained) - (recent.steps == 5).sum() + len(
        set(asked) & set(trained.tolist())
    )
    teacher = StoredLogits(pool.catalog, pool.teacher).gather(ids[never_heard])
    np.testing.assert_array_equal(recent.rows[never_heard], teacher.astype(np.float16))
    rows = query(pool.catalog.workspace, "SELECT refreshed, reused, mean_age FROM rounds")
    assert rows == [(0, 0, None), (budget, (recent.steps == 4).sum(), 1.0)]
    ages = query(
        pool.catalog.workspace,
        "SELECT components['student_age'] FROM decisions WHERE manifest = 'run/round-002' "
        "ORDER BY image_id",
    )
    assert [age for (age,) in ages] == recent.ages().tolist()


def test_a_lazy_round_that_heard_everyone_decides_as_a_full_one(pool: Pool, rounds: Rounds) -> None:
    ids = ids_of(rounds)
    recent = recent_of(pool, ids, [])
    begun = replace(start(0, never), recent=recent)
    rounds(begun)
    recent.note(torch.arange(len(ids)), torch.from_numpy(student_logits(pool, ids)), 1)
    found = rounds(replace(begun, round=1, epoch=11.0))
    direct = select(pool, "direct", replace(PARENT, alpha=alpha_at(10 / 60)))
    assert found.content_hash == direct.content_hash


def test_a_round_resumed_at_its_start_asks_again_and_inside_it_does_not(
    pool: Pool, rounds: Rounds
) -> None:
    ids, asked = ids_of(rounds), list[int]()
    recent = recent_of(pool, ids, asked)
    begun = replace(start(0, never), recent=recent)
    rounds(begun)
    recent.trained = 100
    kept = recent.state()
    saved = {name: copy.deepcopy(one) for name, one in kept.items()}
    second = replace(begun, round=1, epoch=11.0)
    first_time = rounds(second)
    once = sorted(asked)
    recent.load(saved)  # killed after the manifest was stored: the checkpoint is of before
    again = replace(rounds)
    assert again(replace(second, resumed=True)).content_hash == first_time.content_hash
    assert sorted(asked[len(once) :]) == once
    assert (
        again(replace(second, resumed=True, begins=False)).content_hash == first_time.content_hash
    )
    assert len(asked) == 2 * len(once)


def test_rounds_need_a_strategy_that_listens_to_the_student(pool: Pool) -> None:
    with pytest.raises(UsageError, match="selected with msp: select one with --strategy kd3"):
        check_rounds(select(pool, "msp", SelectOptions("msp", budget=5)))


def test_rounds_are_refused_before_anything_is_scored_where_a_method_selects_once(
    pool: Pool, parent: Manifest
) -> None:
    parts = {"without": ["dynamic"]}
    train = TrainOptions(rounds=2)
    options = RunOptions(parent.name, "teacher", "cifar:resnet8", "kd3", train, parts)
    teacher = cast(Network, None)
    with pytest.raises(UsageError, match="--without dynamic .* --rounds 2 re-selects"):
        prepare_rounds(pool.catalog, options, teacher, Silent())


class Stopping(Silent):
    """Stops the training after some steps, as Ctrl-C does."""

    def __init__(self, steps: int) -> None:
        self._left = steps

    @contextmanager
    def step(self, name: str, total: int | None, unit: str) -> Iterator[Callable[[int], None]]:  # noqa: ARG002
        def advance(count: int) -> None:
            self._left -= count if name == "Training" else 0
            if name == "Training" and self._left <= 0:
                raise KeyboardInterrupt

        yield advance


def train(
    catalog: Catalog, teacher: str, student: str, refresh: str, steps: int | None = None
) -> Path:
    options = RunOptions(
        manifest="parent",
        teacher=teacher,
        student=student,
        method="kd",
        train=TrainOptions(
            max_steps=8,
            batch_size=8,
            rounds=4,
            refresh=refresh,
            checkpoint_every=1,
            device="cpu",
            precision="float32",
        ),
        method_options={},
        name="run",
        workers=0,
    )
    progress = Silent() if steps is None else Stopping(steps)
    network = load_network(teacher)
    make_reselect = prepare_rounds(catalog, options, network, Silent())
    result = distill(
        catalog, options, teacher=network, make_reselect=make_reselect, progress=progress
    )
    return Path(result.student).with_name("student.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize(("refresh", "steps"), [("full", 3), ("lazy", 3), ("lazy", 5)])
def test_a_run_stopped_inside_a_round_ends_as_an_undisturbed_one(
    pool: Pool,
    parent: Manifest,
    teacher: str,
    student: str,
    tmp_path: Path,
    refresh: str,
    steps: int,
) -> None:
    """After five steps it stands in a round whose student was asked before it was stopped."""
    other = Path(shutil.copytree(pool.catalog.workspace, tmp_path / "other"))
    undisturbed = train(Catalog(other), teacher, student, refresh)
    with pytest.raises(KeyboardInterrupt):
        train(pool.catalog, teacher, student, refresh, steps=steps)
    resumed = train(pool.catalog, teacher, student, refresh)
    manifests = "SELECT name, parent, content_hash FROM manifests ORDER BY name"
    assert query(pool.catalog.workspace, manifests) == query(other, manifests)
    heard = "SELECT round, refreshed, reused, mean_age FROM rounds ORDER BY round"
    assert query(pool.catalog.workspace, heard) == query(other, heard)
    ledger = "SELECT image_id, components, reason FROM decisions WHERE manifest = 'run/round-004'"
    assert query(pool.catalog.workspace, ledger) == query(other, ledger)
    expected, found = load_file(undisturbed), load_file(resumed)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
