"""Short, exclusive visits to the DuckDB file: open, do, close."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import resources
from pathlib import Path

import duckdb
from filelock import FileLock

from index.catalog.rows import one
from index.database import Visit, connect, visit
from index.errors import CatalogBusyError, WorkspaceError
from index.files import atomic_path, is_out_of_space, out_of_space, remove_leftovers
from index.quoting import literal

FILE_NAME = "catalog.duckdb"
READ_PATIENCE_S = 30.0
WRITE_PATIENCE_S = 300.0
# DuckDB would take most of the machine's memory for pages it has read; beyond this it spills into
# catalog.duckdb.tmp.
MEMORY_LIMIT = "512MB"
# On Linux and macOS, and on Windows; a path that happens to hold the word is not meant.
_LOCKED = re.compile(r"(?i)could not set lock|conflicting lock|used by another process")


class Catalog:
    """The catalog of a workspace.

    DuckDB lets no second process in while one has the file open for writing. So no connection
    outlives one `read` or `write` block, and nothing is computed inside one.
    """

    def __init__(self, workspace: Path) -> None:
        """Name the workspace; nothing is opened or created yet."""
        self.workspace = workspace
        self.path = workspace / FILE_NAME

    def exists(self) -> bool:
        """Tell whether the workspace has a catalog."""
        return self.path.is_file()

    @contextmanager
    def read(
        self, patience_s: float = READ_PATIENCE_S, *, alone: bool = False
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open read-only, beside any number of other readers; an older schema is upgraded first.

        Args:
            patience_s: how long to wait for another process that writes.
            alone: whether options may be set on the connection, which no other visit then sees.

        Raises:
            WorkspaceError: there is no catalog here, or it is damaged or of a newer version.
            CatalogBusyError: another process still writes after `patience_s` seconds.
        """
        if not self.exists():
            raise WorkspaceError(
                f"no catalog at {self.path}: run `kdcurate build-index SOURCE -w {self.workspace} "
                "--embedder CARD-or-SPEC`"
            )
        opened = self._open(read_only=True, patience_s=patience_s, alone=alone)
        try:
            if _version_of(opened.connection, self.path) < _newest():
                opened.close()
                with self.write(patience_s):
                    pass
                opened = self._open(read_only=True, patience_s=patience_s, alone=alone)
            yield opened.connection
        finally:
            opened.close()

    def write_parquet(
        self, query: str, path: Path, parameters: Mapping[str, object] | None = None
    ) -> None:
        """Write what a query with named parameters answers to a Parquet file; errors as `read`."""
        with self.read() as connection:
            copy = f"COPY ({query}) TO {literal(path)} (FORMAT parquet)"
            connection.execute(copy, dict(parameters or {}))

    @contextmanager
    def write(self, patience_s: float = WRITE_PATIENCE_S) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open for one transaction: committed at the end of the block, or rolled back.

        Creates the file and brings its schema up to date.

        Raises:
            CatalogBusyError: another process holds the file after `patience_s` seconds.
            WorkspaceError: the disk is full, or the file is damaged or of a newer version.
        """
        self._create()
        opened = self._open(read_only=False, patience_s=patience_s)
        connection = opened.connection
        try:
            try:
                _migrate(connection, self.path)
                connection.begin()
                yield connection
                connection.commit()
            except BaseException as error:
                _roll_back(connection)
                if isinstance(error, duckdb.Error) and is_out_of_space(error):
                    raise out_of_space(self.path) from error
                raise
        finally:
            opened.close()

    def _create(self) -> None:
        """A catalog is whole or absent: a killed first run leaves no file without a schema."""
        self.workspace.mkdir(parents=True, exist_ok=True)
        if self.exists():
            return
        with FileLock(self.workspace / ".create.lock"):
            if self.exists():  # made by another process meanwhile
                return
            remove_leftovers(self.workspace)
            with atomic_path(self.path) as temporary:
                connection = connect(temporary)
                try:
                    _migrate(connection, self.path)
                    # Closing does it too, but is silent where the disk is full.
                    connection.execute("CHECKPOINT")
                finally:
                    connection.close()
                    Path(f"{temporary}.wal").unlink(missing_ok=True)

    def _open(self, *, read_only: bool, patience_s: float, alone: bool = False) -> Visit:
        deadline = time.monotonic() + patience_s
        pause = 0.01
        while True:
            try:
                if alone:
                    own = connect(self.path, read_only=read_only, memory_limit=MEMORY_LIMIT)
                    return Visit(own, own.close)
                return visit(self.path, read_only=read_only, memory_limit=MEMORY_LIMIT)
            except duckdb.IOException as error:
                if is_out_of_space(error):
                    raise out_of_space(self.path) from error
                if not _LOCKED.search(str(error)):
                    raise WorkspaceError(
                        f"cannot open {self.path}: {_first_line(error)}; restore it from a copy, "
                        "or move it away and run build-index again"
                    ) from error
                if time.monotonic() >= deadline:
                    raise CatalogBusyError(
                        f"{self.path} is held open by {_holder(error)}: close it there, "
                        "then run the same command again"
                    ) from error
                time.sleep(pause)
                pause = min(pause * 2, 0.5)
            except duckdb.Error as error:
                raise WorkspaceError(
                    f"{self.path} is not a readable catalog: {_first_line(error)}"
                ) from error


def _roll_back(connection: duckdb.DuckDBPyConnection) -> None:
    try:
        connection.rollback()
    except duckdb.Error:
        return  # the failure itself already ended the transaction


@cache
def _migrations() -> list[tuple[int, str]]:
    """Number and script of each; a catalog is opened often, and they do not change meanwhile."""
    folder = resources.files("index.catalog") / "migrations"
    found = [entry for entry in folder.iterdir() if entry.name.endswith(".sql")]
    return sorted((int(entry.name[:4]), entry.read_text("utf-8")) for entry in found)


def _version(connection: duckdb.DuckDBPyConnection) -> int:
    try:
        row = one(connection, "SELECT max(version) FROM kdcurate_schema")
    except duckdb.CatalogException:  # a file without a schema
        return 0
    return int(row[0]) if row else 0


def _newest() -> int:
    return _migrations()[-1][0]


def _version_of(connection: duckdb.DuckDBPyConnection, path: Path) -> int:
    version, newest = _version(connection), _newest()
    if version > newest:
        raise WorkspaceError(
            f"{path} was written by a newer kdcurate (schema {version}, this one knows {newest}): "
            "upgrade kdcurate"
        )
    return version


def _migrate(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    version = _version_of(connection, path)
    for number, script in _migrations():
        if number <= version:
            continue
        connection.begin()
        connection.execute(
            "CREATE TABLE IF NOT EXISTS kdcurate_schema "
            "(version INTEGER NOT NULL, applied_at TIMESTAMPTZ NOT NULL)"
        )
        connection.execute(script)
        connection.execute("INSERT INTO kdcurate_schema VALUES (?, now())", [number])
        connection.commit()


def _holder(error: Exception) -> str:
    found = re.search(r"held in (.+?) \(PID (\d+)\)", str(error))
    return f"process {found[2]} ({found[1]})" if found else "another process"


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
