"""The catalog: one transaction a visit, other processes, damage, and rows in and out."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.catalog import Catalog, insert, one
from index.errors import CatalogBusyError, WorkspaceError
from index.models import register_model

from .helpers import PROJECT

HOLD = (
    "import duckdb, sys; c = duckdb.connect(sys.argv[1], read_only=sys.argv[2] == 'read')\n"
    "print('held', flush=True); sys.stdin.read()"
)


@contextmanager
def held(path: Path, how: str = "write") -> Iterator[int]:
    """Another process keeps the catalog open; yields its pid."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        try:
            yield holder.pid
        finally:
            holder.kill()


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    catalog = Catalog(tmp_path)
    with catalog.write():
        pass
    return catalog


def put(catalog: Catalog, uri: str) -> None:
    with catalog.write() as connection:
        facts = {"container": "c", "reason": "r", "partition": "p", "transient": False}
        insert(connection, "failures", {"uri": [uri], **facts})


def uris(catalog: Catalog) -> list[str]:
    with catalog.read() as connection:
        return [uri for (uri,) in connection.execute("SELECT uri FROM failures").fetchall()]


def test_a_visit_is_one_transaction(catalog: Catalog) -> None:
    put(catalog, "kept")
    with pytest.raises(ZeroDivisionError), catalog.write() as connection:
        facts = {"container": "c", "reason": "r", "partition": "p", "transient": False}
        insert(connection, "failures", {"uri": ["lost"], **facts})
        _ = 1 / 0
    assert uris(catalog) == ["kept"]


def test_a_killed_writer_leaves_nothing_of_its_transaction(catalog: Catalog) -> None:
    put(catalog, "kept")
    code = (
        "import sys; from pathlib import Path; from index.catalog import Catalog, insert\n"
        "from tests.index.helpers import die\n"
        "with Catalog(Path(sys.argv[1])).write() as connection:\n"
        "    names = {'uri': [str(i) for i in range(200_000)]}\n"
        "    facts = {'container': 'c', 'reason': 'r', 'partition': 'p', 'transient': False}\n"
        "    insert(connection, 'failures', {**names, **facts})\n"
        "    die()\n"
    )
    command = [sys.executable, "-c", code, str(catalog.workspace)]
    assert subprocess.run(command, cwd=PROJECT, check=False).returncode == -9
    assert uris(catalog) == ["kept"]


def test_reading_writes_nothing(catalog: Catalog) -> None:
    with catalog.read() as connection, pytest.raises(duckdb.Error, match="read-only"):
        connection.execute("DELETE FROM images")


def test_without_a_catalog_the_remedy_is_named(tmp_path: Path) -> None:
    assert not Catalog(tmp_path).exists()
    said = pytest.raises(WorkspaceError, match="no catalog at .*: run `kdcurate build-index")
    with said, Catalog(tmp_path).read():
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_busy_catalog_names_its_holder(catalog: Catalog) -> None:
    with held(catalog.path) as pid:
        for visit in (catalog.read, catalog.write):
            said = pytest.raises(CatalogBusyError, match=rf"held open by process {pid} \(.*python")
            with said, visit(patience_s=0.1):
                pass
    put(catalog, "free again")
    assert uris(catalog) == ["free again"]


def test_readers_do_not_keep_each_other_out(catalog: Catalog) -> None:
    with held(catalog.path, "read") as pid:
        assert uris(catalog) == []
        said = pytest.raises(CatalogBusyError, match=str(pid))
        with said, catalog.write(patience_s=0.1):
            pass


@pytest.mark.parametrize("folder", ["ws", "blocks", "Could not set padlock"])
@pytest.mark.parametrize("garbage", [b"", b"<html>", b"\0" * 20_000])
def test_a_damaged_catalog_is_named_and_not_waited_for(
    tmp_path: Path, folder: str, garbage: bytes
) -> None:
    catalog = Catalog(tmp_path / folder)
    catalog.workspace.mkdir()
    catalog.path.write_bytes(garbage)
    for visit in (catalog.read, catalog.write):
        with pytest.raises(WorkspaceError, match=r"catalog\.duckdb") as caught, visit():
            pass
        assert not isinstance(caught.value, CatalogBusyError)
        assert "\n" not in str(caught.value)
    assert catalog.path.read_bytes() == garbage


def test_a_newer_schema_is_refused(catalog: Catalog) -> None:
    with catalog.write() as connection:
        connection.execute("INSERT INTO kdcurate_schema VALUES (999, now())")
    for visit in (catalog.read, catalog.write):
        said = pytest.raises(WorkspaceError, match=r"newer kdcurate \(schema 999.*upgrade")
        with said, visit():
            pass


def test_an_older_schema_is_brought_up_to_date_by_reading_and_by_writing(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path)
    duckdb.connect(catalog.path).close()
    assert uris(catalog) == []
    catalog.path.unlink()
    duckdb.connect(catalog.path).close()
    put(catalog, "x")
    assert uris(catalog) == ["x"]


