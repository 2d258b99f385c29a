"""What the catalog knows of a manifest as a set, beside its pool; `curate.setshift` measures it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from curate.manifest import Manifest, find_manifest
from curate.tables import rows_of
from index.catalog import Catalog, insert


@dataclass(frozen=True)
class Measure:
    """A row of the table `set_shifts`: by a sample of `images` of pool and selection, or by all."""

    manifest: str
    measure: str
    reference: str | None
    pool: float
    selected: float
    images: int | None


def store_measures(catalog: Catalog, manifest: Manifest, measures: Sequence[Measure]) -> None:
    """Store what was measured, unless the manifest was deleted or replaced meanwhile."""
    if not measures:
        return
    rows = [asdict(one) for one in measures]
    with catalog.write() as connection:
        there = find_manifest(connection, manifest.name)
        if there is not None and there.content_hash == manifest.content_hash:
            columns = {name: [row[name] for row in rows] for name in rows[0]}
            insert(connection, "set_shifts", columns, replace_on=["manifest", "measure"])


def measured(catalog: Catalog, manifest: str, reference: str | None) -> set[str]:
    """Name what was measured of a manifest, against this reference or without one."""
    with catalog.read() as connection:
        rows = connection.execute(
            "SELECT measure FROM set_shifts WHERE manifest = $manifest "
            "AND (reference IS NULL OR reference = $reference)",
            {"manifest": manifest, "reference": reference},
        ).fetchall()
    return {name for (name,) in rows}


def stored_measures(catalog: Catalog, manifest: str) -> list[dict[str, Any]]:
    """Return what is known of a manifest: measure, pool, selected, images, reference of each.

    After what a sample was measured by come what counts every image, balance of the pseudo-labels
    and disagreement with the student, where it had one, and last the means of the stored estimates.
    """
    with catalog.read() as connection:
        return list(rows_of(connection, _MEASURES, [manifest]))


_MEASURES = """
SELECT measure, pool, selected, images, reference FROM manifest_measures WHERE manifest = ?
ORDER BY images IS NULL, starts_with(measure, 'mean_'), measure
"""
