"""compare: a grid of ordinary selections and ordinary runs, and what has finished of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from curate.comparing.grid import Grid, Row
from curate.comparing.manifests import (
    find_manifests,
    make_manifests,
    manifest_name,
    selections_of,
)
from curate.comparing.table import Line, is_recorded, lines, record
from curate.manifest import Manifest
from curate.rounds import prepare_rounds
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
        DataError: what to evaluate on is not there.
        MethodError, NetworkError: a method does not fit the networks; nothing is trained then.
        UsageError: a grid that makes no sense.
    """
    progress = progress or Silent()
    rows = _checked(catalog, grid)
    make_manifests(catalog, grid, rows, device, progress)
    runs = []
    cells = [Cell(row, seed) for seed in range(grid.seeds) for row in rows]
    for number, cell in enumerate(cells, 1):
        progress.say(f"{number} of {len(cells)}: {cell.row.label}, seed {cell.seed}")
        runs.append(_train(catalog, grid, cell, progress))
    return lines(catalog, grid.comparison(), runs)


def plan(catalog: Catalog, grid: Grid) -> list[dict[str, Any]]:
    """Say of every cell which manifest and run it is, and what of it is there already.

    The run of a manifest that is still to be selected has no name yet.

    Raises:
        DataError, MethodError, NetworkError, UsageError: as `compare` does.
    """
    rows = _checked(catalog, grid)
    manifests, teacher = find_manifests(catalog, grid, rows), load_network(grid.teacher)
    with catalog.read() as connection:
        query = "SELECT name FROM runs WHERE accuracy IS NOT NULL"
        finished = {name for (name,) in connection.execute(query).fetchall()}
    found = []
    for seed in range(grid.seeds):
        for row in rows:
            name = manifest_name(grid, row.selection, seed) if row.selection else None
            run = _run_of(grid, Cell(row, seed), manifests[name] if name else None, teacher)
            found.append(
                {
                    "method": row.method,
                    "selection": row.chosen_by,
                    "rounds": row.rounds,
                    "seed": seed,
                    "manifest": name,
                    "selected": name is not None and manifests[name] is not None,
                    "run": run,
                    "finished": run in finished,
                }
            )
    return found


def _checked(catalog: Catalog, grid: Grid) -> list[Row]:
    """Refuse what would fail after hours: return the rows."""
    grid.check(index=first_embedder(catalog) is not None)
    check_labelled(grid.evaluate_on)
    rows = grid.rows(selections_of(catalog, grid))
    for row in {(row.method, row.rounds): row for row in rows}.values():
        options = _options(grid, Cell(row, 0), "none yet" if row.selection else None)
        make_method(options, load_network(grid.teacher))
    return rows


def _train(catalog: Catalog, grid: Grid, cell: Cell, progress: Progress) -> str:
    """Train a cell, or read it; return the name of its run."""
    selection = cell.row.selection
    manifest = manifest_name(grid, selection, cell.seed) if selection else None
    options = _options(grid, cell, manifest)
    teacher = load_network(grid.teacher)
    reselect = prepare_rounds(catalog, options, teacher, progress) if cell.row.rounds else None
    done = distill(catalog, options, teacher=teacher, make_reselect=reselect, progress=progress)
    comparison = grid.comparison()
    if not is_recorded(catalog, comparison, cell.row, cell.seed, done.run):
        student = load_network(done.student)
        record(catalog, comparison, cell.row, cell.seed, done.run, manifest, student)
    return done.run


def _options(grid: Grid, cell: Cell, manifest: str | None) -> RunOptions:
    method, train = cell.row.method, replace(grid.train, seed=cell.seed, rounds=cell.row.rounds)
    preset = None
    if method in grid.own_images:  # which are seen as they were made, in as many steps
        preset = grid.preset or "paper"
        train = replace(train, augment=training_of(method, preset)["augment"])
    options = RunOptions(
        manifest=manifest,
        teacher=grid.teacher,
        student=grid.student,
        method=method,
        train=train,
        method_options=dict(grid.method_options.get(method, {})),
        evaluate_on=grid.evaluate_on,
        cache_budget_gib=grid.cache_budget_gib,
        workers=grid.workers,
        preset=preset,
    )
    return complete(options)


def _run_of(grid: Grid, cell: Cell, manifest: Manifest | None, teacher: Network) -> str | None:
    """Name of the run of a cell; None where its manifest has still to be selected."""
    if cell.row.selection is not None and manifest is None:
        return None
    options = _options(grid, cell, manifest.name if manifest else None)
    content = manifest.content_hash if manifest else ""
    return run_name(options, teacher, content)
