"""A run: its files, its rows in the catalog, and what happens when it is asked for again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from distill.metrics import read_metrics
from distill.networks import Network, load_network
from distill.options import TrainOptions
from distill.reselection import Reselect, RoundStart
from distill.run import MakeReselect, RunOptions, RunResult, distill, make_method, run_name
from distill.selection import Selection, read_selection
from index.catalog import Catalog
from index.errors import MethodError, NetworkError, UsageError, WorkspaceError
from index.files import file_sha256, locked
from index.progress import Advance

from .workspaces import IMAGES, SELECTED, TEACHER, add_manifest, save_noise, save_teacher

TRAIN = TrainOptions(
    max_steps=4, batch_size=4, lr=0.05, device="cpu", precision="float32", log_every=2
)


class Heard:
    """Notes what a run says and which steps it takes."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.advanced: dict[str, list[int]] = {}

    @contextmanager
    def step(self, name: str, total: int | None, unit: str) -> Iterator[Advance]:
        yield self.advanced.setdefault(name, []).append

    def say(self, message: str) -> None:
        self.said.append(message)


def run(catalog: Catalog, card: Path, **given: Any) -> RunResult:
    parts = {name: given.pop(name) for name in ("progress", "make_reselect") if name in given}
    options = replace(asked(card), **given)
    return distill(catalog, options, teacher=load_network(options.teacher), **parts)


def asked(card: Path) -> RunOptions:
    return RunOptions(
        manifest="first",
        teacher=str(card),
        student=TEACHER,
        method="kd3",
        train=TRAIN,
        method_options={},
        workers=0,
    )


def rows(catalog: Catalog, query: str, *values: object) -> list[tuple[Any, ...]]:
    with catalog.read() as connection:
        return connection.execute(query, list(values)).fetchall()


def tensors(result: RunResult) -> dict[str, Tensor]:
    return load_file(Path(result.student).with_suffix(".safetensors"))


def metadata(result: RunResult) -> dict[str, str]:
    with safe_open(Path(result.student).with_suffix(".safetensors"), "pt") as file:
        found: dict[str, str] = json.loads(file.metadata()["provenance"])
        return found


def same(first: RunResult, second: RunResult) -> bool:
    one, other = tensors(first), tensors(second)
    assert one.keys() == other.keys()
    return all(torch.equal(one[key], other[key]) for key in one)


def labelled(folder: Path, *labels: str) -> str:
    """Write a noisy image of each class named."""
    for seed, label in enumerate(labels):
        save_noise(folder / label / f"{seed}.png", seed)
    return str(folder)


def is_stored(catalog: Catalog, name: str) -> bool:
    with catalog.read() as connection:
        found = connection.execute("SELECT 1 FROM manifests WHERE name = ?", [name]).fetchall()
    return len(found) == 1


def shrinking(catalog: Catalog) -> MakeReselect:
    """Rounds that take ever fewer images, each with a manifest in the catalog."""

    def make(run: str, ids: NDArray[np.int64]) -> Reselect:
        assert len(ids) == IMAGES

        def reselect(start: RoundStart) -> Selection:
            name = f"{run}/{start.round}"
            if not (start.resumed and is_stored(catalog, name)):
                assert start.student_logits().shape == (IMAGES, 3)
                add_manifest(catalog, name, f"hash-of-{start.round}", SELECTED - start.round)
            return read_selection(catalog, name)

        return reselect

    return make


# What a run leaves


@pytest.fixture(scope="module")
def finished(
    built_workspace: Path, teacher_card: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Catalog, RunResult, Network]:
    """A run of kd3 with labelled data; the tests read it and write nothing."""
    folder = tmp_path_factory.mktemp("finished")
    catalog = Catalog(Path(shutil.copytree(built_workspace, folder / "ws")))
    data = labelled(folder / "data", "ant", "bee", "cat", "cat")
    return catalog, run(catalog, teacher_card, evaluate_on=data), load_network(teacher_card)


Finished = tuple[Catalog, RunResult, Network]


def test_student_and_weights_say_where_they_come_from(finished: Finished) -> None:
    catalog, result, teacher = finished
    student = load_network(result.student)
    expected = {
        "manifest": "first",
        "manifest_hash": "hash-of-first",
        "teacher": teacher.key,
        "method": "kd3",
        "seed": "0",
        "run": result.run,
    }
    assert student.card.provenance == metadata(result) == expected
    assert student.card.input == teacher.card.input and student.num_classes == 3
    assert Path(result.student) == catalog.workspace / "runs" / result.run / "student.toml"


def test_the_result_lies_beside_the_student(finished: Finished) -> None:
    _, result, _ = finished
    stored = json.loads(Path(result.student).with_name("result.json").read_text())
    assert stored.pop("options")["method"] == "kd3"
    assert RunResult(**stored) == result
    assert result.steps == 4 and result.seconds > 0


def test_the_accuracy_is_that_of_the_written_student(finished: Finished) -> None:
    from distill.evaluation import evaluate
    from distill.labelled import load_labelled

    _, result, _ = finished
    student = load_network(result.student)
    assert result.evaluated_on is not None
    data = load_labelled(result.evaluated_on, student.card.input.view())
    assert evaluate(student, data).accuracy == result.accuracy
    assert result.accuracy in (0, 0.25, 0.5, 0.75, 1)


