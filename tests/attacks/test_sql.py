"""SQL from anyone: it reads the catalog, writes nothing, and ends when it is told to."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from curate.filters import Filters
from index.catalog import Catalog
from index.errors import UsageError
from tests.curate.helpers import Outcome
from tests.index.helpers import build, png

MAIN = "from curate.cli.main import main; main()"
ENDLESS = "SELECT range, 'x' AS text FROM range(100000000000)"

READS = [
    "SELECT * FROM read_csv('{folder}/secret.csv')",
    "SELECT * FROM read_csv_auto('/etc/passwd')",
    "SELECT * FROM read_parquet('{folder}/secret.parquet')",
    "SELECT * FROM parquet_schema('{folder}/secret.parquet')",
    "SELECT * FROM read_json('{folder}/secret.csv')",
    "SELECT * FROM read_text('{folder}/secret.csv')",
    "SELECT * FROM read_blob('{folder}/*')",
    "SELECT * FROM read_duckdb('{folder}/other.duckdb')",
    "SELECT * FROM sniff_csv('{folder}/secret.csv')",
    "SELECT * FROM glob('{folder}/*')",
    "FROM '{folder}/secret.csv'",
    "FROM '{folder}/secret.parquet'",
    "SELECT * FROM query('FROM read_text(''{folder}/secret.csv'')')",
    "SELECT * FROM json_execute_serialized_sql(json_serialize_sql("
    "'SELECT * FROM read_text(''{folder}/secret.csv'')'))",
    "SELECT * FROM read_csv('https://example.org/x.csv')",
    "FROM 's3://bucket/x.parquet'",
    "SELECT getenv('HOME')",
    "FROM connection",
    "FROM text",
]
WRITES = [
    "COPY images TO '{folder}/stolen.csv'",
    "COPY (SELECT 1) TO '{folder}/stolen.parquet' (FORMAT parquet)",
    "COPY (SELECT 1) TO '{spill}/stolen.csv'",
    "COPY failures FROM '{folder}/secret.csv'",
    "EXPORT DATABASE '{folder}/stolen'",
    "IMPORT DATABASE '{folder}'",
    "ATTACH '{folder}/other.duckdb'",
    "ATTACH ':memory:' AS mine",
    "INSTALL httpfs",
    "LOAD httpfs",
    "LOAD '{folder}/other.duckdb'",
    "SET enable_external_access = true",
    "SET memory_limit = '100GB'",
    "RESET enable_external_access",
    "PRAGMA enable_external_access = true",
    "PRAGMA enable_profiling",
    "CALL enable_logging(storage := 'file', storage_path := '{folder}/log')",
    "SELECT * FROM enable_logging(storage := 'file', storage_path := '{folder}/log')",
    "SELECT * FROM enable_profiling(save_location := '{folder}/profile.json')",
    "CREATE TABLE mine (x INTEGER)",
    "CREATE TEMP TABLE mine AS SELECT 1",
    "CREATE SECRET mine (TYPE s3)",
    "CREATE MACRO mine() AS 1",
    "INSERT INTO failures VALUES ('a', 'b', 'c', 'd', false)",
    "DELETE FROM images",
    "UPDATE images SET width = 0",
    "DROP TABLE images",
    "ALTER TABLE images RENAME TO mine",
    "TRUNCATE images",
    "BEGIN",
    "CHECKPOINT",
    "VACUUM",
    "PREPARE mine AS SELECT 1",
    "WITH gone AS (DELETE FROM images RETURNING id) SELECT * FROM gone",
    "EXPLAIN ANALYZE DELETE FROM images",
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP TABLE images",
    "",
    "/* nothing */",
    "\0",
    "SELEC 1",
    "SELECT (",
]
PREDICATES = [
    "true; DROP TABLE images",
    "true) OR (true",
    "true) --",
    "true /*",
    "true GROUP BY id",
    "true LIMIT 1",
    "true UNION SELECT 1",
    "id IN (SELECT image_id FROM failures)",
    "EXISTS (FROM read_text('/etc/passwd'))",
    "row_number() OVER () > 1",
    "COLUMNS(*) IS NOT NULL",
    "? = 1",
    "#1 > 0",
    "random() < 0.5",
    "added_at < now()",
    "added_at < current_timestamp",
    "added_at::DATE < current_date",
    "age(added_at::TIMESTAMP) > INTERVAL 1 DAY",
    "uuid() > 'a'",
    "main.random() < 0.5",
    "error('x')",
    "sleep_ms(100000) IS NULL",
    "getvariable('x') = 1",
    "current_setting('memory_limit') = 'x'",
    "get_block_size('x') = 1",
    "ago(INTERVAL 1 DAY) > added_at",
    "read_text('/etc/passwd') = 'x'",
    "count(*) > 1",
    "",
    "  -- nothing",
    "\0",
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace, and beside it what is none of its business; no test may change either."""
    root = tmp_path_factory.mktemp("sql")
    for name in ("crawl", "elsewhere"):
        (root / name).mkdir()
    for seed in range(3):
        (root / "crawl" / f"{seed}.png").write_bytes(png(seed))
    build(root / "ws", root / "crawl")
    folder = root / "elsewhere"
    (folder / "secret.csv").write_text("password\nhunter2\n")
    duckdb.execute(f"COPY (SELECT 'hunter2' AS secret) TO '{folder / 'secret.parquet'}'")
    with duckdb.connect(folder / "other.duckdb") as connection:
        connection.execute("CREATE TABLE secret AS SELECT 'hunter2' AS secret")
    return root


