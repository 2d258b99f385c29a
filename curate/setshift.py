"""How far a manifest's images are, as a set, from the teacher's own data; and the pool beside them.

Pool and selection are measured on as many images each: Frechet and moment distances grow as a
sample shrinks, so that only then the two figures compare.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from curate.distances import (
    frechet_distance,
    label_shift,
    median_bandwidth,
    mmd_squared,
    proxy_a_distance,
)
from curate.manifest import Manifest
from curate.measures import Measure, measured, store_measures
from curate.pool import Pool
from curate.references import stored_reference
from distill.networks import Network
from distill.setmoments import SetMoments
from index.catalog import Catalog, literal
from index.decoding import Pixels
from index.errors import DataError, NetworkError, UsageError
from index.parts import Ids
from index.progress import Progress, Silent
from index.reading import read_images
from index.vectors import Vectors, mixed, vectors_of

# Images of each set: through the network, and by their vectors. What looks at pairs takes the
# first of the latter, as many as PAIRED.
READ_IMAGES, VECTORS, PAIRED = 512, 10_000, 2_000

_IDS_AT_ONCE = 1_000_000


def update_set_shift(
    pool: Pool,
    manifest: Manifest,
    teacher: Network,
    *,
    device: str = "cpu",
    workers: int | None = None,
    progress: Progress | None = None,
) -> dict[str, str]:
    """Measure and store what the catalog does not have of a manifest; say what is left out and why.

    Without a reference that is the BN-moment distance, for which up to 512 images of the pool and
    512 of the selection are read again and go through the teacher. With one, also the Frechet
    distance, MMD^2, and proxy A-distance of the stored vectors, and the label shift; see
    `curate.distances`.

    Raises:
        WorkspaceError: the vectors or the reference are damaged.
    """
    known = measured(pool.catalog, manifest.name, pool.reference)
    images = _Images(pool.catalog, manifest, teacher, device, workers)
    measures: dict[str, Callable[[], Measure]] = {"bn_moments": images.bn_moments}
    if pool.reference is not None and pool.embedder is not None:
        vectors = _Vectors(pool.catalog, manifest, pool.embedder, pool.reference)
        measures |= {"frechet": vectors.frechet, "mmd": vectors.mmd, "proxy_a": vectors.proxy_a}
    if pool.reference is not None:
        measures["label_shift"] = partial(_label_shift, pool.catalog, manifest, pool.reference)
    missing = [name for name in measures if name not in known]
    found, left_out = list[Measure](), dict[str, str]()
    step = (progress or Silent()).step("Measuring as a set", len(missing), "measures")
    with step as advance:
        for name in missing:
            try:
                found.append(measures[name]())
            except (UsageError, NetworkError, DataError) as error:
                left_out[name] = str(error)
            advance(1)
    store_measures(pool.catalog, manifest, found)
    return left_out


@dataclass(frozen=True)
class _Images:
    """Pool and selection as the teacher sees images of theirs."""

    catalog: Catalog
    manifest: Manifest
    teacher: Network
    device: str
    workers: int | None

    def bn_moments(self) -> Measure:
        moments = SetMoments(self.teacher, self.device)
        there = "(SELECT id AS image_id FROM images)"
        of_pool, of_selected = _two_samples(self.catalog, self.manifest, READ_IMAGES, there)
        pool, selected = (moments.distance(self._read(ids)) for ids in (of_pool, of_selected))
        return Measure(self.manifest.name, "bn_moments", None, pool, selected, len(of_selected))

    def _read(self, ids: Ids) -> Pixels:
        """Read images again, in the order of their ids wherever they lie: (n, S, S, 3)."""
        view, only = self.teacher.card.input.view(), f"SELECT unnest({ids.tolist()})"
        batches = read_images(self.catalog, view, only=only, workers=self.workers)
        keys, pixels = zip(*batches, strict=True)
        ordered: Pixels = np.concatenate(pixels)[np.argsort(np.concatenate(keys))]
        return ordered


@dataclass(frozen=True)
class _Vectors:
    """Pool, selection, and reference by the embedder's vectors, in an order drawn by their ids."""

    catalog: Catalog
    manifest: Manifest
    embedder: str
    reference: str

    def frechet(self) -> Measure:
        return self._measure("frechet", VECTORS, partial(frechet_distance, y=self._reference))

    def mmd(self) -> Measure:
        reference = self._reference[:PAIRED]
        bandwidth = median_bandwidth(reference)
        return self._measure("mmd", PAIRED, partial(mmd_squared, y=reference, bandwidth=bandwidth))

    def proxy_a(self) -> Measure:
        distance = partial(proxy_a_distance, y=self._reference[:PAIRED], seed=self.manifest.seed)
        return self._measure("proxy_a", PAIRED, distance)

    def _measure(self, name: str, most: int, distance: Callable[[Vectors], float]) -> Measure:
        of_pool, of_selected = (vectors[:most] for vectors in self._samples)
        values = distance(of_pool), distance(of_selected)
        return Measure(self.manifest.name, name, self.reference, *values, len(of_selected))

    @cached_property
    def _samples(self) -> tuple[Vectors, Vectors]:
        there = f"(SELECT image_id FROM vectors WHERE embedder = {literal(self.embedder)})"
        of_pool, of_selected = _two_samples(self.catalog, self.manifest, VECTORS, there)
        return (
            vectors_of(self.catalog, self.embedder, of_pool),
            vectors_of(self.catalog, self.embedder, of_selected),
        )

    @cached_property
    def _reference(self) -> Vectors:
        """Whatever the manifest, the same of them in the same order."""
        found = stored_reference(self.catalog, self.reference)
        drawn = np.argsort(mixed(found.ids, 0), kind="stable")
        return found.vectors[drawn]


def _label_shift(catalog: Catalog, manifest: Manifest, key: str) -> Measure:
    """Compare the pseudo-labels of all images with those of the reference."""
    reference = stored_reference(catalog, key)
    own = np.bincount(reference.labels, minlength=reference.logits.shape[1])
    pool, selected = np.zeros_like(own), np.zeros_like(own)
    with catalog.read() as connection:
        rows = connection.execute(
            "SELECT pseudo_label, count(*), count(*) FILTER (selected) FROM decisions "
            "WHERE manifest = ? GROUP BY pseudo_label",
            [manifest.name],
        ).fetchall()
    for label, decided, taken in rows:
        pool[label], selected[label] = decided, taken
    values = label_shift(pool, own), label_shift(selected, own)
    return Measure(manifest.name, "label_shift", key, *values, None)


def _two_samples(catalog: Catalog, manifest: Manifest, most: int, there: str) -> tuple[Ids, Ids]:
    """Draw as many images of the pool as of the selection, at most `most`.

    Args:
        there: SQL of a relation whose image_id are those that can be measured.
    """
    selected = _sample(catalog, manifest, most, f"{there} t USING (image_id) WHERE selected")
    if len(selected) == 0:
        raise UsageError("none of its images is there any more")
    everything = f"{there} t USING (image_id) WHERE true"
    return _sample(catalog, manifest, len(selected), everything), selected


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
