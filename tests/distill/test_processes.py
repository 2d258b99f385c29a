"""Two processes under torchrun, with gloo: what one process would have made."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from distill.processes import join
from index.catalog import Catalog

from . import together

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


@pytest.fixture(scope="module")
def both(
    built_workspace: Path, teacher_card: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[dict[str, Any]], dict[str, Any], Path]:
    """What each of two processes says, what one alone says, and the workspace of both."""
    folder = tmp_path_factory.mktemp("together")
    workspace = Path(shutil.copytree(built_workspace, folder / "ws"))
    done = subprocess.run(
        [*TORCHRUN, together.__file__, str(folder), str(workspace), str(teacher_card)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[:6000]
    assert "Warning" not in done.stderr and "deprecated" not in done.stderr, done.stderr[:6000]
    pair = [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]
    alone = together.small(folder / "alone", join("cpu", "float32"))
    alone["runs"] = together.runs(workspace, teacher_card, join("cpu", "float32"))
    return pair, alone, workspace


Both = tuple[list[dict[str, Any]], dict[str, Any], Path]


def test_each_image_is_seen_once_an_epoch_in_all(both: Both) -> None:
    pair, alone, _ = both
    steps = [[*one, *other] for one, other in zip(*(found["seen"] for found in pair), strict=True)]
    assert [sorted(step) for step in steps] == [sorted(step) for step in alone["seen"]]
    assert steps == alone["seen"]  # the first half is the first one's
    for start in (0, 3):  # three steps an epoch, of which the first round has two
        epoch = Counter(place for step in steps[start : start + 3] for place in step)
        assert len(epoch) == 12 and set(epoch.values()) == {1}


def test_all_processes_end_with_the_same_state(both: Both) -> None:
    first, second = (found["weights"] for found in both[0])
    assert first == second


def test_a_parameter_without_a_gradient_is_left_alone_as_in_one_process(both: Both) -> None:
    """Not even weight decay moves it."""
    pair, alone, _ = both
    assert [found["idle"] for found in (*pair, alone)] == [1.0] * 3


def student(runs: list[dict[str, Any]], place: int) -> dict[str, torch.Tensor]:
    return load_file(Path(runs[place]["student"]).with_suffix(".safetensors"))


@pytest.mark.parametrize("place", [0, 1])
def test_without_batchnorm_two_processes_make_what_one_makes(both: Both, place: int) -> None:
    """A perceptron with kd, and with dfnd (an optimiser of its own), clipping and averaging."""
    pair, alone, _ = both
    ours, theirs = student(pair[0]["runs"], place), student(alone["runs"], place)
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-4, atol=1e-6)


def test_with_batchnorm_two_processes_come_near(both: Both) -> None:
    pair, alone, _ = both
    ours, theirs = student(pair[0]["runs"], 2), student(alone["runs"], 2)
    name = "body.conv1.weight" if "body.conv1.weight" in ours else sorted(ours)[0]
    change = (ours[name] - theirs[name]).norm() / theirs[name].norm()
    assert 0 < change < 0.2


def test_a_run_has_one_row_and_both_know_its_result(both: Both) -> None:
    pair, alone, workspace = both
    assert pair[0]["runs"] == pair[1]["runs"]
    with Catalog(workspace).read() as connection:
        rows = connection.execute(
            "SELECT name, steps, options->>'processes' FROM runs ORDER BY 1"
        ).fetchall()
        metrics = connection.execute(
            "SELECT count(*), count(DISTINCT (run, step, name)) FROM metrics"
        ).fetchone()
    names = ("clipped", "plain", "shared")
    assert rows == [(f"{name}-{count}", 6, str(count)) for name in names for count in (1, 2)]
    assert metrics is not None and metrics[0] == metrics[1]
    begun = json.loads((workspace / "runs" / "plain-2" / "begun.json").read_text())
    assert (begun["manifest"], begun["options"]["processes"]) == ("first", 2)
