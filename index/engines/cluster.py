"""The connection to Ray: made for one build, quiet, and its errors in one line."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from index.errors import ClusterError, KdcurateError, UsageError

# Before Ray is imported, or they are not heard: its C++ writes to stderr, and it reports its use.
_QUIET = {"RAY_BACKEND_LOG_LEVEL": "fatal", "RAY_USAGE_STATS_ENABLED": "0"}


def require_ray() -> None:
    """Import Ray Data.

    Raises:
        UsageError: it is not installed.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray.data  # noqa: F401
    except ImportError as error:
        raise UsageError("`--engine ray` needs Ray: pip install 'kdcurate[ray]'") from error


@contextmanager
def joined() -> Iterator[None]:
    """Be connected: to the cluster of RAY_ADDRESS, to one that runs here, or to one of its own.

    A connection that is there already is used, and stays.

    Raises:
        ClusterError: there is no cluster at RAY_ADDRESS.
    """
    import ray

    with _hushed("ray.data"):
        if ray.is_initialized():
            yield
            return
        address = os.environ.get("RAY_ADDRESS", "")
        try:
            _knock(address)
            ray.init(log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
        except (OSError, RuntimeError, ValueError) as error:
            place = f"RAY_ADDRESS={address}" if address else "this machine"
            raise ClusterError(f"no Ray cluster at {place}: {_first_line(error)}") from error
        try:
            yield
        finally:
            ray.shutdown()


@contextmanager
def plain_errors() -> Iterator[None]:
    """Raise what a worker raised on purpose as if it had been raised here.

    Raises:
        ClusterError: a worker raised something else, or Ray itself failed.
    """
    from ray.exceptions import RayError, RayTaskError

    try:
        yield
    except RayTaskError as error:
        cause = error.cause
        if isinstance(cause, KdcurateError):  # Ray adds lines of its own to the message
            raise type(cause)(_first_line(cause)) from error
        kind = type(cause).__name__
        raise ClusterError(f"a worker failed with {kind}: {_first_line(cause)}") from error
    except RayError as error:
        raise ClusterError(
            f"the Ray cluster failed ({_first_line(error)}): run the same command again"
        ) from error


def _knock(address: str) -> None:
    """Ray itself tries for many minutes to reach a HOST:PORT where nobody is."""
    host, _, port = address.rpartition(":")
    if port.isdigit() and "/" not in host:
        socket.create_connection((host, int(port)), timeout=10).close()


@contextmanager
def _hushed(name: str) -> Iterator[None]:
    """Keep a logger off the terminal; its files go on."""
    consoles = [h for h in logging.getLogger(name).handlers if isinstance(h, logging.StreamHandler)]
    levels = [handler.level for handler in consoles]
    for handler in consoles:
        handler.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for handler, level in zip(consoles, levels, strict=True):
            handler.setLevel(level)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
