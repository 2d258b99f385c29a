"""Reading again what failed for a reason that may pass: a network drive, an overloaded server."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Callable
from typing import TypeVar

import duckdb

from index.errors import DataError

Result = TypeVar("Result")

_NAMES = (
    *("EIO", "ESTALE", "ETIMEDOUT", "EINTR", "EAGAIN", "EBUSY", "ENOLINK", "EREMOTEIO", "ENOTCONN"),
    *("ENETDOWN", "ENETUNREACH", "ENETRESET", "EHOSTDOWN", "EHOSTUNREACH"),
    *("ECONNRESET", "ECONNREFUSED", "ECONNABORTED", "EPIPE"),
)
_PASSING = {getattr(errno, name) for name in _NAMES if hasattr(errno, name)} | {socket.EAI_AGAIN}
_PAUSES_S = (0.1, 0.3)  # not longer: what fails then is read again by the next build
# Of one slice: where a whole drive is away, waiting for each of its files would take for ever.
_MOST_PAUSES_S = 10.0


class TransientError(OSError):
    """What a client of fsspec raised may pass; by its name it is known again in DuckDB's text."""


def may_pass(error: BaseException | None) -> bool:
    """Tell whether reading the same again later may do: the file itself need not be bad.

    Of a DataError what caused it decides.
    """
    error = _cause(error)
    if isinstance(error, OSError):
        return error.errno in _PASSING
    if isinstance(error, duckdb.Error):
        said = str(error)
        local = isinstance(error, duckdb.IOException) and any(
            os.strerror(code) in said for code in _PASSING if code > 0
        )
        return local or TransientError.__name__ in said
    return False


def may_be_over(error: DataError) -> bool:
    """Tell whether what kept a file from being opened may be over at the next build.

    It may, unless the file was read and found malformed: rights, memory and the number of open
    files are this machine's, and say nothing of the images.
    """
    cause = _cause(error)
    if isinstance(cause, (OSError, MemoryError, duckdb.IOException, duckdb.OutOfMemoryException)):
        return True
    return may_pass(cause)


def _cause(error: BaseException | None) -> BaseException | None:
    return error.__cause__ if isinstance(error, DataError) else error


class Retries:
    """Tries again, a few times with growing pauses, and with bounded pauses in all."""

    def __init__(self) -> None:
        self._left_s = _MOST_PAUSES_S

    def __call__(self, read: Callable[[], Result]) -> Result:
        """Return what `read` returns, at the first, second or third attempt.

        Raises:
            OSError: it failed for another reason, or once too often.
            duckdb.Error: likewise.
        """
        attempt = 0
        while True:
            try:
                return read()
            except (OSError, duckdb.Error) as error:
                if not self.waited(error, attempt):
                    raise
            attempt += 1

    def waited(self, error: Exception, attempt: int) -> bool:
        """Wait after a failed attempt (0 is the first) and return True, if one more may do."""
        if not may_pass(error) or attempt >= len(_PAUSES_S) or _PAUSES_S[attempt] > self._left_s:
            return False
        self._left_s -= _PAUSES_S[attempt]
        time.sleep(_PAUSES_S[attempt])
        return True
