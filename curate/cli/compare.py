"""kdcurate compare."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from curate.cli.arguments import Device, DryRun, Json, Workers, Workspace, pick_device
from curate.cli.output import TerminalProgress, note, print_csv, print_json, print_table

if TYPE_CHECKING:
    from curate.comparing import Grid

_PLANNED = ("method", "selection", "rounds", "seed", "manifest", "selected", "run", "finished")

AUGMENT_HELP = (
    "As in `distill`; methods that make their own images are augmented as `distill` does it where "
    "nothing is given."
)


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("compare")(compare)


def compare(
    teacher: Annotated[str, typer.Option(help="Card (.toml) or spec of the teacher.")],
    student: Annotated[str, typer.Option(help="Spec or card of the student, in every row.")],
    methods: Annotated[str, typer.Option(help="Of distillation, with commas: kd,kd3.")],
    evaluate_on: Annotated[
        str, typer.Option("--eval", help="Labelled data, as `evaluate --data`.")
    ],
    strategies: Annotated[
        str,
        typer.Option(help="Of selection, with commas: msp,kd3; each with every method."),
    ] = "",
    manifests: Annotated[
        str, typer.Option(help="Manifests that are there already, as further rows: a,b.")
    ] = "",
    baseline: Annotated[
        bool, typer.Option(help="Rows of --budget random images beside the others.")
    ] = True,
    rounds: Annotated[
        int,
        typer.Option(help="Of each row of a kd3 selection a second one, with so many rounds."),
    ] = 0,
    alpha_floor: Annotated[float, typer.Option(help="Of those rounds, as in `distill`.")] = 0.0,
    without: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PART",
            help="Of kd3 further rows without this part of it; repeatable.",
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Trainings of each row, with the seeds 0, 1, ...")] = 3,
    max_steps: Annotated[int, typer.Option(help="Steps of every training: all have the same.")] = (
        1500
    ),
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="N|P%|auto", help="Images of every strategy, random too; see `select`."
        ),
    ] = None,
    balance: Annotated[str | None, typer.Option(help="As in `select`.")] = None,
    diversity: Annotated[str | None, typer.Option(help="As in `select`.")] = None,
    near_duplicates: Annotated[float | None, typer.Option(help="As in `select`.")] = None,
    where: Annotated[
        str | None, typer.Option(metavar="PREDICATE", help="As in `select`, for every strategy.")
    ] = None,
    where_timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="As in `select`, before anything is trained.")
    ] = 30,
    reference: Annotated[
        list[str] | None, typer.Option(metavar="SOURCE", help="As in `select`.")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Images a step.")] = 128,
    lr: Annotated[float | None, typer.Option(help="Peak; default: each method's.")] = None,
    schedule: Annotated[
        str | None, typer.Option(help="As in `distill`; default: each method's.")
    ] = None,
    augment: Annotated[str, typer.Option(help=AUGMENT_HELP)] = "crop",
    option: Annotated[
        list[str] | None, typer.Option(help="Of a method: METHOD.NAME=VALUE, as kd.temperature=4.")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="paper or fast: numbers of methods that make their own images."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Of the comparison in the catalog; default: from its terms.")
    ] = None,
    workspace: Workspace = Path("workspace"),
    device: Device = "auto",
    precision: Annotated[str, typer.Option(help="As in `distill`.")] = "auto",
    cache_budget: Annotated[
        float, typer.Option(help="GiB of decoded images of the crawl in memory.")
    ] = 4.0,
    workers: Workers = None,
    dry_run: DryRun = False,
    json: Json = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV on stdout.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")] = False,
) -> None:
    """Train a grid of methods, selections and seeds, and print mean accuracy and its deviation.

    Every cell is an ordinary manifest and run: the same command again reads what has finished.

    Example: kdcurate compare --teacher t.toml --student s.toml --methods kd --budget 99 --eval t/
    """
    from curate.budget import parse_budget
    from curate.comparing import Grid, plan
    from curate.comparing import compare as run
    from curate.comparing.grid import BASELINE
    from curate.options import SelectOptions
    from curate.query import check_timeout
    from distill.datafree.registry import canonical
    from distill.options import TrainOptions
    from index.catalog import Catalog
    from index.errors import UsageError

    if sum((json, csv, markdown)) > 1:
        raise UsageError("choose one of --json, --csv, --markdown")
    check_timeout(where_timeout, "--where-timeout")
    chosen, named = _names(strategies), _names(manifests)
    if baseline and BASELINE not in chosen:
        if chosen or not named or budget is not None:
            chosen = (BASELINE, *chosen)
        else:
            note("no random images beside the manifests: give --budget N to have as many")
    place = pick_device(device)
    grid = Grid(
        teacher=teacher,
        student=student,
        methods=tuple(map(canonical, _names(methods))),
        strategies=chosen,
        manifests=named,
        seeds=seeds,
        rounds=rounds,
        without=tuple(without or ()),
        where_timeout=where_timeout,
        select=SelectOptions(
            strategy=BASELINE,
            budget=None if budget is None else parse_budget(budget),
            balance=balance,
            diversity=diversity,
            near_duplicates=near_duplicates,
            where=where,
        ),
        train=TrainOptions(
            max_steps=max_steps,
            batch_size=batch_size,
            lr=lr,
            schedule=schedule,
            augment=augment,
            alpha_floor=alpha_floor,
            device=place,
            precision=precision,
        ),
        evaluate_on=evaluate_on,
        method_options=method_options(option or []),
        reference=tuple(reference or ()),
        preset=preset,
        name=name,
        workers=workers,
        cache_budget_gib=cache_budget,
    )
    catalog = Catalog(workspace)
    if dry_run:
        _print_plan(plan(catalog, grid), json)
        return
    found = run(catalog, grid, device=place, progress=TerminalProgress())
    _print(found, grid, json=json, csv=csv, markdown_=markdown)


def method_options(given: list[str]) -> dict[str, dict[str, Any]]:
    """Parse METHOD.NAME=VALUE; each method checks its own names and types, under its own name.

    Raises:
        UsageError: a text of another form.
    """
    from distill.datafree.registry import canonical
    from index.errors import UsageError

    found: dict[str, dict[str, Any]] = {}
    for text in given:
        key, equals, value = text.partition("=")
        method, dot, name = key.strip().partition(".")
        if not (equals and dot and name):
            raise UsageError(f"--option {text!r}: write METHOD.NAME=VALUE, as kd.temperature=4")
        found.setdefault(canonical(method), {})[name] = value.strip()
    return found


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _print_plan(cells: list[dict[str, Any]], json: bool) -> None:
    done = sum(cell["finished"] for cell in cells)
    if json:
        print_json({"trainings": len(cells), "finished": done, "cells": cells})
        return
    print_table(_PLANNED, [[cell[column] for column in _PLANNED] for cell in cells])
    note(f"{len(cells)} trainings, {done} of them finished already")


def _print(found: list[Any], grid: Grid, *, json: bool, csv: bool, markdown_: bool) -> None:
    from curate.comparing import COLUMNS, markdown

    rows = [[getattr(line, column) for column in COLUMNS] for line in found]
    if json:
        print_json({"comparison": grid.comparison(), "rows": [asdict(line) for line in found]})
    elif csv:
        print_csv(COLUMNS, iter([rows]))
    elif markdown_:
        sys.stdout.writelines(f"{line}\n" for line in markdown(found))
    else:
        print_table(COLUMNS, rows)
        where = f"comparison = '{grid.comparison()}'"
        note(f'again: kdcurate sql "SELECT * FROM compared WHERE {where} ORDER BY accuracy DESC"')
