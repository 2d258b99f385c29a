"""Killed, interrupted, or started twice: the same command run again gives the same student."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from .commands import PATIENCE_S, Workspace, wait_for

STEPS = 24


def training(teacher: Path, *, rounds: int = 0, run: str = "student") -> list[object]:
    """Some seconds of training with a checkpoint after every second step."""
    return [
        *("distill", "--manifest", "first", "--teacher", teacher, "--student", "cifar:resnet8"),
        *("--max-steps", STEPS, "--batch-size", 16, "--checkpoint-every", 2, "--device", "cpu"),
        *("--rounds", rounds, "--schedule", "onecycle", "--run", run),
    ]


def folder(workspace: Workspace) -> Path:
    return workspace.path / "runs" / "student"


def checkpoint(workspace: Workspace) -> Path:
    return folder(workspace) / "checkpoint" / "last.pt"


def steps_done(workspace: Workspace) -> int:
    return int(torch.load(checkpoint(workspace), weights_only=True)["step"])


def assert_same_students(first: Workspace, second: Workspace) -> None:
    one, other = (load_file(folder(ws) / "student.safetensors") for ws in (first, second))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)
    logs = [(folder(ws) / "metrics.jsonl").read_bytes() for ws in (first, second)]
    assert logs[0] == logs[1] and logs[0]
    curves = "SELECT step, name, value FROM metrics ORDER BY ALL"
    assert first.sql(curves) == second.sql(curves) != []


def assert_same_rounds(first: Workspace, second: Workspace) -> None:
    for query in (
        "SELECT name, content_hash, parent FROM manifests ORDER BY name",
        'SELECT round, manifest, epoch, alpha, selected, entered, "left" FROM rounds ORDER BY 1',
    ):
        assert first.sql(query) == second.sql(query)


@pytest.fixture(scope="module", params=[0, 3], ids=["plain", "rounds"])
def undisturbed(
    request: pytest.FixtureRequest,
    selected: Workspace,
    teacher: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[int, Workspace]:
    workspace = selected.copy(tmp_path_factory.mktemp("undisturbed") / "ws")
    assert workspace.json(*training(teacher, rounds=request.param))["steps"] == STEPS
    return request.param, workspace


@pytest.mark.slow
def test_a_killed_run_becomes_the_undisturbed_one(
    undisturbed: tuple[int, Workspace], workspace: Workspace, teacher: Path
) -> None:
    rounds, whole = undisturbed
    command = training(teacher, rounds=rounds)
    with workspace.started(*command) as process:
        wait_for(checkpoint(workspace), process)
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait(PATIENCE_S) == -signal.SIGKILL
    assert steps_done(workspace) < STEPS
    assert not (folder(workspace) / "student.toml").exists()
    assert workspace.sql("SELECT name FROM runs") == []
    assert workspace.json(*command)["steps"] == STEPS
    assert_same_students(whole, workspace)
    assert_same_rounds(whole, workspace)


@pytest.mark.slow
def test_rounds_leave_a_manifest_each(undisturbed: tuple[int, Workspace]) -> None:
    number, workspace = undisturbed
    rounds = workspace.sql(
        'SELECT round, manifest, alpha, entered, "left" FROM rounds ORDER BY round'
    )
    names = [f"student/round-{place + 1:03d}" for place in range(number)]
    assert [row["manifest"] for row in rounds] == names
    # Rounds begin after 0, 1/3, and 2/3 of the training, in the paper's epochs 1, 81, and 161:
    # 1 for a student that has not learned yet, 1 - exp(-5 (82 / 160 - 1)^2), 0 from epoch 120 on.
    assert [row["alpha"] for row in rounds] == pytest.approx([1.0, 0.6953, 0][:number], abs=1e-4)
    for before, row in zip(["first", *names], rounds, strict=False):
        (found,) = workspace.sql(
            "SELECT count(*) FILTER (selected AND NOT list_contains(old, image_id)) AS entered, "
            'count(*) FILTER (NOT selected AND list_contains(old, image_id)) AS "left" '
            "FROM decisions, (SELECT list(image_id) AS old FROM decisions WHERE selected AND "
            f"manifest = '{before}') WHERE manifest = '{row['manifest']}'"
        )
        assert found == {"entered": row["entered"], "left": row["left"]}
    parents = workspace.sql("SELECT name FROM manifests WHERE parent = 'first' ORDER BY name")
    assert [row["name"] for row in parents] == names
    with safe_open(folder(workspace) / "student.safetensors", "pt") as file:
        assert json.loads(file.metadata()["provenance"])["manifest"] == ["first", *names][-1]


@pytest.mark.slow
def test_ctrl_c_ends_in_one_line_and_the_run_goes_on(workspace: Workspace, teacher: Path) -> None:
    command = training(teacher)
    with workspace.started(*command) as process:
        wait_for(checkpoint(workspace), process)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: workers are told too
        out, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err
    said = [line for line in err.splitlines() if "interrupted" in line]
    assert said == ["interrupted: the same command run again goes on from here"]
    assert err.splitlines()[-1] == said[0]
    begun = steps_done(workspace)
    assert 0 < begun < STEPS
    assert err.splitlines()[-2] == f"the run goes on from step {begun} of {STEPS}"
    done = workspace.run(*command)
    assert done.returncode == 0
    assert f"resuming at step {begun} of {STEPS}" in done.stderr
    assert workspace.sql("SELECT steps FROM runs") == [{"steps": STEPS}]


@pytest.mark.slow
def test_a_second_process_on_the_same_run_is_refused(workspace: Workspace, teacher: Path) -> None:
    command = training(teacher)
    with workspace.started(*command) as first:
        wait_for(checkpoint(workspace), first)
        os.killpg(first.pid, signal.SIGSTOP)  # so that it cannot end before the second begins
        begun = checkpoint(workspace).stat().st_mtime_ns
        second = workspace.run(*command)
    assert (second.returncode, second.stdout) == (1, "")
    assert second.stderr.splitlines() == [
        "kdcurate: another process trains student: wait for it to end"
    ]
    assert checkpoint(workspace).stat().st_mtime_ns == begun
    assert workspace.sql("SELECT name FROM runs") == []
