"""The sandbox: a query reads the catalog and nothing else, and writes nothing at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest

from curate.options import SelectOptions
from curate.pool import Pool
from curate.query import run_query, sandbox, schema, write_parquet
from curate.selection import select
from index.catalog import Catalog
from index.errors import UsageError, WorkspaceError

from .helpers import IMAGES

READER = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1], read_only=True)
print(connection.execute("SELECT count(*) FROM images").fetchone()[0], flush=True)
sys.stdin.read()
"""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "secret.csv").write_text("password\nhunter2\n")
    duckdb.execute(f"COPY (SELECT 1 AS secret) TO '{tmp_path / 'secret.parquet'}'")
    with duckdb.connect(tmp_path / "other.duckdb") as connection:
        connection.execute("CREATE TABLE secret AS SELECT 1")
    return tmp_path


def test_a_query_reads_the_catalog(scored: Pool) -> None:
    with sandbox(scored.catalog) as connection:
        assert connection.execute("SELECT count(*) FROM images").fetchall() == [(IMAGES,)]


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM read_blob('/etc/passwd')",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM glob('/etc/*')",
        "SELECT * FROM read_csv('{folder}/secret.csv')",
        "FROM '{folder}/secret.parquet'",
        "SELECT * FROM parquet_metadata('{folder}/secret.parquet')",
        "COPY images TO '{folder}/stolen.csv'",
        "COPY (SELECT 1) TO '{folder}/stolen.parquet' (FORMAT parquet)",
        "EXPORT DATABASE '{folder}/stolen'",
        "ATTACH '{folder}/other.duckdb'",
        "ATTACH '{folder}/stolen.duckdb'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "LOAD '{folder}/other.duckdb'",
        "SELECT * FROM read_csv('https://example.org/x.csv')",
        "SET enable_external_access = true",
        "SET lock_configuration = false",
        "SET allowed_paths = ['/etc/passwd']",
        "RESET enable_external_access",
        "PRAGMA enable_external_access = true",
        "PRAGMA memory_limit = '1MB'",
        "SET threads = 1; SELECT * FROM read_text('/etc/passwd')",
        "INSERT INTO failures VALUES ('a', 'b', 'c')",
        "DELETE FROM images",
        "UPDATE images SET width = 0",
        "DROP TABLE images",
        "CREATE TABLE mine (x INTEGER)",
        "SELECT * FROM nowhere",
        "SELEC 1",
    ],
)
def test_everything_else_is_refused_in_one_line(scored: Pool, files: Path, text: str) -> None:
    before = sorted(files.iterdir())
    with (
        pytest.raises(UsageError) as error,
        sandbox(scored.catalog) as connection,
    ):
        run_query(connection, text.format(folder=files))
    message = str(error.value)
    assert message.startswith("SQL: ") and "\n" not in message
    assert "hunter2" not in message and "root:" not in message
    assert sorted(files.iterdir()) == before
    with sandbox(scored.catalog) as connection:
        assert connection.execute("SELECT count(*) FROM images").fetchall() == [(IMAGES,)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("SELECT count(*) FROM imagess", '! Did you mean "images"?'),
        ("SELECT nowhere FROM images", None),
        ("SELECT id\nFROM images\nORDR BY 1", "(line 3)"),
        ("SELECT 'a\nLINE 1: b'::INTEGER", None),
    ],
)
def test_a_mistake_is_told_without_a_drawing(scored: Pool, text: str, said: str | None) -> None:
    with pytest.raises(UsageError) as error, sandbox(scored.catalog) as connection:
        run_query(connection, text)
    assert "LINE 1: SELECT" not in str(error.value) and "^" not in str(error.value)
    assert said is None or str(error.value).endswith(said)


def test_a_component_that_is_taken_for_a_column_is_found(pool: Pool) -> None:
    select(pool, "first", SelectOptions("random", budget=3))
    select(pool, "second", SelectOptions("max_logit", budget=3))
    for text in ("SELECT bn_shift FROM selected", "SELECT d.bn_shift FROM decisions d"):
        with pytest.raises(UsageError) as error, sandbox(pool.catalog) as connection:
            run_query(connection, text)
        assert str(error.value).endswith(
            "bn_shift is components['bn_shift'] in decisions, selected, rejected"
        )


def test_a_query_works_beside_a_process_that_reads(scored: Pool) -> None:
    command = [sys.executable, "-c", READER, str(scored.catalog.path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == f"{IMAGES}\n"
        with sandbox(scored.catalog) as connection:
            assert connection.execute("SELECT count(*) FROM images").fetchall() == [(IMAGES,)]
        assert reader.poll() is None
        reader.communicate()
    assert reader.returncode == 0


def test_a_missing_workspace_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="build-index"), sandbox(Catalog(tmp_path / "no")):
        pass
    assert not (tmp_path / "no").exists()


def test_a_result_is_written_to_parquet_whole(scored: Pool, tmp_path: Path) -> None:
    target = tmp_path / "it's.parquet"
    write_parquet(scored.catalog, "SELECT id, width FROM images ORDER BY id -- all;\n;", target)
    rows = duckdb.execute("SELECT count(*), min(width) FROM read_parquet(?)", [str(target)])
    assert rows.fetchall() == [(IMAGES, 16)]
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM nowhere",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT 1) TO '{folder}/stolen.csv'; SELECT (1",
        "SELECT error('late') FROM images",
    ],
)
def test_a_failed_query_leaves_the_old_file(scored: Pool, tmp_path: Path, text: str) -> None:
    target = tmp_path / "out.parquet"
    target.write_bytes(b"old")
    with pytest.raises(UsageError, match="SQL: "):
        write_parquet(scored.catalog, text.format(folder=tmp_path), target)
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_that_is_not_there_is_named(scored: Pool, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot write .* \(it is a folder\)"):
        write_parquet(scored.catalog, "SELECT no FROM nothing", tmp_path)
    with pytest.raises(UsageError, match=r"no/out\.parquet: make its folder"):
        write_parquet(scored.catalog, "SELECT 1", tmp_path / "no" / "out.parquet")


def test_the_schema_names_every_table_and_view_with_a_comment(scored: Pool) -> None:
    rows = schema(scored.catalog)
    found = {(row["relation"], row["kind"]): row["relation_comment"] for row in rows}
    tables = {"images", "locations", "failures", "models", "scores", "shifts", "duplicates"}
    tables |= {"manifests", "ledger", "differences", "rounds", "runs", "metrics"}
    views = {"decisions", "selected", "rejected", "agreement", "class_balance", "placeholders"}
    views |= {"manifest_shift", "manifest_measures", "near_duplicates", "runs_with_manifest"}
    views |= {"compared"}
    assert tables <= {name for name, kind in found if kind == "table"}
    assert views == {name for name, kind in found if kind == "view"}
    assert all(found.values())
    assert {"reason", "rank"} <= {row["column"] for row in rows if row["relation"] == "decisions"}


def test_ctrl_c_in_the_middle_of_a_query_is_an_interruption(pool: Pool) -> None:
    """Where another thread of DuckDB's has the only task, the main one waits and hears nothing."""
    command = [Path(sys.executable).with_name("kdcurate"), "sql", "-w", pool.catalog.workspace]
    endless = "SELECT max(a.range * b.range) FROM range(100000) a, range(20000000) b"
    with subprocess.Popen([*command, endless], stderr=subprocess.PIPE, text=True) as process:
        try:
            while processor_seconds(process.pid) < 4:  # far more than it takes to start
                assert process.poll() is None
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert said == "interrupted: the same command run again goes on from here\n"


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
