"""Opening DuckDB: the one place that does."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from index.quoting import literal


def connect(
    path: Path | str = ":memory:", *, read_only: bool = False, **config: Any
) -> duckdb.DuckDBPyConnection:
    """Open a database, without the progress bar that DuckDB draws on stdout after two seconds.

    A command's stdout is data: a worker's slow query would draw it there, before the JSON. DuckDB
    draws it where it takes Python for interactive, as in a process without a script of its own.

    Args:
        path: of the file; without one, the database is in memory.
        read_only: whether others may read it at the same time, and nobody write.
        config: options of DuckDB's, such as `memory_limit`.

    Raises:
        duckdb.Error: it cannot be opened.
    """
    connection = duckdb.connect(path, read_only=read_only, config=config)
    connection.execute(_NO_BAR)
    return connection


@dataclass(frozen=True)
class Visit:
    """A file that is open; nothing holds it once `close` was called, which may be twice."""

    connection: duckdb.DuckDBPyConnection
    close: Callable[[], None]


def visit(path: Path, *, read_only: bool, memory_limit: str) -> Visit:
    """Open a file as `connect` does, but in an engine that this process keeps for the next visit.

    An engine registers thousands of functions, which takes ten times as long as opening the file.
    What does not fit into memory waits in `path`.tmp. Options that are set on the connection may
    outlive the visit: for such a one, call `connect`.

    Raises:
        duckdb.Error: it cannot be opened, or a visit of the other kind goes on in this process.
    """
    with _lock:
        key = (path.absolute(), memory_limit)
        if key not in _engines:
            _close_idle()
            base = connect(memory_limit=memory_limit, temp_directory=f"{key[0]}.tmp")
            _engines[key] = _Engine(base)
        engine = _engines[key]
        try:
            connection = engine.enter(path, read_only)
        except BaseException:  # Ctrl-C too
            _leave(key, engine)
            raise

    def close() -> None:
        with _lock:
            try:
                connection.close()
            finally:
                engine.visits -= 1
                _leave(key, engine)

    leaving = ExitStack()
    leaving.callback(close)
    return Visit(connection, leaving.close)


# Of one connection, not of the engine, and no option of `config`.
_NO_BAR = "SET enable_progress_bar = false"


@dataclass
class _Engine:
    """DuckDB without a database of its own, and the file while somebody visits it."""

    base: duckdb.DuckDBPyConnection
    read_only: bool = False
    visits: int = 0

    def enter(self, path: Path, read_only: bool) -> duckdb.DuckDBPyConnection:
        if self.visits == 0:
            options = "TYPE duckdb, READ_ONLY" if read_only else "TYPE duckdb, READ_WRITE"
            self.base.execute(f'ATTACH {literal(path)} AS "catalog" ({options})')
            self.read_only = read_only
        elif self.read_only != read_only:
            kind = "reads" if self.read_only else "writes"
            raise duckdb.ConnectionException(f"this process {kind} {path} at the same time")
        connection = self.base.cursor()
        connection.execute(f'{_NO_BAR}; USE "catalog"')
        self.visits += 1
        return connection


_engines: dict[tuple[Path, str], _Engine] = {}
_lock = threading.RLock()


def _leave(key: tuple[Path, str], engine: _Engine) -> None:
    """Let go of the file after the last visit; an engine that cannot is not used again."""
    if engine.visits:
        return
    try:
        engine.base.execute('DETACH DATABASE IF EXISTS "catalog"')
    except BaseException as error:
        _engines.pop(key, None)
        engine.base.close()
        # Of a full disk too: what was committed waits in the log beside the file.
        if not isinstance(error, duckdb.Error):
            raise


def _close_idle() -> None:
    for key, engine in list(_engines.items()):
        if not engine.visits:
            engine.base.close()
            del _engines[key]


def _forget() -> None:
    """In a forked child the engines' threads do not exist, and closing one would wait for them."""
    global _engines, _lock
    _abandoned.append(_engines)
    _engines, _lock = {}, threading.RLock()


_abandoned: list[object] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
