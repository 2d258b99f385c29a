"""Where a source lies: a local path, or a URL that fsspec opens. No URL is made, only followed."""

from __future__ import annotations

import datetime
import errno
import glob
import io
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, TypeVar
from urllib.parse import unquote

import duckdb
import fsspec

from index.database import connect
from index.sources.retries import Retries, TransientError, may_pass

Answer = TypeVar("Answer")
_URL = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)
_CHUNK = 1 << 20
_DOTS = (".", "..")
DOTTED = "its path has . or .. in it, which not every client reads alike: give the URL without"
# Request Timeout, Too Early, Too Many Requests; and whatever is the server's own fault.
_PASSING_STATUS = (408, 425, 429)
_GONE_STATUS = (404, 410)


@dataclass(frozen=True)
class Url:
    """As much of a `pathlib.Path` as sources need, for a URL; every error is an OSError."""

    text: str

    def __str__(self) -> str:
        return self.text

    def __truediv__(self, name: str) -> Place:
        return place(name) if is_url(name) else Url(_joined(self.text, name))

    @property
    def name(self) -> str:
        """Last piece of the path, without a query."""
        return self.text.partition("?")[0].rstrip("/").rpartition("/")[2]

    @property
    def suffix(self) -> str:
        """Suffix of the name."""
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> Url:
        """The URL up to the name."""
        return Url(self.text.partition("?")[0].rstrip("/").rpartition("/")[0])

    def with_suffix(self, suffix: str) -> Url:
        """Return the URL of the file beside it that differs in the suffix only."""
        return Url(f"{self.parent}/{PurePosixPath(self.name).with_suffix(suffix)}")

    @property
    def has_dots(self) -> bool:
        """Tell whether its path has `.` or `..` in it.

        Clients of HTTP resolve them and read another address; to object stores they are names.
        """
        return any(unquote(part) in _DOTS for part in self.text.partition("?")[0].split("/"))

    def is_dir(self) -> bool:
        """Tell whether files lie below it; of HTTP, by its look: a page of links is no folder."""
        if self._is_http():
            return self.text.endswith("/")
        return self._asked(lambda system, path: bool(system.isdir(path)))

    def is_file(self) -> bool:
        """Tell whether there is such a file."""
        if self._is_http():  # whose `isfile` takes an error of the server for an answer
            return self._asked(lambda system, path: bool(system.exists(path, strict=True)))
        return self._asked(lambda system, path: bool(system.isfile(path)))

    def open(self, mode: str = "rb") -> IO[bytes]:
        """Open for reading by byte ranges."""
        opened = self._asked(lambda system, path: system.open(path, mode))
        return io.BufferedReader(_Raw(self.text, opened), _CHUNK)

    def read_at_most(self, count: int) -> bytes:
        """Read a whole file, or more than `count` bytes of a longer one."""
        with _as_os_error(self.text) as (system, path):
            # Of HTTP, one request without ranges, which not every server knows.
            whole = {"block_size": 0} if self._is_http() else {}
            data = bytearray()
            with system.open(path, "rb", **whole) as file:
                while len(data) <= count and (chunk := file.read(_CHUNK)):
                    data += chunk
            return bytes(data)

    def facts(self) -> tuple[str, int, str]:
        """Return (URL, size or -1, what changes with its content: time, ETag, ...)."""
        return self._asked(lambda system, path: _facts(self.text, system.info(path)))

    def files(self) -> list[tuple[str, int, str]]:
        """List the facts of what lies below it, in the order of the names, as the listing has them.

        HTTP lists names only: asking for each file would take longer than reading it.
        """

        def found(system: Any, path: str) -> list[tuple[str, int, str]]:
            system.ls(path, detail=False)  # `find` is silent about a folder it cannot list
            below = system.find(path, detail=True)
            return [_facts(system.unstrip_protocol(name), below[name]) for name in sorted(below)]

        return self._asked(found)

    def matching(self) -> list[Url]:
        """List the files whose URL this one is a pattern of."""
        return self._asked(
            lambda system, path: [
                Url(system.unstrip_protocol(name)) for name in sorted(system.glob(path))
            ]
        )

    def _is_http(self) -> bool:
        return self.text.lower().startswith("http")

    def _asked(self, ask: Callable[[Any, str], Answer]) -> Answer:
        """Ask its file system, again where a failure may pass."""

        def once() -> Answer:
            with _as_os_error(self.text) as (system, path):
                return ask(system, path)

        return Retries()(once)


Place = Path | Url


