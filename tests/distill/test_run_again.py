"""What happens when a run is asked for again: under its name, another, or with other options."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from index.catalog import Catalog
from index.errors import DataError, WorkspaceError
from index.files import locked

from .running import TRAIN, Heard, labelled, metadata, rows, run, same, shrinking, tensors
from .workspaces import add_manifest, save_noise


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
        ({"method_options": {"contrast": "0"}}, "--option contrast = None, not"),
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


def test_labels_that_are_no_classes_end_a_run_before_it_trains(
    tmp_path: Path, catalog: Catalog, teacher_card: Path
) -> None:
    data = labelled(tmp_path / "data", "95", "104")
    heard = Heard()
    with pytest.raises(DataError, match="labels run from 95 to 104, the network has classes 0 to"):
        run(catalog, teacher_card, name="mine", evaluate_on=data, progress=heard)
    assert heard.advanced == {}
    assert [path.name for path in catalog.workspace.glob("runs/mine/*")] == [".lock"]


def test_what_cannot_be_evaluated_in_the_end_leaves_a_student_that_is_not_trained_again(
    tmp_path: Path, catalog: Catalog, teacher_card: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distill.labelled._START", 1)
    data = Path(labelled(tmp_path / "data", "0", "1"))
    (data / "1" / "1.png").write_bytes(b"<html>")
    student = catalog.workspace / "runs" / "mine" / "student.toml"
    with pytest.raises(DataError) as found:
        run(catalog, teacher_card, name="mine", evaluate_on=str(data))
    assert str(found.value).endswith(
        f"; the student is trained, and is {student}: the same command, its data mended, or "
        "`distill` without --eval finishes from the checkpoint"
    )
    assert student.is_file() and rows(catalog, "SELECT count(*) FROM runs") == [(0,)]
    heard = Heard()
    done = run(catalog, teacher_card, name="mine", progress=heard)
    assert heard.advanced["Training"] == [4]  # where it was already
    assert (done.student, done.accuracy) == (str(student), None)
    (data / "1" / "1.png").unlink()
    again = run(catalog, teacher_card, name="mine", evaluate_on=str(data))
    assert again.accuracy is not None and same(done, again)
