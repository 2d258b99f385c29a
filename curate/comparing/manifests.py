"""The manifests of a comparison: ordinary selections, read where they are there already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from curate.comparing.begun import begun_with, keeps_to
from curate.comparing.grid import Grid, Row, Selection, selection_digest
from curate.manifest import Manifest, find_manifest, get_manifest
from curate.networks import scored_pool
from curate.options import SelectOptions
from curate.selection import select
from distill.networks.card import resolve
from distill.networks.network import network_key
from index.catalog import Catalog
from index.progress import Progress

LISTENING = "kd3"


def selections_of(catalog: Catalog, grid: Grid) -> list[Selection]:
    """Return how the images of the rows are chosen: strategies first, then manifests.

    Raises:
        UsageError: no manifest has a name that is given.
    """
    by_strategy = [Selection(name, False, name == LISTENING) for name in grid.strategies]
    found = [get_manifest(catalog, name) for name in grid.manifests]
    return by_strategy + [Selection(one.name, True, one.strategy == LISTENING) for one in found]


def manifest_name(grid: Grid, selection: Selection, seed: int) -> str:
    """Return the name of the manifest that a selection makes, the same every time."""
    if selection.is_manifest:
        return selection.name
    options = grid.selecting(selection.name, seed)
    key = network_key(resolve(grid.teacher))
    reference = grid.reference if grid.reads_reference(selection.name) else ()
    return f"{selection.name}-{selection_digest(key, options, reference)}"


def find_manifests(catalog: Catalog, grid: Grid, rows: Sequence[Row]) -> dict[str, Manifest | None]:
    """Return the manifest of each name that the rows need; None where it is still to be selected.

    A name stands for what its selection was made with, not for the pool: one that was selected
    before the crawl grew is read as it is, and others keep to its pool; see `begun_with`.
    """
    with catalog.read() as connection:
        return {name: find_manifest(connection, name) for name in _needed(grid, rows)}


def make_manifests(
    catalog: Catalog, grid: Grid, rows: Sequence[Row], device: str, progress: Progress
) -> None:
    """Select what is not there yet, scoring the pool first where it has to be.

    Raises:
        NothingSelectedError, UsageError, WorkspaceError: see `curate.selection.select`.
        UsageError: see `check_pool`.
    """
    found = find_manifests(catalog, grid, rows)
    selecting = _selecting(grid, rows, found)
    if not selecting:
        return
    begun = begun_with(catalog, grid, found.values())
    pool = scored_pool(
        catalog,
        grid.teacher,
        needs=set().union(*(options.signals for options in selecting.values())),
        reference=grid.reference,
        device=device,
        workers=grid.workers,
        progress=progress,
    )
    for name, options in selecting.items():
        progress.say(f"selecting {name}")
        # The name does not tell the reference where it does not count: the manifest shall not.
        reference = pool.reference if grid.reads_reference(options.strategy) else None
        kept = keeps_to(catalog, begun, options)
        own = replace(pool, reference=reference, decided_by=kept)
        done = select(own, name, options, progress=progress)
        begun = begun or done


def check_pool(catalog: Catalog, grid: Grid, rows: Sequence[Row]) -> None:
    """Check that what is still to be selected can be, from the pool that the comparison began with.

    Raises:
        UsageError: see `curate.comparing.begun`.
    """
    found = find_manifests(catalog, grid, rows)
    begun = begun_with(catalog, grid, found.values())
    for options in _selecting(grid, rows, found).values():
        keeps_to(catalog, begun, options)


def _selecting(
    grid: Grid, rows: Sequence[Row], found: dict[str, Manifest | None]
) -> dict[str, SelectOptions]:
    """What is still to be selected, by the name of its manifest."""
    return {
        name: grid.selecting(selection.name, seed)
        for name, (selection, seed) in _needed(grid, rows).items()
        if found[name] is None
    }


def _needed(grid: Grid, rows: Sequence[Row]) -> dict[str, tuple[Selection, int]]:
    return {
        manifest_name(grid, row.selection, seed): (row.selection, seed)
        for row in rows
        if row.selection is not None
        for seed in range(grid.seeds)
    }
