"""Signals: what is known of each image beside logits, for strategies that need it."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable

from curate.fitted import fitted_names, needs_reference
from curate.metadata import is_metadata, key_of, number_of
from curate.places import FIRST_PLACES
from curate.shift import ESTIMATES, stored_estimates
from index.catalog import Catalog, literal
from index.errors import UsageError

# Columns of `images`; the estimates of `shifts` are those of the teacher. Beside these there is
# `metadata.NAME`, see `curate.metadata`.
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


def check_needs(catalog: Catalog, teacher: str, strategy: str, needs: Collection[str]) -> None:
    """Check that there are the signals that a strategy needs.

    Raises:
        UsageError: a signal that there is not, or an estimate that this teacher does not have.
    """
    stored = stored_estimates(catalog, teacher) if needs else []
    for name in needs:
        if is_metadata(name):
            continue
        if name not in SIGNALS:
            near = difflib.get_close_matches(name, SIGNALS, n=1) or SIGNALS
            raise UsageError(f"{strategy} needs {name!r}, which is not among {', '.join(near)}")
        if name in ESTIMATES and name not in stored:
            raise UsageError(
                f"{strategy} needs {name}, which {teacher} does not have: {ESTIMATES[name]}"
            )


def signal_join(
    name: str, teacher: str, fit: str | None, alias: str
) -> tuple[str, str, dict[str, str]]:
    """Return SQL of a signal's value, of the join that brings it to rows `s` of `scores`, and
    the parameters of both.

    Of a fitted estimate only what was fitted on `fit` counts, see `curate.fitted.fitted_on`. Where
    an image has no value, it is NULL; of a number that came with the crawl, NaN.
    """
    if is_metadata(name):
        # The number is taken out before the join, which would hold every caption.
        numbers = f"SELECT image_id, {number_of('metadata', alias)} AS value FROM {FIRST_PLACES}"
        join = f"LEFT JOIN ({numbers}) {alias} ON {alias}.image_id = s.image_id"
        return f"coalesce({alias}.value, 'nan'::DOUBLE)", join, {alias: key_of(name)}
    if name in COLUMNS:
        join = f"LEFT JOIN images {alias} ON {alias}.id = s.image_id"
        return f"{alias}.{name}::FLOAT", join, {}
    known = "NULL" if fit is None else literal(fit)
    join = (
        f"LEFT JOIN shifts {alias} ON {alias}.image_id = s.image_id "
        f"AND {alias}.model = {literal(teacher)} AND {alias}.estimator = {literal(name)} "
        f"AND {alias}.reference IS NOT DISTINCT FROM {known}"
    )
    return f"{alias}.value::FLOAT", join, {}
