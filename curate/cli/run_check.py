"""What `kdcurate run` refuses before its first step: by the checks of the commands themselves."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from curate.cli.arguments import pick_device
from curate.cli.build import index_options, source_options
from curate.cli.config import Config, Found
from curate.cli.select import select_options
from curate.cli.train_options import run_options
from curate.compact import check_mode
from curate.manifest import check_name
from curate.options import SelectOptions
from curate.precision import check_precision
from curate.query import check_timeout
from distill.checks import check_evaluated, check_run
from distill.corruptions import parse_corruptions
from distill.datafree.registry import is_data_free
from distill.labelled import check_labelled
from distill.networks import load_embedder
from distill.networks.card import resolve
from index.engines import check_engine
from index.errors import KdcurateError, UsageError
from index.files import check_target
from index.neighbours import choose_index
from index.sources import check

_OPTION = re.compile(r"(?<![\w-])--([a-z]+(?:-[a-z]+)*)")
_OF_POOL = {"reference", "logits"}  # of SelectOptions: what the pool says of itself
_PRINTING = {"workspace", "json", "dry_run"}


def check_config(config: Config) -> None:
    """Refuse what a step would refuse without looking at images, not after hours of embedding.

    Raises:
        KdcurateError: names the table and the key, or what is not there.
    """
    for key in ("teacher", "student"):
        with _placed(key):
            resolve(config.values[key])
    with _placed("sources"):
        check(config.values["sources"])
    for step, refuse in _CHECKS.items():
        if step in config.steps:
            with speaking_of(config, step, place=f"[{step}]: "):
                refuse(_parsed(config, step))
    _check_evaluated(config)


@contextmanager
def speaking_of(config: Config, step: str, *, place: str = "") -> Iterator[None]:
    """Let the errors of a step name keys of the file where they name options of the command.

    One that names none begins with the `place`.
    """
    try:
        yield
    except Exception as error:
        typed = hasattr(error, "format_message")  # of typer's, whose classes differ by version
        if not (typed or isinstance(error, KdcurateError)):
            raise
        spoken: Any = error
        said = spoken.format_message().rstrip(".") if typed else str(error)
        named = _with_keys(said, config.places(step))
        kind = UsageError if typed else type(error)
        raise kind(named if named != said else place + said) from error


@contextmanager
def _placed(key: str) -> Iterator[None]:
    """Say at which key, or as which option, the value stands that is refused."""
    try:
        yield
    except KdcurateError as error:
        raise type(error)(f"{key}: {error}") from error


def _with_keys(message: str, places: Mapping[str, str]) -> str:
    """Name keys in place of options, but not in a command to type, which stands in backticks."""
    parts = message.split("`")
    parts[::2] = [_OPTION.sub(lambda one: places.get(one[1], one[0]), part) for part in parts[::2]]
    return "`".join(parts)


def _parsed(config: Config, step: str) -> Mapping[str, Any]:
    """The values of all parameters of a step, as its command takes them from its line."""
    words = config.arguments(step, Found())
    parsed: Mapping[str, Any] = config.commands[step].make_context(step, words[1:]).params
    return parsed


def _check_build(given: Mapping[str, Any]) -> None:
    options = source_options(given["image_column"], given["formats"])
    check(given["sources"], options)
    check_engine(given["engine"])
    check_precision(given["precision"])
    device = pick_device(given["device"])
    card = resolve(given["embedder"])
    typed = (given[name] for name in ("index", "memory_budget", "seed", "recall"))
    settings = index_options(*typed).beside(None)
    settings.check()
    if given["index"] is not None:  # whether it can be made depends on the number of components
        choose_index(0, load_embedder(card, device=device).dim, settings)


def _check_select(given: Mapping[str, Any]) -> None:
    names = {field.name for field in fields(SelectOptions)} - _OF_POOL
    options = select_options(**{name: given[name] for name in names})
    check_timeout(given["where_timeout"], "--where-timeout")
    check_name(given["name"])
    student, reference = given["student"] is not None, given["reference"] or ()
    options.check_given(student=student, reference=bool(reference), index=True)
    with _placed("--reference"):
        check(reference)
    pick_device(given["device"])
    for network in filter(None, (given["teacher"], given["student"])):
        classes = resolve(network).class_count
        if given["logits"] is not None and classes is not None:
            check_mode(given["logits"], classes)


def _check_distill(given: Mapping[str, Any]) -> None:
    told = {name: value for name, value in given.items() if name not in _PRINTING}
    if is_data_free(method := given["method"]):
        raise UsageError(
            f"--method {method!r} makes its own images: train it with `kdcurate distill` alone"
        )
    check_run(run_options(**{**told, "device": pick_device(given["device"])}))


def _check_evaluate(given: Mapping[str, Any]) -> None:
    parse_corruptions(given["corrupt"] or [], given["seed"])
    with _placed("--data"):
        check_labelled(given["data"])
    pick_device(given["device"])
    if given["teacher"]:
        resolve(given["teacher"])
    if given["confusion"]:
        with _placed("--confusion"):
            check_target(Path(given["confusion"]))


def _check_evaluated(config: Config) -> None:
    """Read the start of the labelled data, once all else is in order.

    Where the teacher's card does not say how many classes there are, as of a network from a hub,
    the step itself does, before it trains.
    """
    data = [("evaluate", "--data", "data"), ("distill", "--eval", "evaluate_on")]
    given = {step: _parsed(config, step) for step, _, _ in data if step in config.steps}
    if not any(given[step][name] for step, _, name in data if step in given):
        return
    card = resolve(given["distill"]["teacher"])
    if card.class_count is None:
        return
    for step, option, name in data:
        if step in given:
            with speaking_of(config, step), _placed(option):
                check_evaluated(given[step][name], card, card.class_count, fetch=False)


_CHECKS: dict[str, Callable[[Mapping[str, Any]], None]] = {
    "build-index": _check_build,
    "select": _check_select,
    "evaluate": _check_evaluate,  # before distill, which evaluates on the same data
    "distill": _check_distill,
}
