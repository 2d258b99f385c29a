"""How far a manifest's images are, as a set, from the teacher's own data; and the pool beside them.

Pool and selection are measured on as many images each, for every measure grows as a sample shrinks:
only so do the two figures compare.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from curate.distances import frechet_distance, median_bandwidth, mmd_squared, proxy_a_distance
from curate.manifest import Manifest, find_manifest
from curate.pool import Pool
from curate.references import Reference, stored_reference
from curate.tables import rows_of
from distill.networks import Network
from distill.setmoments import moment_distance
from index.catalog import Catalog, insert, literal
from index.decoding import Pixels, View
from index.errors import DataError, NetworkError, UsageError
from index.parts import Ids
from index.progress import Progress, Silent
from index.reading import read_images
from index.vectors import Vectors, mixed, vectors_of

MOMENTS = "bn_moments"
AGAINST_REFERENCE = ("frechet", "mmd", "proxy_a")
# Images of each set: through the network, and by their vectors. What looks at pairs takes the
# first of the latter, as many as PAIRED.
READ_IMAGES, VECTORS, PAIRED = 512, 10_000, 2_000

_IDS_AT_ONCE = 1_000_000


@dataclass(frozen=True)
class SetShift:
    """A row of the table `set_shifts`: a measure of pool and selection, of `images` images each."""

    manifest: str
    measure: str
    reference: str | None
    pool: float
    selected: float
    images: int


def update_set_shift(
    pool: Pool,
    manifest: Manifest,
    teacher: Network,
    *,
    device: str = "cpu",
    workers: int | None = None,
    progress: Progress | None = None,
) -> dict[str, str]:
    """Measure and store what the catalog does not have of a manifest; say what is left out, and why.

    Without a reference that is the BN-moment distance, for which up to 512 images of the pool and
    512 of the selection are read again and go through the teacher. With one, also the Frechet
    distance, MMD^2, and proxy A-distance of the stored vectors; see `curate.distances`.

    Raises:
        WorkspaceError: the vectors or the reference are damaged.
    """
    stored = {row["measure"] for row in stored_measures(pool.catalog, manifest.name)}
    found, left_out = list[SetShift](), dict[str, str]()

    def measure(name: str, compute: Callable[[], SetShift]) -> None:
        try:
            found.append(compute())
        except (UsageError, NetworkError, DataError) as error:
            left_out[name] = str(error)

    progress = progress or Silent()
    if MOMENTS not in stored:
        with progress.step("Measuring BatchNorm moments", None, "images") as advance:
            measure(MOMENTS, lambda: _moments(pool, manifest, teacher, device, workers, advance))
    missing = [name for name in AGAINST_REFERENCE if name not in stored]
    if missing and pool.reference is not None and pool.embedder is not None:
        with progress.step("Measuring against the reference", len(missing), "measures") as advance:
            sets = _Sets(pool, manifest, stored_reference(pool.catalog, pool.reference))
            for name in missing:
                measure(name, getattr(sets, name))
                advance(1)
    _store(pool.catalog, manifest, found)
    return left_out


def stored_measures(catalog: Catalog, manifest: str) -> list[dict[str, Any]]:
    """Return what is known of a manifest as a set: measure, pool, selected, images, reference."""
    with catalog.read() as connection:
        return list(rows_of(connection, _MEASURES, [manifest]))


class _Sets:
    """Pool, selection, and reference as vectors, and what is measured of them."""

    def __init__(self, pool: Pool, manifest: Manifest, reference: Reference) -> None:
        assert pool.embedder is not None
        there = f"(SELECT image_id FROM vectors WHERE embedder = {literal(pool.embedder)})"
        of_pool, of_selected = _two_samples(pool.catalog, manifest, VECTORS, there)
        self._manifest, self._key, self._seed = manifest.name, reference.key, manifest.seed
        self._pool = vectors_of(pool.catalog, pool.embedder, of_pool)
        self._selected = vectors_of(pool.catalog, pool.embedder, of_selected)
        drawn = np.argsort(mixed(reference.ids, manifest.seed), kind="stable")
        self._reference = reference.vectors[drawn]

    def frechet(self) -> SetShift:
        return self._row("frechet", lambda x: frechet_distance(x, self._reference), VECTORS)

    def mmd(self) -> SetShift:
        reference = self._reference[:PAIRED]
        bandwidth = median_bandwidth(reference)
        return self._row("mmd", lambda x: mmd_squared(x, reference, bandwidth), PAIRED)

    def proxy_a(self) -> SetShift:
        reference = self._reference[:PAIRED]
        return self._row("proxy_a", lambda x: proxy_a_distance(x, reference, self._seed), PAIRED)

    def _row(self, name: str, distance: Callable[[Vectors], float], most: int) -> SetShift:
        of_pool, of_selected = self._pool[:most], self._selected[:most]
        values = distance(of_pool), distance(of_selected)
        return SetShift(self._manifest, name, self._key, *values, len(of_selected))


def _moments(
    pool: Pool,
    manifest: Manifest,
    teacher: Network,
    device: str,
    workers: int | None,
    advance: Callable[[int], None],
) -> SetShift:
    there = "(SELECT id AS image_id FROM images)"
    teacher.to(device)
    values = []
    for ids in (samples := _two_samples(pool.catalog, manifest, READ_IMAGES, there)):
        pixels = _pixels(pool.catalog, ids, teacher.card.input.view(), workers)
        values.append(moment_distance(teacher, pixels, device))
        advance(len(ids))
    return SetShift(manifest.name, MOMENTS, None, values[0], values[1], len(samples[1]))


def _two_samples(catalog: Catalog, manifest: Manifest, most: int, there: str) -> tuple[Ids, Ids]:
    """Draw as many images of the pool as of the selection, at most `most`, in an order of their own.

    Args:
        there: SQL of a relation whose image_id are those that can be measured.
    """
    selected = _sample(catalog, manifest, most, f"{there} t USING (image_id) WHERE selected")
    if len(selected) == 0:
        raise UsageError("none of its images is there any more")
    return _sample(
        catalog, manifest, len(selected), f"{there} t USING (image_id) WHERE true"
    ), selected


def _sample(catalog: Catalog, manifest: Manifest, most: int, where: str) -> Ids:
    """Draw those whose mixed ids are smallest: whatever the order of the crawl, the same."""
    kept: Ids = np.empty(0, np.int64)
    slices = manifest.pool // _IDS_AT_ONCE + 1
    bounds = [2**63 * n // slices for n in range(slices + 1)]  # ids are hashes: as many in each
    query = (
        f"SELECT image_id FROM decisions SEMI JOIN {where} "
        "AND manifest = ? AND image_id BETWEEN ? AND ?"
    )
    for first, end in zip(bounds, bounds[1:], strict=False):
        with catalog.read() as connection:
            found = connection.execute(query, [manifest.name, first, end - 1]).fetchnumpy()
        kept = np.concatenate([kept, np.asarray(found["image_id"], dtype=np.int64)])
        kept = kept[np.argsort(mixed(kept, manifest.seed), kind="stable")[:most]]
    return kept


def _pixels(catalog: Catalog, ids: Ids, view: View, workers: int | None) -> Pixels:
    """Read images again, in the order of their ids whatever their places: (n, S, S, 3)."""
    only = f"SELECT unnest({ids.tolist()})"
    keys, pixels = zip(*read_images(catalog, view, only=only, workers=workers), strict=True)
    ordered: Pixels = np.concatenate(pixels)[np.argsort(np.concatenate(keys))]
    return ordered


def _store(catalog: Catalog, manifest: Manifest, found: list[SetShift]) -> None:
    if not found:
        return
    columns = {name: [asdict(one)[name] for one in found] for name in asdict(found[0])}
    with catalog.write() as connection:
        there = find_manifest(connection, manifest.name)
        if there is not None and there.content_hash == manifest.content_hash:
            insert(connection, "set_shifts", columns, replace_on=["manifest", "measure"])


_MEASURES = """
SELECT measure, pool, selected, images, reference FROM manifest_measures WHERE manifest = ?
ORDER BY images IS NULL, measure
"""
