"""Visits to a database share an engine, and nothing else: no lock, no option, no table outlasts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from index.database import Visit, connect, visit

from .helpers import PROJECT

Open = Callable[[Path], Visit]
LIMIT = "64MiB"
WRITE = "import duckdb, sys; duckdb.connect(sys.argv[1]).execute('INSERT INTO t VALUES (2)')"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database whose name would end a string, with a table of one row."""
    folder = tmp_path / "it's"
    folder.mkdir()
    with connect(folder / "a.duckdb") as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS n")
    return folder / "a.duckdb"


def reading(path: Path) -> Visit:
    return visit(path, read_only=True, memory_limit=LIMIT)


def writing(path: Path) -> Visit:
    return visit(path, read_only=False, memory_limit=LIMIT)


def rows(opened: Visit, query: str = "SELECT n FROM t ORDER BY n") -> list[tuple[object, ...]]:
    return opened.connection.execute(query).fetchall()


def another_writes(path: Path) -> bool:
    """Tell whether another process may write a row."""
    command = [sys.executable, "-c", WRITE, str(path)]
    return subprocess.run(command, capture_output=True, cwd=PROJECT).returncode == 0


def test_the_file_is_free_when_the_last_visit_is_over(path: Path) -> None:
    first, second = reading(path), reading(path)
    assert rows(first) == rows(second) == [(1,)]
    second.close()
    assert rows(first) == [(1,)]
    assert not another_writes(path)
    first.connection.execute("FROM t")  # a result that nobody fetches
    first.close()
    assert another_writes(path)
    third = reading(path)
    assert rows(third) == [(1,), (2,)]
    third.close()


def test_closing_twice_is_closing(path: Path) -> None:
    first, second = reading(path), reading(path)
    first.close()
    first.close()
    assert rows(second) == [(1,)]
    second.close()
    with pytest.raises(duckdb.ConnectionException):
        rows(second)


def test_what_was_written_is_in_the_file_itself(path: Path) -> None:
    opened = writing(path)
    opened.connection.execute("INSERT INTO t VALUES (5)")
    opened.close()
    assert list(path.parent.iterdir()) == [path]
    with connect(path, read_only=True) as connection:
        assert connection.execute("SELECT n FROM t ORDER BY n").fetchall() == [(1,), (5,)]


def test_what_was_not_committed_is_not_kept(path: Path) -> None:
    opened = writing(path)
    opened.connection.begin()
    opened.connection.execute("INSERT INTO t VALUES (5)")
    opened.close()
    opened = reading(path)
    assert rows(opened) == [(1,)]
    opened.close()


@pytest.mark.parametrize(("first", "then"), [(reading, writing), (writing, reading)])
def test_nobody_reads_while_this_process_writes(path: Path, first: Open, then: Open) -> None:
    opened = first(path)
    with pytest.raises(duckdb.ConnectionException, match="at the same time"):
        then(path)
    assert rows(opened) == [(1,)]
    opened.close()
    then(path).close()


def test_tables_of_a_visit_are_its_own(path: Path) -> None:
    first, second = reading(path), reading(path)
    first.connection.execute("CREATE TEMP TABLE mine AS SELECT 1")
    for opened in (second, third := reading(path)):
        with pytest.raises(duckdb.CatalogException, match="mine"):
            rows(opened, "FROM mine")
    for opened in (first, second, third):
        opened.close()


def test_a_file_that_is_none_is_refused_each_time_and_then_read_where_it_was_mended(
    path: Path,
) -> None:
    whole = path.read_bytes()
    path.write_bytes(b"<html>")
    for _ in range(2):
        with pytest.raises(duckdb.Error):
            reading(path)
    path.write_bytes(whole)
    opened = reading(path)
    assert rows(opened) == [(1,)]
    opened.close()


def test_the_same_file_is_meant_from_another_folder(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, name in ((path.parent, "a.duckdb"), (path.parent.parent, "it's/a.duckdb")):
        monkeypatch.chdir(folder)
        opened = reading(Path(name))
        assert rows(opened) == [(1,)]
        opened.close()


def test_each_file_spills_beside_itself_and_keeps_to_its_memory(path: Path) -> None:
    other = path.with_name("b.duckdb")
    first, second = reading(path), visit(other, read_only=False, memory_limit="77MiB")
    asked = "SELECT current_setting('temp_directory'), current_setting('memory_limit')"
    assert rows(first, asked) == [(f"{path}.tmp", "64.0 MiB")]
    assert rows(second, asked) == [(f"{other}.tmp", "77.0 MiB")]
    assert rows(first) == [(1,)]
    first.close()
    second.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_has_an_engine_of_its_own(path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from index.database import visit\n"
        "def read():\n"
        f"    opened = visit(Path(sys.argv[1]), read_only=True, memory_limit='{LIMIT}')\n"
        "    found = opened.connection.execute('SELECT n FROM t').fetchall()\n"
        "    opened.close()\n"
        "    return found\n"
        "read()\n"
        "child = os.fork()\n"
        "if not child: os._exit(0 if read() == [(1,)] else 1)\n"
        "sys.exit(os.waitpid(child, 0)[1])\n"
    )
    command = [sys.executable, "-c", code, str(path)]
    subprocess.run(command, cwd=PROJECT, check=True, timeout=120)
