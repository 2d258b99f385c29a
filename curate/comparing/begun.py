"""The pool that a comparison began with: what is selected later is selected from it too."""

from __future__ import annotations

from collections.abc import Iterable

from curate.comparing.grid import Grid
from curate.comparing.records import recorded_manifests
from curate.fitted import BY_POOL
from curate.manifest import Manifest
from curate.options import SelectOptions
from curate.verifying import pool_changes
from index.catalog import Catalog
from index.errors import UsageError


def begun_with(catalog: Catalog, grid: Grid, there: Iterable[Manifest | None]) -> Manifest | None:
    """Return a manifest of the pool that strategies choose from; None where none is there yet.

    Args:
        there: manifests of the grid's rows; those of earlier calls are looked up.

    Raises:
        UsageError: they decided pools of different sizes.
    """
    if not grid.strategies:
        return None
    found = [one for one in there if one] + recorded_manifests(catalog, grid.comparison())
    for one in found:
        if one.pool != found[0].pool:
            raise UsageError(
                f"{found[0].name} was selected from {found[0].pool:,} images and {one.name} from "
                f"{one.pool:,}: strategies side by side choose from one pool; select again, and "
                "compare --manifests with --no-baseline and another --name"
            )
    return found[0] if found else None


def keeps_to(catalog: Catalog, begun: Manifest | None, options: SelectOptions) -> str | None:
    """Return the manifest whose images alone a selection reads; None where no others have come.

    Raises:
        UsageError: some of them are gone, or what it is selected by is fitted to all images.
    """
    if begun is None:
        return None
    changes = pool_changes(catalog, begun.name)
    if changes["gone"]:
        raise UsageError(
            f"{changes['gone']:,} images that {begun.name} decided are no longer in the sources, "
            f"and {options.strategy} would choose from others: put them back and run build-index"
        )
    fitted = sorted(options.signals & BY_POOL)
    if changes["new"] and fitted:
        raise UsageError(
            f"{changes['new']:,} images came since the comparison began, and {', '.join(fitted)} "
            f"would be fitted to a pool with them: leave {options.strategy} out"
        )
    return begun.name if changes["new"] else None
