"""The options of a run, of what stands on `distill`'s command line."""

from __future__ import annotations

from typing import Any

from distill.datafree.registry import canonical, is_data_free, training_of
from distill.options import TrainOptions
from distill.run import RunOptions
from index.errors import UsageError


def run_options(
    *,
    manifest: str | None,
    teacher: str,
    student: str,
    method: str,
    preset: str | None,
    keep_images: int,
    option: list[str] | None,
    without: list[str] | None,
    evaluate_on: str | None,
    run: str | None,
    cache_budget: float,
    workers: int | None,
    epochs: int | None,
    batch_size: int | None,
    augment: str | None,
    hold_back: str | None,
    **train: Any,
) -> RunOptions:
    """Return what parameters of `distill` ask for; `train` are those that TrainOptions takes as is.

    Raises:
        UsageError: a value that cannot be read; `distill.checks.check_run` finds the others.
    """
    method = canonical(method)
    return RunOptions(
        manifest=manifest,
        teacher=teacher,
        student=student,
        method=method,
        train=TrainOptions(
            **training(method, preset, epochs=epochs, batch_size=batch_size, augment=augment),
            hold_back=None if hold_back is None else parse_share("--hold-back", hold_back),
            **train,
        ),
        method_options=parse_options(option or [], without or []),
        name=run,
        evaluate_on=evaluate_on,
        cache_budget_gib=cache_budget,
        workers=workers,
        preset=preset,
        keep_images=keep_images,
    )


def training(method: str, preset: str | None, **given: Any) -> dict[str, Any]:
    """Return the options of the training that are given, and a data-free method's own for others.

    Raises:
        UsageError: an unknown preset.
    """
    known = training_of(method, preset or "paper") if is_data_free(method) else {}
    return known | {name: value for name, value in given.items() if value is not None}


def parse_options(pairs: list[str], without: list[str]) -> dict[str, Any]:
    """Parse NAME=VALUE and the parts to leave out; the method checks names and types.

    Raises:
        UsageError: a pair without `=`.
    """
    options: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"--option {pair!r}: write NAME=VALUE, as temperature=4")
        options[name.strip()] = value.strip()
    return {**options, "without": sorted(set(without))} if without else options


def parse_share(option: str, text: str) -> float:
    """Parse a share of the images, as 5% or 0.05.

    Raises:
        UsageError: it is no number.
    """
    number = text.strip().removesuffix("%")
    try:
        return float(number) / (100 if number != text.strip() else 1)
    except ValueError:
        raise UsageError(f"{option} is {text!r}: give a share, as 5%") from None