def test_the_run_has_one_row_and_its_student_is_a_model(finished: Finished) -> None:
    catalog, result, teacher = finished
    ((name, manifest, method, used, student, options, seed, steps, accuracy, seconds),) = rows(
        catalog,
        "SELECT name, manifest, method, teacher, student, options, seed, steps, accuracy, seconds "
        "FROM runs",
    )
    assert (name, manifest, method, used) == (result.run, "first", "kd3", teacher.key)
    assert (seed, steps, accuracy, seconds) == (0, 4, result.accuracy, result.seconds)
    assert json.loads(options)["batch_size"] == 4
    assert student == load_network(result.student).key
    assert rows(catalog, "SELECT classes FROM models WHERE key = ?", student) == [
        (teacher.card.classes,)
    ]


def test_the_row_says_all_that_decided_the_run(finished: Finished) -> None:
    catalog, result, teacher = finished
    ((text,),) = rows(catalog, "SELECT options FROM runs")
    options = json.loads(text)
    assert {"max_steps", "accumulate", "ema", "seed", "contrast", "embedding"} <= options.keys()
    assert options["resolved"] == {
        "lr": 0.05,
        "schedule": "step",
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "precision": "32-true",
        "device": "cpu",
    }
    assert options["versions"]["torch"] == torch.__version__
    assert teacher.card.weights is not None
    weights = Path(result.student).with_suffix(".safetensors")
    assert options["hashes"] == {
        "manifest": "hash-of-first",
        "last_selection": "hash-of-first",
        "teacher_weights": file_sha256(Path(teacher.card.weights)),
        "student_weights": file_sha256(weights),
    }


def test_a_pool_in_a_file_trains_the_same_student(catalog: Catalog, teacher_card: Path) -> None:
    inside = run(catalog, teacher_card)
    outside = run(catalog, teacher_card, name="outside", cache_budget_gib=1e-9)
    assert same(inside, outside)
    assert list((catalog.workspace / "cache").glob("*/facts.json"))


def test_a_method_that_remembers_is_refused_by_several_processes(teacher_card: Path) -> None:
    options = replace(asked(teacher_card), method="crd", train=replace(TRAIN, processes=2))
    with pytest.raises(MethodError, match="method crd remembers images .* without torchrun"):
        make_method(options, load_network(teacher_card))
    make_method(replace(options, method="dfnd"), load_network(teacher_card))


def test_the_table_of_metrics_equals_the_log(finished: Finished) -> None:
    catalog, result, _ = finished
    found: dict[int, dict[str, float]] = {}
    for step, name, value in rows(
        catalog, "SELECT step, name, value FROM metrics WHERE run = ?", result.run
    ):
        assert name not in found.setdefault(step, {})
        found[step][name] = value
    log = read_metrics(Path(result.student).with_name("metrics.jsonl"))
    assert [row["step"] for row in log] == [2, 4]
    assert found == {row.pop("step"): row for row in log}
    assert set(found[2]) == {"total", "feature", "contrast", "lr"}


# Asked for again


def test_a_finished_run_is_read_and_not_trained_again(catalog: Catalog, teacher_card: Path) -> None:
    first = run(catalog, teacher_card)
    folder = Path(first.student).parent
    written = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    heard = Heard()
    assert run(catalog, teacher_card, progress=heard) == first
    assert heard.advanced == {} and "nothing is trained" in heard.said[0]
    for path, changed in written.items():
        assert path.name == ".lock" or path.stat().st_mtime_ns == changed
    assert rows(catalog, "SELECT count(*) FROM runs") == [(1,)]


@pytest.mark.parametrize("method", ["kd", "kd3"])
def test_another_name_trains_the_same_student_again(
    catalog: Catalog, teacher_card: Path, method: str
) -> None:
    first = run(catalog, teacher_card, method=method)
    torch.manual_seed(99)  # what the process drew before must not matter
    heard = Heard()
    second = run(catalog, teacher_card, method=method, name="second", progress=heard)
    assert sum(heard.advanced["Training"]) == 4
    assert (second.run, Path(second.student).parent.name) == ("second", "second")
    assert same(first, second)
    assert len(rows(catalog, "SELECT DISTINCT run FROM metrics")) == 2


