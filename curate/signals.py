"""Signals: what is known of each image beside logits, for strategies that need it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from curate.fitted import fitted_names, needs_reference
from curate.shift import ESTIMATES, stored_estimates
from index.catalog import Catalog
from index.errors import UsageError, WorkspaceError
from index.parts import Ids

Floats = NDArray[np.float32]
# Columns of `images`; the estimates of `shifts` are those of the teacher.
COLUMNS = ("width", "height", "bytes")
SIGNALS = (*ESTIMATES, *fitted_names(), *COLUMNS)


def check_reference(strategy: str, needs: Iterable[str], *, given: bool) -> None:
    """Check that a reference set is given where an estimate is fitted to one.

    Raises:
        UsageError: there is none.
    """
    for name in needs:
        if needs_reference(name) and not given:
            what = strategy if name == strategy else f"{strategy} needs {name}, which"
            raise UsageError(f"{what} needs a reference set: give --reference SOURCE")


def check_needs(catalog: Catalog, teacher: str, strategy: str, needs: Iterable[str]) -> None:
    """Check that there are the signals that a strategy needs.

    Raises:
        UsageError: a signal that there is not, or an estimate that this teacher does not have.
    """
    stored = stored_estimates(catalog, teacher)
    for name in needs:
        if name not in SIGNALS:
            near = difflib.get_close_matches(name, SIGNALS, n=1) or SIGNALS
            raise UsageError(f"{strategy} needs {name!r}, which is not among {', '.join(near)}")
        if name in ESTIMATES and name not in stored:
            raise UsageError(
                f"{strategy} needs {name}, which {teacher} does not have: {ESTIMATES[name]}"
            )


def gather_signals(
    catalog: Catalog, teacher: str, names: Iterable[str], ids: Ids, reference: str | None = None
) -> dict[str, Floats]:
    """Return the signals of the images `ids`, (n,) each, in their order.

    Estimates by a reference are those of the set with the key `reference`, of no other.

    Raises:
        WorkspaceError: an image has not all of them.
    """
    with catalog.read() as connection:
        connection.register("wanted", {"image_id": ids, "place": np.arange(len(ids))})
        return {name: _gather(connection, teacher, name, ids, reference) for name in names}


def _gather(
    connection: duckdb.DuckDBPyConnection,
    teacher: str,
    name: str,
    ids: Ids,
    reference: str | None,
) -> Floats:
    query, parameters = f"SELECT {name} FROM wanted JOIN images ON id = image_id", list[Any]()
    if name not in COLUMNS:
        query = (
            "SELECT value FROM wanted JOIN shifts USING (image_id) WHERE model = ? "
            "AND estimator = ? AND reference IS NOT DISTINCT FROM ?"
        )
        parameters = [teacher, name, reference if needs_reference(name) else None]
    found = connection.execute(f"{query} ORDER BY place", parameters).fetchnumpy()
    (values,) = found.values()
    if len(values) != len(ids):
        raise WorkspaceError(f"not every image has its {name}: run the same command again")
    return np.asarray(values, dtype=np.float32)
