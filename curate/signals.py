"""Signals: what is known of each image beside logits, for strategies that need it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from curate.shift import ESTIMATES, stored_estimates
from index.catalog import Catalog, literal
from index.errors import UsageError

# Columns of `images`; the estimates of `shifts` are those of the teacher.
COLUMNS = ("width", "height", "bytes")
SIGNALS = (*ESTIMATES, *COLUMNS)


def check_needs(catalog: Catalog, teacher: str, strategy: str, needs: Iterable[str]) -> None:
    """Check that the catalog has what a strategy needs.

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


def signal_join(name: str, teacher: str, alias: str) -> tuple[str, str]:
    """Return SQL of a signal's value, and of the join that brings it to rows `s` of `scores`.

    Where an image has no value, it is NULL.
    """
    if name in COLUMNS:
        return f"{alias}.{name}", f"LEFT JOIN images {alias} ON {alias}.id = s.image_id"
    return f"{alias}.value", (
        f"LEFT JOIN shifts {alias} ON {alias}.image_id = s.image_id "
        f"AND {alias}.model = {literal(teacher)} AND {alias}.estimator = {literal(name)}"
    )