@pytest.mark.parametrize("method", ["kd", "kd3"])
def test_another_seed_is_another_student(catalog: Catalog, teacher_card: Path, method: str) -> None:
    first = run(catalog, teacher_card, method=method)
    second = run(catalog, teacher_card, method=method, train=replace(TRAIN, seed=1))
    assert first.run != second.run
    fresh = {
        key for key, value in tensors(first).items() if not torch.equal(value, tensors(second)[key])
    }
    conv = {key for key in fresh if "conv" in key or "projector.0" in key}
    assert conv and ("projector.0.weight" in fresh) == (method == "kd3")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"train": replace(TRAIN, seed=1)}, "seed = 0, not 1"),
        ({"train": replace(TRAIN, lr=0.01)}, "lr = 0.05, not 0.01"),
        ({"method": "kd"}, "method = 'kd3', not 'kd'"),
        ({"method_options": {"contrast": "0"}}, "method_options"),
        ({"manifest": "second"}, "manifest = 'hash-of-first', not 'hash-of-second'"),
        ({"student": "cifar:resnet14"}, "student = 'cifar:resnet8'"),
    ],
)
def test_a_named_run_is_not_passed_off_as_another(
    catalog: Catalog, teacher_card: Path, change: dict[str, Any], named: str
) -> None:
    add_manifest(catalog, "second", "hash-of-second", selected=5)
    run(catalog, teacher_card, name="mine")
    with pytest.raises(WorkspaceError, match=f"{named}.*--run"):
        run(catalog, teacher_card, name="mine", **change)


def test_a_finished_run_is_evaluated_later_without_training(
    tmp_path: Path, catalog: Catalog, teacher_card: Path
) -> None:
    first = run(catalog, teacher_card)
    assert (first.accuracy, first.evaluated_on) == (None, None)
    data = labelled(tmp_path / "data", "ant", "bee", "cat")
    heard = Heard()
    later = run(catalog, teacher_card, evaluate_on=data, progress=heard)
    assert heard.advanced["Training"] == [4]  # where it was already
    assert later.accuracy is not None and same(first, later)
    assert later.seconds == pytest.approx(first.seconds, abs=5) and later.seconds > 0
    assert metadata(later) == metadata(first)
    assert rows(catalog, "SELECT accuracy FROM runs") == [(later.accuracy,)]
    again = Heard()
    assert run(catalog, teacher_card, evaluate_on=data, progress=again) == later
    assert again.advanced == {}


def test_other_labelled_data_is_another_accuracy(
    tmp_path: Path, catalog: Catalog, teacher_card: Path
) -> None:
    """The same image under each of the three labels: exactly one of them is right."""
    found = []
    for label in ("ant", "bee", "cat"):
        folder = tmp_path / label
        for other in ("ant", "bee", "cat"):
            (folder / other).mkdir(parents=True)
        save_noise(folder / label / "1.png", seed=1)
        found.append(run(catalog, teacher_card, evaluate_on=str(folder)).accuracy)
    assert sorted(value for value in found if value is not None) == [0, 0, 1]


def test_a_run_that_only_has_to_be_recorded_is_recorded_as_it_was(
    catalog: Catalog, teacher_card: Path
) -> None:
    """Killed after the last step and before the student was written, in rounds."""
    given = {"train": replace(TRAIN, rounds=2), "make_reselect": shrinking(catalog)}
    whole = run(catalog, teacher_card, **given)
    before, said = tensors(whole), metadata(whole)
    assert (said["manifest"], said["manifest_hash"]) == (f"{whole.run}/1", "hash-of-1")
    for name in ("student.toml", "student.safetensors", "result.json"):
        Path(whole.student).with_name(name).unlink()
    heard = Heard()
    again = run(catalog, teacher_card, progress=heard, **given)
    assert heard.advanced["Training"] == [4]
    assert metadata(again) == said
    assert all(torch.equal(value, before[key]) for key, value in tensors(again).items())
    assert rows(catalog, "SELECT count(*) FROM runs") == [(1,)]


def test_two_processes_do_not_train_one_run(catalog: Catalog, teacher_card: Path) -> None:
    folder = catalog.workspace / "runs" / "mine"
    with (
        locked(folder / ".lock", "this test"),
        pytest.raises(WorkspaceError, match="another process trains mine: wait"),
    ):
        run(catalog, teacher_card, name="mine")
    assert run(catalog, teacher_card, name="mine").steps == 4


# Names


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


@pytest.mark.parametrize("name", ["../mine", "a/b", "/tmp/mine", "..", "."])
def test_a_run_is_named_and_not_placed(catalog: Catalog, teacher_card: Path, name: str) -> None:
    with pytest.raises(UsageError, match="is a path: give a name"):
        run(catalog, teacher_card, name=name)
    assert not (catalog.workspace / "runs").exists()


# What is not there


def test_what_does_not_exist_is_named(catalog: Catalog, teacher_card: Path) -> None:
    with pytest.raises(UsageError, match="no manifest is called 'frist': did you mean first"):
        run(catalog, teacher_card, manifest="frist")
    with pytest.raises(UsageError, match="kd33"):
        run(catalog, teacher_card, method="kd33")
    with pytest.raises(NetworkError, match="resnet9"):
        run(catalog, teacher_card, student="cifar:resnet9")
    assert rows(catalog, "SELECT count(*) FROM runs") == [(0,)]


def test_a_manifest_is_read_by_rank_with_its_weights(catalog: Catalog) -> None:
    found = read_selection(catalog, "first")
    assert (found.manifest, found.content_hash) == ("first", "hash-of-first")
    assert found.ids.tolist() == sorted(found.ids.tolist()) and len(found.ids) == SELECTED
    assert found.weights.tolist() == [0.5] + [1.0] * (SELECTED - 1)