@pytest.fixture
def workspace(root: Path) -> Path:
    return root / "ws"


@pytest.fixture
def folder(root: Path) -> Path:
    return root / "elsewhere"


def everything(root: Path) -> dict[str, str]:
    """Every file and its content."""
    paths = [path for path in root.rglob("*") if path.is_file()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def is_one_line(found: Outcome) -> bool:
    return found.err.startswith("kdcurate: SQL: ") and found.err.count("\n") == 1


@pytest.mark.parametrize("text", READS + WRITES)
def test_what_is_not_a_query_of_the_catalog_is_refused(
    kdcurate: Callable[..., Outcome], workspace: Path, folder: Path, text: str
) -> None:
    before = everything(workspace.parent)
    places = {"folder": folder, "spill": workspace / "catalog.duckdb.tmp"}
    found = kdcurate("sql", text.format(**places), "-w", workspace)
    assert (found.code, found.out) == (2, "")
    assert is_one_line(found)
    assert "hunter2" not in found.err and "root:" not in found.err
    assert everything(workspace.parent) == before


@pytest.mark.parametrize("text", [READS[0], WRITES[0], "SELECT 1; SELECT 2", "SELECT 1) TO 'x'; ("])
def test_a_refused_query_leaves_no_parquet_file(
    kdcurate: Callable[..., Outcome], workspace: Path, folder: Path, text: str
) -> None:
    before = everything(workspace.parent)
    target = folder / "out.parquet"
    found = kdcurate("sql", text.format(folder=folder), "-w", workspace, "--parquet", target)
    assert found.code == 2 and is_one_line(found)
    assert everything(workspace.parent) == before


def test_the_catalog_is_no_place_for_a_result(
    kdcurate: Callable[..., Outcome], workspace: Path
) -> None:
    before = everything(workspace)
    (workspace / "link").symlink_to(workspace / "catalog.duckdb")
    for name in ("catalog.duckdb", "link"):
        found = kdcurate("sql", "SELECT 1", "-w", workspace, "--parquet", workspace / name)
        assert found.code == 2 and "it is the catalog itself" in found.err
    (workspace / "link").unlink()
    assert everything(workspace) == before


@pytest.mark.parametrize(
    "text",
    [
        "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT max(n) FROM t",
        "SELECT sum(a.range * b.range) FROM range(10000000) a, range(10000000) b",
        ENDLESS,
    ],
)
@pytest.mark.parametrize("how", ["--csv", "--json", "--parquet"])
def test_a_query_ends_when_its_time_is_over(
    kdcurate: Callable[..., Outcome], workspace: Path, folder: Path, text: str, how: str
) -> None:
    more = [folder / "out.parquet"] if how == "--parquet" else []
    found = kdcurate("sql", text, "-w", workspace, "--timeout", "0.3", how, *more)
    assert (found.code, found.err.count("\n")) == (1, 1)
    assert "SQL: stopped after 0.3 s" in found.err
    assert not any(more_path.exists() for more_path in more)
    assert not [thread for thread in threading.enumerate() if thread.name == "sql timeout"]


def test_a_query_that_is_in_time_is_left_alone(
    kdcurate: Callable[..., Outcome], workspace: Path
) -> None:
    found = kdcurate("sql", "SELECT 1 AS one", "-w", workspace, "--timeout", "60", "--csv")
    assert (found.code, found.out.split(), found.err) == (0, ["one", "1"], "")
    for wrong in ("0", "-1", "nan", "inf"):
        found = kdcurate("sql", "SELECT 1", "-w", workspace, "--timeout", wrong)
        assert found.code == 2 and "--timeout is" in found.err


@pytest.mark.parametrize(
    "text",
    [
        "SELECT list(range) FROM range(1000000000)",
        "SELECT string_agg(md5(range::VARCHAR), '') FROM range(1000000000)",
    ],
)
def test_a_query_that_needs_too_much_memory_ends_in_one_line(
    kdcurate: Callable[..., Outcome], workspace: Path, text: str
) -> None:
    before = everything(workspace)
    found = kdcurate("sql", text, "-w", workspace, "--json", "--timeout", "300")
    assert (found.code, found.out, found.err.count("\n")) == (1, "", 1)
    assert "the query needs more than 512MB of memory" in found.err
    assert everything(workspace) == before


@pytest.mark.parametrize("how", ["--csv", "--json", "--debug"])
def test_a_result_without_end_is_printed_as_it_comes(workspace: Path, how: str) -> None:
    command = [sys.executable, "-c", MAIN, "sql", ENDLESS, "-w", str(workspace), how]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        lines = [process.stdout.readline() for _ in range(5000)]
        process.stdout.close()
        # The reader has seen enough, as head has: no error.
        assert (process.wait(timeout=120), process.stderr.read()) == (0, "")
    assert all(line.endswith("\n") for line in lines)


@pytest.mark.parametrize("predicate", PREDICATES)
def test_a_predicate_is_one_steady_expression(root: Path, predicate: str) -> None:
    before = everything(root)
    catalog, filters = Catalog(root / "ws"), Filters(where=predicate)
    with pytest.raises(UsageError) as counted:
        filters.count_matching(catalog)
    with pytest.raises(UsageError) as written:
        filters.write_parquet(catalog, root / "filtered.parquet")
    assert "\n" not in str(counted.value) + str(written.value)
    assert everything(root) == before
