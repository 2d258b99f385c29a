"""The commands end to end: what they print where, and the codes they end with."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from curate.pool import Pool

from ..conftest import Kdcurate
from ..helpers import (
    BROKEN,
    CLASSES,
    COPIES,
    IMAGES,
    PICTURES,
    QUIET,
    build,
    crawl_files,
    one_line,
    pixels_of,
    png,
    query,
    write_files,
    write_parquet,
)

EVIL = "[bold red]x[/bold red] [/] :smile: \x1b[31mred\x1b[0m\r\n\\"


def parsed(out: str) -> Any:
    return json.loads(out)


def test_build_select_and_explain_in_json(
    kdcurate: Kdcurate, crawl: Path, teacher: str, tmp_path: Path
) -> None:
    ws = tmp_path / "ws"
    built = kdcurate("build-index", crawl, "-w", ws, "--embedder", teacher, *QUIET, "--json")
    assert built.code == 0
    found = parsed(built.out)
    assert (found.pop("index"), found.pop("recall_at_10")) == ("IDMap,Flat", 1.0)
    assert found.pop("index_reason").startswith("exact search")
    assert min(found.pop(name) for name in ("index_mb", "query_ms", "images_per_s")) > 0
    assert found == {
        "images": IMAGES,
        "new": IMAGES,
        "duplicates": COPIES,
        "failed": BROKEN,
        "transient": 0,
        "vectors": IMAGES,
    }
    again = parsed(kdcurate("build-index", crawl, "-w", ws, *QUIET, "--json").out)
    assert (again["images"], again["new"]) == (IMAGES, 0)

    options = ("--teacher", teacher, "--budget", 10, "--name", "first", *QUIET)
    selected = kdcurate("select", "-w", ws, *options, "--json")
    assert selected.code == 0
    chosen = parsed(selected.out)
    assert (chosen["manifest"], chosen["strategy"], chosen["pool"]) == ("first", "kd3", IMAGES)
    assert chosen["selected"] == 10 <= chosen["eligible"] < IMAGES
    assert len(chosen["content_hash"]) == 64

    listed = parsed(kdcurate("manifests", "list", "-w", ws, "--json").out)
    assert [one["content_hash"] for one in listed] == [chosen["content_hash"]]
    shown = parsed(kdcurate("manifests", "show", "first", "-w", ws, "--json").out)
    assert sum(shown["reasons"].values()) == IMAGES
    assert [one["class_name"] for one in shown["classes"]] == CLASSES
    image = query(ws, "SELECT image_id FROM decisions WHERE rank = 1")[0][0]
    explained = parsed(kdcurate("manifests", "explain", "first", image, "-w", ws, "--json").out)
    assert (explained["image_id"], explained["rank"], explained["selected"]) == (image, 1, True)
    text = kdcurate("manifests", "explain", "first", image, "-w", ws).out
    assert explained["reason"] in text and explained["found_at"][0] in text


def test_an_index_is_asked_for_and_remembered(
    kdcurate: Kdcurate, crawl: Path, teacher: str, tmp_path: Path
) -> None:
    command = ("build-index", crawl, "-w", tmp_path / "ws", *QUIET, "--json")
    wrong = kdcurate(*command, "--embedder", teacher, "--index", "Flatt")
    assert wrong.code == 2 and one_line(wrong.err.partition("\n")[2] or wrong.err)
    assert "--index 'Flatt' makes no FAISS index" in wrong.err
    for option in (("--memory-budget", "much"), ("--recall", 95)):
        wrong = kdcurate(*command, "--embedder", teacher, *option)
        assert (wrong.code, one_line(wrong.err)) == (2, True)
    assert not (tmp_path / "ws").exists()
    asked = ("--embedder", teacher, "--index", "HNSW8", "--memory-budget", "1GB", "--seed", 3)
    asked = (*asked, "--recall", 0.99)
    plan = parsed(kdcurate(*command, *asked, "--dry-run").out)
    assert (plan["index"], plan["index_reason"]) == ("IDMap,HNSW8", "asked for: --index HNSW8")
    assert parsed(kdcurate(*command, *asked).out)["index"] == "IDMap,HNSW8"
    again = parsed(kdcurate(*command).out)
    assert again["index"] == "IDMap,HNSW8" and "efSearch = " in again["index_reason"]
    recorded = query(
        tmp_path / "ws", "SELECT asked, memory_budget, seed, recall_asked FROM indexes"
    )
    assert recorded == [("HNSW8", 10**9, 3, 0.99)]
    assert parsed(kdcurate(*command, "--index", "auto").out)["index"] == "IDMap,Flat"


def test_data_goes_to_stdout_and_notes_to_stderr(
    kdcurate: Kdcurate, workspace: Path, teacher: str
) -> None:
    options = ("--teacher", teacher, "--strategy", "msp", "--budget", 5, "--name", "first", *QUIET)
    found = kdcurate("select", "-w", workspace, *options)
    assert found.out.splitlines()[0].split() == ["manifest", "first"]
    assert "next: kdcurate distill" in found.err and "next:" not in found.out
    assert parsed(kdcurate("select", "-w", workspace, *options, "--json").out)["selected"] == 5


def test_a_budget_that_is_worked_out_is_explained_wherever_it_is_shown(
    kdcurate: Kdcurate, workspace: Path, teacher: str
) -> None:
    options = ("--teacher", teacher, "--strategy", "msp", "--budget", "auto", "--name", "first")
    composed = (*options, "--balance", "sqrt", "--diversity", "clusters", *QUIET)
    made = parsed(kdcurate("select", "-w", workspace, *composed, "--json").out)
    text = kdcurate("select", "-w", workspace, *composed).out
    shown = kdcurate("manifests", "show", "first", "-w", workspace).out
    assert made["budget"].startswith(f"auto budget: {made['selected']} of ")
    assert made["budget"] in text and made["budget"] in shown
    stored = parsed(kdcurate("manifests", "show", "first", "-w", workspace, "--json").out)
    assert stored["options"]["budget"] == "auto"
    assert stored["options"]["resolved_budget"] == made["selected"]
    assert kdcurate("manifests", "verify", "first", "-w", workspace).code == 0


def test_select_scores_what_is_new_and_says_so(
    kdcurate: Kdcurate, workspace: Path, teacher: str, tmp_path: Path
) -> None:
    plan = ("select", "-w", workspace, "--teacher", teacher, "--dry-run", "--json")
    assert parsed(kdcurate(*plan).out)["images_to_score_with_teacher"] == 0
    build(workspace, [write_files(tmp_path / "more", {"a.png": png(pixels_of(PICTURES + 100))})])
    assert parsed(kdcurate(*plan).out)["images_to_score_with_teacher"] == 1
    assert parsed(kdcurate("select", "-w", workspace, "--teacher", teacher, *QUIET, "--json").out)[
        "pool"
    ] == (IMAGES + 1)
    assert parsed(kdcurate(*plan).out)["images_to_score_with_teacher"] == 0


def test_a_dry_run_changes_nothing(
    kdcurate: Kdcurate, crawl: Path, teacher: str, tmp_path: Path
) -> None:
    ws = tmp_path / "ws"
    found = kdcurate(
        "build-index", crawl, "-w", ws, "--embedder", teacher, "--dry-run", "--json", *QUIET
    )
    plan = parsed(found.out)
    assert plan["images"] == IMAGES + COPIES + BROKEN
    assert {"decode_images_per_s", "ram_mb", "disk_mb", "eta_s"} <= set(plan)
    assert not ws.exists()


def test_models_are_listed(kdcurate: Kdcurate) -> None:
    rows = parsed(kdcurate("models", "--json").out)
    assert all({"name", "params", "macs", "flops", "input", "classes"} <= set(row) for row in rows)
    small = next(row for row in rows if row["name"] == "cifar:resnet8x4")
    assert small["params"] == 1_210_410
    assert len({row["name"] for row in rows}) == len(rows)


def test_models_stand_beside_the_papers_figures(kdcurate: Kdcurate) -> None:
    rows = parsed(kdcurate("models", "--paper", "--json").out)
    assert [row["name"] for row in rows if row["differs"]] == [
        "cifar:mobilenet_v2",
        "cifar:resnet110x2",
    ]
    shown = kdcurate("models", "--paper")
    line = next(line for line in shown.out.splitlines() if "shuffle_v1" in line)
    assert line.split()[-5:] == ["154573824", "168594432", "10", "0.86M", "168.59M"]
    assert "6.89M are those of shortcuts without parameters" in " ".join(shown.err.split())


def test_a_student_is_trained_in_rounds_and_evaluated(
    kdcurate: Kdcurate, workspace: Path, teacher: str, student: str, tmp_path: Path
) -> None:
    files = crawl_files()
    rows = [(files[f"picture-{n:02d}.png"], n % 4) for n in range(12)]
    data = write_parquet(tmp_path / "test.parquet", "image BLOB, label INTEGER", rows)
    choose = ("select", "-w", workspace, "--teacher", teacher, "--budget", 16, "--name", "first")
    assert kdcurate(*choose, *QUIET).code == 0
    train = ("distill", "-w", workspace, "--manifest", "first", "--teacher", teacher)
    train += ("--student", student, "--method", "kd", "--max-steps", "4", "--rounds", "2")
    train += ("--alpha-floor", "0.25")  # the second round begins where the schedule has come to 0
    train += ("--batch-size", "8", "--run", "tiny", "--eval", str(data), "--option")
    trained = kdcurate(*train, "temperature=2", *QUIET, "--json")
    assert trained.code == 0, trained.err
    result = parsed(trained.out)
    assert (result["run"], result["steps"]) == ("tiny", 4)
    measured = parsed(kdcurate("evaluate", result["student"], "--data", data, "--json").out)
    assert measured["n"] == 12
    assert measured["accuracy"] == measured["correct"] / 12 == result["accuracy"]
    listed = parsed(kdcurate("manifests", "list", "-w", workspace, "--json").out)
    names = [row["name"] for row in listed]
    assert names == ["first", "tiny/round-001", "tiny/round-002"]
    assert query(workspace, "SELECT alpha FROM rounds ORDER BY round") == [(1.0,), (0.25,)]
    again = kdcurate(*train, "temperature=2", *QUIET, "--json")
    assert parsed(again.out) == result and "is finished" in again.err
    assert "kept" not in kdcurate(*train, "temperature=2", *QUIET).out  # it made no images


def test_doctor_ends_with_one_where_a_file_is_damaged(kdcurate: Kdcurate, workspace: Path) -> None:
    whole = kdcurate("doctor", "-w", workspace, "--json")
    assert (whole.code, parsed(whole.out)["problems"]) == (0, [])
    (part, *_) = sorted((workspace / "logits").rglob("part-*.npz"))
    part.unlink()
    found = kdcurate("doctor", "-w", workspace, "--json")
    assert found.code == 1
    assert str(part) in parsed(found.out)["problems"][0]
    assert "problems" not in parsed(kdcurate("doctor", "--json").out)


def test_sql_prints_tables_csv_json_and_parquet(
    kdcurate: Kdcurate, scored: Pool, tmp_path: Path
) -> None:
    ws = scored.catalog.workspace
    text = "SELECT id, format FROM images ORDER BY id"
    expected = query(ws, text)
    rows = parsed(kdcurate("sql", text, "-w", ws, "--json").out)
    assert rows == [{"id": key, "format": kind} for key, kind in expected]
    table = list(csv.reader(io.StringIO(kdcurate("sql", text, "-w", ws, "--csv").out)))
    assert table == [["id", "format"], *([str(key), kind] for key, kind in expected)]
    target = tmp_path / "out.parquet"
    written = kdcurate("sql", text, "-w", ws, "--parquet", target)
    assert (written.out, str(target) in written.err) == ("", True)
    found = duckdb.execute("SELECT * FROM read_parquet(?) ORDER BY id", [str(target)]).fetchall()
    assert found == expected
    lines = kdcurate("sql", text, "-w", ws).out.splitlines()
    assert lines[0].split() == ["id", "format"]
    assert [tuple(line.split()) for line in lines[1:]] == [(str(k), f) for k, f in expected]


def test_sql_reads_the_catalog_alone(kdcurate: Kdcurate, scored: Pool) -> None:
    found = kdcurate("sql", "FROM read_text('/etc/passwd')", "-w", scored.catalog.workspace)
    assert (found.code, found.out) == (2, "")
    assert one_line(found.err) and found.err.startswith("kdcurate: SQL: ")


def test_the_schema_explains_tables_and_columns(kdcurate: Kdcurate, scored: Pool) -> None:
    ws = scored.catalog.workspace
    rows = parsed(kdcurate("schema", "-w", ws, "--json").out)
    assert {"relation", "kind", "relation_comment", "column", "type", "comment"} == set(rows[0])
    assert "view decisions: the ledger" in kdcurate("schema", "-w", ws).out


def test_the_workspace_may_come_from_the_environment(
    kdcurate: Kdcurate, scored: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KDCURATE_WORKSPACE", str(scored.catalog.workspace))
    assert kdcurate("sql", "SELECT count(*) FROM images", "--csv").out.split() == [
        "count_star()",
        str(IMAGES),
    ]


def test_text_of_the_crawl_is_printed_as_text(kdcurate: Kdcurate, tmp_path: Path) -> None:
    rows = [(crawl_files()["picture-00.png"], EVIL)]
    source = write_parquet(tmp_path / "evil.parquet", "image BLOB, caption VARCHAR", rows)
    build(tmp_path / "ws", [source])
    text = "SELECT metadata->>'caption' AS \"[bold]:smile:\" FROM locations"
    found = kdcurate("sql", text, "-w", tmp_path / "ws").out
    shown = "[bold red]x[/bold red] [/] :smile: �[31mred�[0m��\\"
    assert [line.rstrip() for line in found.splitlines()] == ["[bold]:smile:", shown]
    rows_found = parsed(kdcurate("sql", text, "-w", tmp_path / "ws", "--json").out)
    assert rows_found == [{"[bold]:smile:": EVIL}]
    folder = write_files(tmp_path / "[red]:smile:", {"[b].png": png(pixels_of(1))})
    build(tmp_path / "ws", [folder])
    uris = kdcurate("sql", "SELECT uri FROM locations", "-w", tmp_path / "ws").out
    assert f"{folder}/[b].png" in uris


def test_messages_print_names_of_the_crawl_as_text(kdcurate: Kdcurate, teacher: str) -> None:
    found = kdcurate("evaluate", teacher, "--data", "[bold]no[/bold]\x1b[31m:smile:.parquet")
    assert found.code == 1
    assert "[bold]no[/bold]�[31m:smile:.parquet" in found.err
    assert "\x1b" not in found.err
