"""A run: what it reads, and its files and rows in the catalog."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from distill.metrics import read_metrics
from distill.networks import Network, load_network
from distill.run import RunResult, make_method
from distill.selection import read_selection
from index import __version__
from index.catalog import Catalog
from index.errors import MethodError, NetworkError, UsageError
from index.files import file_sha256

from .running import TRAIN, Heard, asked, labelled, metadata, rows, run, same
from .workspaces import SELECTED, TEACHER


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
    assert (options["begun_as"], options["evaluated_on"]) == (TEACHER, result.evaluated_on)
    versions = {"kdcurate": __version__, "torch": torch.__version__, "numpy": np.__version__}
    assert versions.items() <= options["versions"].items()
    assert teacher.card.weights is not None
    weights = Path(result.student).with_suffix(".safetensors")
    assert options["hashes"] == {
        "manifest": "hash-of-first",
        "last_selection": "hash-of-first",
        "teacher_weights": file_sha256(Path(teacher.card.weights)),
        "student_weights": file_sha256(weights),
    }


def test_the_row_names_the_network_that_a_student_was_before(
    catalog: Catalog, teacher_card: Path
) -> None:
    run(catalog, teacher_card, student=str(teacher_card), method="kd")
    ((before,),) = rows(catalog, "SELECT options->>'begun_as' FROM runs")
    assert before == load_network(teacher_card).key


def test_a_student_that_is_trained_is_told_to_see_as_its_teacher_does(
    catalog: Catalog, teacher_card: Path, tmp_path: Path
) -> None:
    own = load_network(teacher_card).card
    first, second = Heard(), Heard()
    run(catalog, teacher_card, student=str(teacher_card), method="kd", progress=first)
    folder = Path(shutil.copytree(teacher_card.parent, tmp_path / "other"))
    text = (folder / teacher_card.name).read_text().replace(str(own.input.mean[0]), "0.5")
    (folder / teacher_card.name).write_text(text)
    student = str(folder / teacher_card.name)
    assert load_network(student).card.input != own.input
    run(catalog, teacher_card, student=student, method="kd", progress=second)
    told = f"{student} is trained on images as its teacher sees them ({own.input}), not as its card"
    assert not any("as its card says" in line for line in first.said)
    assert any(line.startswith(told) for line in second.said)


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