def _facts(url: str, info: dict[str, Any]) -> tuple[str, int, str]:
    marks = ("mtime", "ETag", "etag", "LastModified", "Last-Modified", "created", "md5Hash")
    stamp = [str(info[mark]) for mark in marks if mark in info]
    return url, int(info.get("size") or -1), " ".join(stamp)


def _joined(folder: str, name: str) -> str:
    """Join a relative path, with its `.` and `..` resolved as far as the host or bucket."""
    scheme, _, rest = folder.partition("://")
    path, *query = name.lstrip("/").partition("?")
    parts = rest.rstrip("/").split("/")
    for part in path.split("/"):
        if part == ".." and len(parts) > 1 and parts[-1] != "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return f"{scheme}://{'/'.join(parts)}{''.join(query)}"


def is_url(name: str) -> bool:
    """Tell whether this is a URL, such as s3://bucket/shards."""
    return _URL.match(name) is not None


def place(name: str) -> Place:
    """Return where this name points."""
    return Url(name) if is_url(name) else Path(name)


# What DuckDB reads of a Parquet file that `tables` opened, here with the number of each row. Hive
# partitioning would read columns out of folder names such as image=1/.
FILE = "read_parquet(?, hive_partitioning = false)"
NUMBERED = "read_parquet(?, hive_partitioning = false, file_row_number = true)"


@contextmanager
def tables(where: Place) -> Iterator[tuple[duckdb.DuckDBPyConnection, str]]:
    """Open DuckDB for one file; yield the connection and the name of the file in it."""
    with connect() as connection:
        if isinstance(where, Path):
            # To DuckDB, `a[1].parquet` is a pattern that `a1.parquet` matches.
            yield connection, glob.escape(str(where))
            return
        connection.register_filesystem(_OneFile(where))
        yield connection, "kdcurate://file"


def not_fetched(error: duckdb.Error) -> bool:
    """Tell whether the file of `tables` failed DuckDB, and not what stands in it."""
    return "Traceback (most recent call last)" in str(error)


def said_by(error: duckdb.Error) -> str:
    """Return DuckDB's message in one line, and no traceback of what could not be fetched."""
    return "it cannot be fetched" if not_fetched(error) else " ".join(str(error).split())


class _OneFile(fsspec.AbstractFileSystem):  # type: ignore[misc]
    """A file system of one file: DuckDB sees no other, neither by a pattern nor by a name."""

    protocol = "kdcurate"
    cachable = False

    def __init__(self, url: Url) -> None:
        super().__init__()
        self._url = url

    def glob(self, path: str, **_: Any) -> list[str]:
        return [path]

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        return {"name": path, "size": self._url.facts()[1], "type": "file"}

    def exists(self, path: str, **_: Any) -> bool:
        return True

    def isdir(self, path: str) -> bool:
        return False

    def modified(self, path: str) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(0, datetime.UTC)

    def open(self, path: str, mode: str = "rb", **_: Any) -> Any:
        return self._url.open()


class _Raw(io.RawIOBase):
    def __init__(self, url: str, file: Any) -> None:
        self._url, self._file = url, file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        with _as_os_error(self._url):
            self._file.seek(offset, whence)
        return self.tell()

    def tell(self) -> int:
        return int(self._file.tell())

    def readinto(self, buffer: Any) -> int:
        with _as_os_error(self._url):
            data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


@contextmanager
def _as_os_error(url: str) -> Iterator[tuple[Any, str]]:
    """Yield fsspec's file system and path; what its clients raise becomes an OSError of one line.

    So does a scheme that fsspec does not know, or for which a package is missing.
    """
    try:
        system, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        said = " ".join(str(error).split())[:200]
        raise OSError(errno.EPROTONOSUPPORT, said, url) from error
    try:
        yield system, path
    except Exception as error:  # each client has its own errors
        raise _translated(error, url) from error


def _translated(error: Exception, url: str) -> OSError:
    if isinstance(error, FileNotFoundError):
        # fsspec says so of HTTP whatever happened, and keeps what did as the cause.
        if isinstance(error.__cause__, Exception):
            return _translated(error.__cause__, url)
        return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), url)
    status = getattr(error, "status", None)
    if status in _GONE_STATUS:
        return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), url)
    said = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    if isinstance(status, int):
        passing = status in _PASSING_STATUS or status >= 500
    elif isinstance(error, OSError) and error.errno is not None:
        passing = may_pass(error)
    else:  # a URL that no client can make sense of stays so; the rest are lost connections
        passing = not isinstance(error, (ValueError, TypeError, LookupError, NotImplementedError))
    return TransientError(errno.EIO, said, url) if passing else OSError(errno.EPROTO, said, url)
