"""The whole way on real images, each step a command: crawl, manifest, student, next manifest."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import duckdb
import pytest
from safetensors import safe_open

from .commands import Workspace
from .conftest import LABELLED, POOL

TRAINING = (
    "distill",
    *("--manifest", "first", "--student", "cifar:resnet8", "--batch-size", 16),
    *("--device", "cpu", "--run", "student"),
)


@pytest.fixture(scope="module")
def trained(
    selected: Workspace, slices: Path, teacher: Path, tmp_path_factory: pytest.TempPathFactory
) -> Workspace:
    """The selected workspace with the run `student` of six steps."""
    workspace = selected.copy(tmp_path_factory.mktemp("trained") / "ws")
    result = workspace.json(
        *TRAINING, "--teacher", teacher, "--max-steps", 6, "--eval", slices / "test.parquet"
    )
    assert (result["run"], result["steps"]) == ("student", 6)
    assert 0 <= result["accuracy"] <= 1
    return workspace


def card(workspace: Workspace, run: str = "student") -> Path:
    return workspace.path / "runs" / run / "student.toml"


def failed_with(done: subprocess.CompletedProcess[str], code: int) -> str:
    """Return the one line with which a command failed."""
    assert (done.returncode, done.stdout) == (code, "")
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


def test_every_row_is_an_image_a_copy_or_a_failure(selected: Workspace) -> None:
    ((images, copies, failures, vectors),) = (
        row.values()
        for row in selected.sql(
            "SELECT (SELECT count(*) FROM images), (SELECT count(*) FROM locations) - "
            "(SELECT count(*) FROM images), (SELECT count(*) FROM failures), "
            "(SELECT count(DISTINCT image_id) FROM vectors)"
        )
    )
    assert images + copies + failures == POOL
    assert vectors == images > 250


def test_a_second_build_adds_nothing(workspace: Workspace, slices: Path) -> None:
    count = "SELECT (SELECT count(*) FROM locations) l, (SELECT count(*) FROM vectors) v"
    before = workspace.sql(count)
    summary = workspace.json("build-index", slices / "pool.parquet")
    assert summary["new"] == 0
    assert workspace.sql(count) == before


def test_selecting_again_decides_the_same(workspace: Workspace, teacher: Path) -> None:
    (first,) = workspace.json("manifests", "list")
    again = workspace.json("select", "--teacher", teacher, "--budget", 48, "--name", "again")
    assert again["content_hash"] == first["content_hash"]


def test_manifests_are_listed_shown_and_explained(selected: Workspace) -> None:
    (listed,) = selected.json("manifests", "list")
    assert (listed["name"], listed["strategy"], listed["selected"]) == ("first", "kd3", 48)
    shown = selected.json("manifests", "show", "first")
    assert sum(shown["reasons"].values()) == shown["pool"]
    assert sum(row["selected"] for row in shown["classes"]) == 48
    for taken in (True, False):
        (row,) = selected.sql(
            f"SELECT image_id, reason FROM decisions WHERE selected = {taken} ORDER BY 1 LIMIT 1"
        )
        explained = selected.json("manifests", "explain", "first", row["image_id"])
        assert (explained["selected"], explained["reason"]) == (taken, row["reason"])


def test_the_tables_are_for_reading(selected: Workspace) -> None:
    for command in (("list",), ("show", "first")):
        done = selected.run("manifests", *command)
        assert done.returncode == 0 and "first" in done.stdout and "kd3" in done.stdout


def test_duckdb_itself_answers_as_sql_does(trained: Workspace) -> None:
    queries = [
        "SELECT reason, count(*) AS n FROM rejected GROUP BY ALL ORDER BY ALL",
        "SELECT image_id, rank, class_name FROM selected ORDER BY rank",
        "SELECT name, method, steps, accuracy FROM runs",
        "SELECT step, name, value FROM metrics ORDER BY ALL",
    ]
    with duckdb.connect(trained.path / "catalog.duckdb", read_only=True) as connection:
        for query in queries:
            cursor = connection.execute(query)
            names = [column[0] for column in cursor.description]
            found = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
            assert found and trained.sql(query) == found  # beside the open connection


def test_the_student_is_evaluated_as_any_network(trained: Workspace, slices: Path) -> None:
    found = trained.json("evaluate", card(trained), "--data", slices / "test.parquet")
    assert found["n"] == LABELLED
    (row,) = trained.sql("SELECT accuracy FROM runs WHERE name = 'student'")
    assert found["accuracy"] == row["accuracy"] == found["correct"] / LABELLED


def test_the_student_names_its_manifest_and_teacher(trained: Workspace) -> None:
    (row,) = trained.sql("SELECT content_hash, teacher FROM manifests WHERE name = 'first'")
    with safe_open(card(trained).with_suffix(".safetensors"), "pt") as file:
        metadata = json.loads(file.metadata()["provenance"])
    assert (metadata["manifest_hash"], metadata["teacher"]) == (row["content_hash"], row["teacher"])


def test_a_finished_run_prints_the_same_again(
    trained: Workspace, slices: Path, teacher: Path
) -> None:
    weights = card(trained).with_suffix(".safetensors")
    before = weights.stat().st_mtime_ns
    (row,) = trained.sql("SELECT accuracy FROM runs WHERE name = 'student'")
    again = trained.json(*TRAINING, "--teacher", teacher, "--max-steps", 6)
    assert again["accuracy"] == row["accuracy"]
    assert weights.stat().st_mtime_ns == before


def test_the_student_helps_to_select_the_next_manifest(trained: Workspace, teacher: Path) -> None:
    workspace = trained
    chosen = workspace.json(
        *("select", "--teacher", teacher, "--student", card(workspace), "--alpha", 0.5),
        *("--budget", 40, "--name", "second"),
    )
    (run,) = workspace.sql("SELECT student FROM runs WHERE name = 'student'")
    assert (chosen["student"], chosen["selected"]) == (run["student"], 40)
    (seen,) = workspace.sql(
        "SELECT count(*) AS n, min(components['agreement']) AS least, "
        "max(components['agreement']) AS most FROM decisions WHERE manifest = 'second'"
    )
    assert seen["n"] == chosen["pool"]
    assert 0 <= seen["least"] < seen["most"] <= 1


def test_rounds_want_a_manifest_that_listens_to_a_student(
    workspace: Workspace, teacher: Path
) -> None:
    with duckdb.connect(workspace.path / "catalog.duckdb") as connection:
        connection.execute("UPDATE manifests SET strategy = 'msp'")
    done = workspace.run(*TRAINING, "--teacher", teacher, "--max-steps", 2, "--rounds", 2)
    assert "select one with --strategy kd3" in failed_with(done, 2)


def test_a_plan_trains_nothing(workspace: Workspace, teacher: Path) -> None:
    plan = workspace.json(*TRAINING, "--teacher", teacher, "--epochs", 4, "--dry-run")
    assert (plan["run"], plan["images"], plan["steps"]) == ("student", 48, 4 * 3)
    assert not (workspace.path / "runs").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "correct"), [("resnet20", 4585), ("resnet56", 4659)])
def test_the_real_teachers_are_as_good_as_they_are(
    selected: Workspace, data_dir: Path, name: str, correct: int
) -> None:
    found = selected.json(
        *("evaluate", data_dir / "teachers" / f"{name}.toml"),
        *("--data", data_dir / "cifar10" / "test_5k.parquet"),
    )
    assert found["n"] == 5000
    assert abs(found["correct"] - correct) <= 3
