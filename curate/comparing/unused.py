"""What a comparison is given that no row of it would use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from index.errors import UsageError

if TYPE_CHECKING:
    from curate.comparing.grid import Grid

# Not the budget: it names the comparison, to which rows may be added that do not read it.
_OF_SELECTIONS = ("balance", "diversity", "near_duplicates", "where")


def check_used(grid: Grid, baseline: str) -> None:
    """Check that rows use what a grid is given; the `baseline` comes without being asked for.

    Raises:
        UsageError: nothing is selected, no image of a crawl is read, or no strategy is compared
            with the reference, and an option is for just that.
    """
    if not grid.strategies or grid.makes_all:
        _check_nothing_selects(grid)
    if grid.makes_all:
        _check_nothing_is_read(grid, baseline)
    if grid.reference and not any(map(grid.reads_reference, grid.strategies)):
        raise UsageError(
            "--reference is for strategies that need one, as knn, and none of --strategies "
            "does: leave it out"
        )


def _check_nothing_selects(grid: Grid) -> None:
    for name in _OF_SELECTIONS:
        if (value := getattr(grid.select, name)) is not None:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(
                f"{option} {value} is for what --strategies select, and nothing is selected "
                "here: leave it out"
            )


def _check_nothing_is_read(grid: Grid, baseline: str) -> None:
    asked = [name for name in grid.strategies if name != baseline]
    budget = grid.cache_budget_gib
    given = {
        "strategies": ",".join(asked),
        "manifests": ",".join(grid.manifests),
        "cache-budget": f"{budget:g}" if budget != type(grid).cache_budget_gib else "",
    }
    for option, value in given.items():
        if value:
            raise UsageError(
                f"--{option} {value} is for methods that train on a manifest, and all of --methods "
                "make their own images: leave it out"
            )
