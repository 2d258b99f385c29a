"""Checkpoints: whole or absent, and only for the run that wrote them."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from distill import checkpoint
from distill.checkpoint import Pace, checkpoint_path, load_checkpoint, save_checkpoint
from index.errors import WorkspaceError

OPTIONS: dict[str, Any] = {"lr": 0.05, "epochs": 3, "max_steps": None, "method_options": {"t": 4}}


def state(step: int = 1, options: dict[str, Any] | None = None) -> dict[str, Any]:
    named = json.dumps(OPTIONS if options is None else options)
    return {"weights": {"fc": torch.arange(3.0)}, "step": step, "options": named}


class Unwritable:
    """Fails while it is saved, as a full disk does."""

    def __reduce__(self) -> tuple[Any, ...]:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = checkpoint_path(tmp_path)
    save_checkpoint(path, state(7))
    found = load_checkpoint(path, OPTIONS)
    assert found is not None and found["step"] == 7
    assert torch.equal(found["weights"]["fc"], torch.arange(3.0))
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_checkpoint_is_due_by_steps_and_where_they_are_slow_every_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now)
    pace = Pace(200)
    assert [step for step in range(1, 601) if pace.due(step)] == [200, 400, 600]
    now = 59.0
    assert not pace.due(3)
    now = 60.0
    assert pace.due(3)
    with pace.writing():
        now = 61.0
    assert not pace.due(4)
    now = 121.0
    assert pace.due(4)
    with pace.writing():
        now = 131.0  # ten seconds: a fiftieth of the time until the next
    now = 131.0 + 499
    assert not pace.due(5) and pace.due(400)
    now = 131.0 + 500
    assert pace.due(5)
    other = Pace(200, writes=False)
    with other.writing():
        now += 1000.0
    now += 1e6
    assert [step for step in range(1, 401) if other.due(step)] == [200, 400]


def test_no_checkpoint_is_no_error(tmp_path: Path) -> None:
    assert load_checkpoint(checkpoint_path(tmp_path), OPTIONS) is None


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"lr": 0.1}, r"lr = 0\.05, not 0\.1"),
        ({"max_steps": 9}, "max_steps = None, not 9"),
        ({"method_options": {"t": 2}}, "--option t = 4, not 2"),
        ({"new": True}, "new = None, not True"),
        ({"lr": 0.1, "epochs": 4}, "epochs = 3, not 4"),
    ],
)
def test_options_that_differ_are_named(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    save_checkpoint(tmp_path / "last.pt", state())
    with pytest.raises(WorkspaceError, match=rf"last\.pt.*{named}.*--run"):
        load_checkpoint(tmp_path / "last.pt", OPTIONS | change)


def test_options_compare_as_they_are_stored(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "last.pt", state(options={"sizes": (1, 2)}))
    assert load_checkpoint(tmp_path / "last.pt", {"sizes": (1, 2)}) is not None


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "foreign", "code"])
def test_a_damaged_checkpoint_is_named_with_the_remedy(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(path, state())
    whole = path.read_bytes()
    if damage == "foreign":
        torch.save({"state_dict": {}}, path)
    elif damage == "code":
        torch.save({"options": json.dumps(OPTIONS), "step": Path("/")}, path)
    else:
        path.write_bytes({"cut": whole[:-200], "empty": b"", "text": b"step: 1\n"}[damage])
    with pytest.raises(WorkspaceError, match=r"last\.pt is damaged: delete it"):
        load_checkpoint(path, OPTIONS)


def test_the_previous_checkpoint_outlives_a_failed_one(tmp_path: Path) -> None:
    path = checkpoint_path(tmp_path)
    save_checkpoint(path, state(1))
    with pytest.raises(WorkspaceError, match="no space left"):
        save_checkpoint(path, state(2) | {"weights": Unwritable()})
    found = load_checkpoint(path, OPTIONS)
    assert found is not None and found["step"] == 1
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
