"""Every error that kdcurate raises on purpose.

    KdcurateError                the command failed (exit code 1)
    ├── UsageError               an option or a combination of options makes no sense (exit code 2)
    ├── NothingSelectedError     nothing to do or nothing selected (exit code 3)
    ├── DataError                an input file is missing or cannot be read
    ├── WorkspaceError           the catalog or a part is missing, damaged, or of another version
    │   └── CatalogBusyError     another process holds the catalog open
    ├── QueryLimitError          a query takes more time, memory or disk than it may
    ├── ClusterError             machines that work together failed, or do not see the same files
    ├── NetworkError             an architecture, card, or weight file does not fit
    └── MethodError              a distillation method does not fit a network

A message says in one line what happened, to which file, and what to do.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Collection, Iterable, Set

_DIGITS = re.compile("[0-9]{1,9}")


class KdcurateError(Exception):
    """Base of every error with a message meant for the user."""

    exit_code = 1


class UsageError(KdcurateError):
    """An option, or a combination of options, that makes no sense."""

    exit_code = 2


class NothingSelectedError(KdcurateError):
    """The work ended with nothing to do or nothing selected."""

    exit_code = 3


class DataError(KdcurateError):
    """An input file that is missing or cannot be read."""


class WorkspaceError(KdcurateError):
    """A catalog or part file that is missing, damaged, or of another version."""


class CatalogBusyError(WorkspaceError):
    """Another process holds the catalog open; the message names it."""


class QueryLimitError(KdcurateError):
    """A query that takes more time, memory or disk than it may."""


class ClusterError(KdcurateError):
    """Machines that work together failed, or do not see the same files."""


class NetworkError(KdcurateError):
    """An architecture, card, or weight file that does not fit."""


class MethodError(KdcurateError):
    """A distillation method that does not fit a network."""


def nearest(name: str, known: Collection[str]) -> str:
    """Return the end of a message about a name that is not known: the nearest, or all there are."""
    near = closest(name, known)
    listed = sorted(known) if isinstance(known, Set) else known
    return f"did you mean {near}?" if near else f"choose one of {', '.join(listed)}"


def closest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the known name that is most like a mistyped one, or None if none is like it.

    Of several that are as like, the one whose numbers differ least: of resnet21, resnet20.
    """
    names = list(known)
    near = difflib.get_close_matches(name, names, n=len(names) or 1, cutoff=cutoff)

    def likeness(one: str) -> float:
        return difflib.SequenceMatcher(None, one, name).ratio()

    return max(near, key=lambda one: (likeness(one), -_apart(name, one), one), default=None)


def _apart(name: str, other: str) -> float:
    """How far the numbers of two names are apart, if their letters are the same."""
    numbers, others = ([int(digits) for digits in _DIGITS.findall(one)] for one in (name, other))
    if _DIGITS.sub("0", name) != _DIGITS.sub("0", other):
        return math.inf
    return sum(abs(a - b) for a, b in zip(numbers, others, strict=True))
