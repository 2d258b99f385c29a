"""What is refused of a run before networks are loaded and images are looked at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from distill.datafree import run as datafree
from distill.images import check_cache_budget
from distill.labelled import check_labelled, check_start
from distill.methods import find_method
from index.errors import UsageError
from index.names import LONGEST, check_name

if TYPE_CHECKING:
    from distill.networks import Card
    from distill.run import RunOptions


def check_run(options: RunOptions) -> RunOptions:
    """Return the options of a run, complete, if it could be begun with them.

    Raises:
        DataError: what to evaluate on is not there.
        UsageError: a value that makes no sense, no such method, or a run name that is a path,
            empty, or too long.
    """
    options.train.check()
    check_cache_budget(options.cache_budget_gib)
    options = datafree.complete(options)
    refuse_rounds(options)
    if options.evaluate_on:
        check_labelled(options.evaluate_on)
    name = options.name
    check_name("--run", name, longest=LONGEST)
    if name is not None and (Path(name).name != name or name == ".."):
        raise UsageError(f"--run {name!r} is a path: give a name, without slashes")
    return options


def check_evaluated(source: str | None, card: Card, classes: int, *, fetch: bool = True) -> None:
    """Read the start of what a student of this teacher's card is to be evaluated on, if anything.

    A label that is no class would be found by the evaluation, after the whole training. `fetch`
    tells whether what has to be downloaded is, as it is not to plan a run.

    Raises:
        DataError, UsageError: see `distill.labelled.check_start`.
    """
    if source:
        check_start(source, card.input.view(), card.classes, classes, fetch=fetch)


def refuse_rounds(options: RunOptions) -> None:
    """Refuse rounds for a method that is told to train on one selection.

    Raises:
        UsageError: `options` ask for both, or the method does not take its options.
    """
    if datafree.complete(options).manifest is None:
        return
    method = find_method(options.method)
    parsed = method.parse_options(options.method_options)
    if options.train.rounds and method.selects_once(parsed):
        raise UsageError(
            f"--method {options.method} --without dynamic trains on one selection, and --rounds "
            f"{options.train.rounds} re-selects: leave one of them out"
        )
