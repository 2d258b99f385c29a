"""compare: a grid of ordinary selections and ordinary runs, and what has finished of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from curate.comparing.grid import Grid, Row
from curate.comparing.manifests import (
    check_pool,
    find_manifests,
    make_manifests,
    manifest_name,
    selections_of,
)
from curate.comparing.records import Entry, check_recorded, is_recorded, record
from curate.comparing.table import Line, lines
from curate.manifest import Manifest
from curate.rounds import prepare_rounds
from distill.checks import check_evaluated
from distill.datafree.registry import training_of
from distill.datafree.run import complete
from distill.labelled import check_labelled
from distill.networks import Network, load_network
from distill.run import RunOptions, distill, make_method, run_name
from index.catalog import Catalog
from index.duplicates import first_embedder
from index.progress import Progress, Silent


@dataclass(frozen=True)
class Cell:
    """One training of the grid."""

    row: Row
    seed: int


def compare(
    catalog: Catalog, grid: Grid, *, device: str = "cpu", progress: Progress | None = None
) -> list[Line]:
    """Select and train what has not finished yet; return the table, the best row first.

    Every cell is a manifest and a run of this workspace, under the names that they get every time:
    called again, finished runs are read, a run that was interrupted goes on, others are trained.
    The cells of one seed are all trained before those of the next.

    Raises:
        DataError: what to evaluate on is not there, or its start is wrong.
        MethodError, NetworkError: a method does not fit the networks; nothing is trained then.
        UsageError: a grid that makes no sense.
    """
    progress = progress or Silent()
    with _or_empty(catalog, grid) as known:
        rows = _checked(known, grid)
        _plan(known, grid, rows, fetch=True)
    if not catalog.exists():  # no row needs a crawl: a workspace begins here
        with catalog.write():
            pass
    make_manifests(catalog, grid, rows, device, progress)
    manifests = find_manifests(catalog, grid, rows)
    runs, cells = [], _cells(grid, rows)
    for number, cell in enumerate(cells, 1):
        progress.say(f"{number} of {len(cells)}: {cell.row.label}, seed {cell.seed}")
        runs.append(_train(catalog, grid, cell, manifests, progress))
    return lines(catalog, grid.comparison(), runs)


def plan(catalog: Catalog, grid: Grid) -> list[dict[str, Any]]:
    """Say of every cell which manifest and run it is, and what of it is there already.

    The run of a manifest that is still to be selected has no name yet.

    Raises:
        DataError, MethodError, NetworkError, UsageError: as `compare` does.
    """
    with _or_empty(catalog, grid) as known:
        return _plan(known, grid, _checked(known, grid), fetch=False)


def _plan(
    catalog: Catalog, grid: Grid, rows: Sequence[Row], *, fetch: bool
) -> list[dict[str, Any]]:
    """Say what each cell is; where one is to be trained, look at what it is evaluated on."""
    manifests, teacher = find_manifests(catalog, grid, rows), load_network(grid.teacher)
    cells = [_planned(catalog, grid, one, manifests, teacher) for one in _cells(grid, rows)]
    if not all(cell["finished"] for cell in cells):
        check_evaluated(grid.evaluate_on, teacher.card, teacher.num_classes, fetch=fetch)
    return cells


def _planned(
    catalog: Catalog,
    grid: Grid,
    cell: Cell,
    manifests: Mapping[str, Manifest | None],
    teacher: Network,
) -> dict[str, Any]:
    row, name = cell.row, _manifest_of(grid, cell)
    entry = _entry(grid, cell, manifests, teacher)
    return {
        "method": row.learned_by,
        "selection": row.chosen_by,
        "rounds": row.rounds,
        "seed": cell.seed,
        "manifest": name,
        "selected": name is not None and manifests[name] is not None,
        "run": entry.run if entry else None,
        "finished": entry is not None and is_recorded(catalog, entry),
    }


@contextmanager
def _or_empty(catalog: Catalog, grid: Grid) -> Iterator[Catalog]:
    """Yield the catalog; an empty one where there is none yet and no row learns from a crawl."""
    if catalog.exists() or not grid.makes_all:
        yield catalog
        return
    with TemporaryDirectory(prefix="kdcurate-") as folder:
        empty = Catalog(Path(folder))
        with empty.write():
            pass
        yield empty


def _checked(catalog: Catalog, grid: Grid) -> list[Row]:
    """Refuse what would fail after hours: return the rows."""
    grid.check(index=first_embedder(catalog) is not None)
    check_labelled(grid.evaluate_on)
    if grid.strategies:
        grid.select.check_crawl(catalog, grid.where_timeout)
    selections = selections_of(catalog, grid)
    rows = grid.rows(selections)
    grid.check_rows(rows)
    check_recorded(catalog, grid, selections)
    check_pool(catalog, grid, rows)
    for row in {(row.learned_by, row.rounds): row for row in rows}.values():
        options = _options(grid, Cell(row, 0), "none yet" if row.selection else None)
        make_method(options, load_network(grid.teacher))
    return rows


def _cells(grid: Grid, rows: Sequence[Row]) -> list[Cell]:
    return [Cell(row, seed) for seed in range(grid.seeds) for row in rows]


def _train(
    catalog: Catalog,
    grid: Grid,
    cell: Cell,
    manifests: Mapping[str, Manifest | None],
    progress: Progress,
) -> str:
    """Train a cell, or read it; return the name of its run."""
    teacher = load_network(grid.teacher)
    entry = _entry(grid, cell, manifests, teacher)
    assert entry is not None  # all manifests have been selected
    if is_recorded(catalog, entry):  # though its run may have been evaluated on other data since
        progress.say(f"run {entry.run} is finished: its result is read, nothing is trained")
        return entry.run
    options = _options(grid, cell, _manifest_of(grid, cell))
    reselect = prepare_rounds(catalog, options, teacher, progress) if cell.row.rounds else None
    done = distill(catalog, options, teacher=teacher, make_reselect=reselect, progress=progress)
    record(catalog, replace(entry, run=done.run), done, load_network(done.student))
    return done.run


def _options(grid: Grid, cell: Cell, manifest: str | None) -> RunOptions:
    method, rounds = cell.row.method, cell.row.rounds
    floor = grid.train.alpha_floor if rounds else 0.0
    train = replace(grid.train, seed=cell.seed, rounds=rounds, alpha_floor=floor)
    preset, cache_budget = None, grid.cache_budget_gib
    if method in grid.own_images:  # which are seen as they were made, in as many steps
        preset, cache_budget = grid.preset or "paper", RunOptions.cache_budget_gib
        train = replace(train, augment=training_of(method, preset)["augment"])
    left_out = {"without": [cell.row.left_out]} if cell.row.left_out else {}
    options = RunOptions(
        manifest=manifest,
        teacher=grid.teacher,
        student=grid.student,
        method=method,
        train=train,
        method_options={**grid.method_options.get(method, {}), **left_out},
        evaluate_on=grid.evaluate_on,
        cache_budget_gib=cache_budget,
        workers=grid.workers,
        preset=preset,
    )
    return complete(options)


def _manifest_of(grid: Grid, cell: Cell) -> str | None:
    return manifest_name(grid, cell.row.selection, cell.seed) if cell.row.selection else None


def _entry(
    grid: Grid, cell: Cell, manifests: Mapping[str, Manifest | None], teacher: Network
) -> Entry | None:
    """What stands, or will, for a cell; None where its manifest has still to be selected."""
    name = _manifest_of(grid, cell)
    manifest = manifests[name] if name else None
    if name is not None and manifest is None:
        return None
    run = run_name(_options(grid, cell, name), teacher, manifest.content_hash if manifest else "")
    return Entry(grid.comparison(), grid.terms(), cell.row, cell.seed, run, manifest)