def test_a_catalog_without_references_keeps_its_estimates(tmp_path: Path) -> None:
    """As version 2 left it: shifts had no reference, and manifest_shift asked for none."""
    scripts = PROJECT / "index" / "catalog" / "migrations"
    catalog = Catalog(tmp_path)
    with duckdb.connect(catalog.path) as connection:
        connection.execute("CREATE TABLE kdcurate_schema (version INTEGER, applied_at TIMESTAMPTZ)")
        for number, name in enumerate(("0001_first.sql", "0002_views.sql"), 1):
            connection.execute((scripts / name).read_text("utf-8"))
            connection.execute("INSERT INTO kdcurate_schema VALUES (?, now())", [number])
        connection.execute("INSERT INTO shifts VALUES (7, 'net', 'bn_shift', 0.5)")
        facts = "('m', 'h', 'msp', '{}', 'net', NULL, NULL, NULL, 0, 1, 1, 1, '{}', '1', now())"
        connection.execute(f"INSERT INTO manifests VALUES {facts}")
        row = "('m', 7, true, 1, 0, 1, 0.9, NULL, MAP {}, 'selected')"
        connection.execute(f"INSERT INTO decisions VALUES {row}")
    assert uris(catalog) == []  # whoever looks first upgrades it
    with catalog.write() as connection:
        connection.execute("INSERT INTO shifts VALUES (7, 'net', 'knn', 2, 'other')")
    with catalog.read() as connection:
        stored = connection.execute("SELECT * FROM shifts ORDER BY estimator").fetchall()
        shown = connection.execute("SELECT estimator, pool_mean FROM manifest_shift").fetchall()
        decided = connection.execute("SELECT manifest, image_id, why FROM decisions").fetchall()
        bare = connection.execute(
            "SELECT table_name, column_name FROM duckdb_columns() WHERE comment IS NULL "
            "AND NOT internal"
        ).fetchall()
    assert stored == [(7, "net", "bn_shift", 0.5, None), (7, "net", "knn", 2.0, "other")]
    assert shown == [("bn_shift", 0.5)]
    assert decided == [("m", 7, "selected")]
    assert bare == []


def test_two_first_writers_make_one_catalog(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from index.catalog import Catalog, insert\n"
        "with Catalog(Path(sys.argv[1])).write() as connection:\n"
        "    facts = {'container': '', 'reason': '', 'partition': '', 'transient': False}\n"
        "    insert(connection, 'failures', {'uri': [sys.argv[2]], **facts})"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(i)], cwd=PROJECT)
        for i in range(3)
    ]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert sorted(uris(Catalog(tmp_path))) == ["0", "1", "2"]


def test_every_table_and_view_is_explained(catalog: Catalog) -> None:
    with catalog.read() as connection:
        tables = connection.execute(
            "SELECT table_name, comment FROM duckdb_tables() UNION ALL "
            "SELECT view_name, comment FROM duckdb_views() WHERE NOT internal"
        ).fetchall()
    assert {"images", "locations", "failures", "vectors", "selected"} <= {
        name for name, _ in tables
    }
    assert [name for name, comment in tables if not comment] == []


def test_a_network_is_recorded_once(catalog: Catalog) -> None:
    for classes in (["a", "b"], None):
        register_model(catalog, "net-1", "tests:net", '{"x": 1}', classes)
    with catalog.read() as connection:
        found = connection.execute("SELECT key, architecture, classes FROM models").fetchall()
    assert found == [("net-1", "tests:net", ["a", "b"])]


def test_names_of_classes_are_those_last_given_and_change_nothing_else(catalog: Catalog) -> None:
    when = "SELECT added_at FROM models"
    register_model(catalog, "net-1", "tests:net", "{}", ["a", "b"])
    with catalog.write() as connection:
        before = connection.execute(when).fetchall()
        for estimator in ("clip_text", "bn_shift"):
            connection.execute("INSERT INTO shifts VALUES (7, 'net-1', ?, 0.5, NULL)", [estimator])
    register_model(catalog, "net-1", "tests:net", "{}", ["b", "a"])
    with catalog.read() as connection:
        assert connection.execute("SELECT classes FROM models").fetchall() == [(["b", "a"],)]
        assert connection.execute(when).fetchall() == before
        assert connection.execute("SELECT estimator FROM shifts").fetchall() == [("bn_shift",)]


big = st.integers(-(2**63), 2**63 - 1)
a_row = st.tuples(
    big,
    st.floats(allow_nan=False),
    st.text(),
    st.one_of(st.none(), st.text()),
    st.binary(),
    st.booleans(),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(a_row, max_size=30))
def test_rows_come_out_as_they_went_in(rows: list[tuple[Any, ...]]) -> None:
    names = ("i", "f", "t", "maybe", "b", "flag")
    with duckdb.connect() as connection:
        connection.execute(
            "CREATE TABLE t (i BIGINT, f DOUBLE, t VARCHAR, maybe VARCHAR, b BLOB, flag BOOLEAN)"
        )
        columns = {name: [row[k] for row in rows] for k, name in enumerate(names)}
        insert(connection, "t", columns)
        assert connection.execute("FROM t").fetchall() == rows


@pytest.mark.parametrize("position", [0, 1, 2501, 4999])
def test_a_lone_value_among_many_empty_ones_is_kept(position: int) -> None:
    values: list[str | None] = [None] * 5000
    values[position] = '{"caption": "x"}'
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE t (n INTEGER, metadata JSON)")
        insert(connection, "t", {"n": np.arange(5000), "metadata": values})
        found = connection.execute("SELECT * FROM t WHERE metadata IS NOT NULL").fetchall()
    assert found == [(position, values[position])]


def test_replaced_rows_are_those_that_agree_on_all_keys() -> None:
    with duckdb.connect() as connection:
        connection.execute('CREATE TABLE t (a INTEGER, "b" VARCHAR, v INTEGER)')
        insert(connection, "t", {"a": [1, 1, 2], "b": ["x", "y", "x"], "v": 0})
        insert(connection, "t", {"a": [1, 3], "b": "x", "v": [7, 8]}, replace_on=["a", "b"])
        found = connection.execute("FROM t ORDER BY ALL").fetchall()
        assert found == [(1, "x", 7), (1, "y", 0), (2, "x", 0), (3, "x", 8)]
        assert one(connection, "SELECT count(*) FROM t WHERE v = ?", [0]) == (2,)
        assert one(connection, "FROM t WHERE v = 99") is None
